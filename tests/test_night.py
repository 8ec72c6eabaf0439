"""What an evaluation measures and keeps: noise, records, the same digits for ties."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import BASELINE, ROOT, Project, replace, scores_of
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    cross_val_score,
    train_test_split,
)

import prepare


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A project on the branch of a run whose baseline is evaluated and logged."""
    project = Project(tmp_path_factory.mktemp("evaluated") / "project")
    project.git("checkout", "-qb", "autoresearch/trial")
    project.evaluate_and_log()
    return project


def record_of(project, commit="HEAD"):
    """The arrays of a commit's record."""
    with np.load(project.state / f"{project.git('rev-parse', commit)}.npz") as arrays:
        return dict(arrays)


def split_of_heart():
    """(train rows, test rows), worked out here."""
    y = pd.read_csv(ROOT / "data" / "heart.csv")["num"] > 0
    return train_test_split(range(len(y)), test_size=0.2, stratify=y, random_state=42)


# ------------------------------------------------------------------ the noise
def test_repeats_are_those_of_scikit_learn(project):
    replace(project.path / "prepare.py", "N_REPEATS = 1\n", "N_REPEATS = 2\n")
    block, _ = project.evaluate()
    table = pd.read_csv(project.path / "data" / "heart.csv")
    y = (table.pop("num") > 0).to_numpy(dtype=int)
    scope = {"__name__": "train"}
    exec(BASELINE, scope)
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=42)
    rows, _ = split_of_heart()
    model, X = scope["build_pipeline"](), table.iloc[rows]
    aucs = cross_val_score(model, X, y[rows], cv=cv, scoring="roc_auc")
    assert block["val_auc"] == f"{aucs.mean():.6f}"
    assert block["test_auc"] == "0.951299"


def test_the_gain_stands_beside_its_noise_and_alone_without_a_record(
    evaluated, tmp_path
):
    run = evaluated.copy(tmp_path / "run")
    weaker = re.sub(r"max_iter=1000[^)]*", "max_iter=1000, C=0.1", BASELINE)
    (run.path / "train.py").write_text(weaker)
    run.git("commit", "-qam", "an idea")
    run.evaluate()
    without = run.copy(tmp_path / "without")
    iteration, error, luck, *_ = run.run("log").stdout.splitlines()
    assert iteration.startswith("iter 1 | val_auc=0.9001 (Δ +0.0041) | KEPT — ")
    pattern = r"Δ ± 0\.0\d\d\d \(95 %, on other rows\): within the noise"
    assert re.fullmatch(pattern, error)
    assert luck.startswith("luck: 1 idea that changes nothing would climb +0.00")
    assert luck.endswith("; this run +0.0041, +0.0041 of it within the noise")
    again = run.iterate(weaker + "# the same\n").stdout.splitlines()[1]
    assert again == "same scores as the bar: the change had no effect"

    (without.state / f"{without.git('rev-parse', 'HEAD~1')}.npz").write_bytes(b"")
    done = without.run("log")
    assert done.returncode == 0 and "KEPT" in done.stdout and "±" not in done.stdout


def test_a_record_holds_ranks_of_all_rows_and_no_label(evaluated):
    record = record_of(evaluated)
    names = ["bar", "block", "error", "fold_aucs", "folds", "ranks", "table"]
    names += ["versions"]
    assert sorted(record) == names
    assert record["fold_aucs"].mean() == pytest.approx(0.895971, abs=5e-7)
    assert (record["folds"] == -1).sum() == 61
    for fold in range(-1, 5):
        ranks = record["ranks"][record["folds"] == fold]
        assert ranks.sum() == len(ranks) * (len(ranks) + 1) / 2
    assert "scikit-learn" in json.loads(str(record["versions"]))
    assert json.loads(str(record["block"]))["val_auc"] == "0.895971"


def test_the_ranks_of_the_test_rows_have_the_test_auc(evaluated):
    record, (_, test) = record_of(evaluated), split_of_heart()
    assert np.array_equal(np.flatnonzero(record["folds"][0] == -1), np.sort(test))
    _, y = prepare.load_data()
    auc = roc_auc_score(y[test], record["ranks"][0, test])
    assert f"{auc:.6f}" == "0.951299"


# ------------------------------------------------------------------- ties
TIED = """
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

def feature_fn(X):
    return X

def build_pipeline():
    boost = LGBMClassifier(subsample=0.6, subsample_freq=1, verbose=-1)
    forest = RandomForestClassifier(20, random_state=0)
    vote = VotingClassifier([("boost", boost), ("forest", forest)], voting="soft")
    return make_pipeline(SimpleImputer(), vote)
"""


def test_equal_rows_of_both_classes_leave_the_digits_alike(server):
    X, y = prepare.load_data()
    # Every sixth patient stands there again, with the other diagnosis.
    table = pd.concat([X, X[::6]], ignore_index=True), np.r_[y, 1 - y[::6]]
    first, *others = [scores_of(server, TIED, table) for _ in range(3)]
    assert others == [first] * 2
