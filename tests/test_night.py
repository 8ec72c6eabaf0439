"""What an evaluation shows and keeps: noise, prints, records, the same digits."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import BASELINE, ROOT, Project, replace
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    cross_val_score,
    train_test_split,
)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A project on the branch of a run whose baseline is logged."""
    project = Project(tmp_path_factory.mktemp("started") / "project")
    project.git("checkout", "-qb", "autoresearch/trial")
    project.evaluate_and_log()
    return project


@pytest.fixture
def run(started, tmp_path):
    """A copy of it."""
    return started.copy(tmp_path / "project")


def with_C(C, more=""):
    """The baseline with another penalty, and more lines."""
    return re.sub(r"max_iter=1000[^)]*", f"max_iter=1000, C={C}", BASELINE) + more


def record_of(project, commit="HEAD"):
    """The arrays of a commit's record."""
    name = f"{project.git('rev-parse', commit)}.npz"
    with np.load(project.path / ".git" / "autoresearch" / name) as arrays:
        return dict(arrays)


# ------------------------------------------------------------------ the noise
def test_repeats_are_those_of_scikit_learn(project):
    replace(project.path / "prepare.py", "N_REPEATS = 1\n", "N_REPEATS = 10\n")
    block, _ = project.evaluate()
    table = pd.read_csv(project.path / "data" / "heart.csv")
    y = (table.pop("num") > 0).to_numpy(dtype=int)
    scope = {"__name__": "train"}
    exec(BASELINE, scope)
    rows, _ = train_test_split(
        range(len(y)), test_size=0.2, stratify=y, random_state=42
    )
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=10, random_state=42)
    model, X = scope["build_pipeline"](), table.iloc[rows]
    aucs = cross_val_score(model, X, y[rows], cv=cv, scoring="roc_auc")
    assert block["val_auc"] == f"{aucs.mean():.6f}"
    assert block["test_auc"] == "0.951299"


def test_the_gain_stands_beside_its_noise(run):
    iteration, error, luck, *_ = run.iterate(with_C(0.1)).stdout.splitlines()
    assert iteration.startswith("iter 1 | val_auc=0.9001 (Δ +0.0041) | KEPT — ")
    pattern = r"± 0\.0\d\d\d \(95 %, on other rows\): within the noise"
    assert re.fullmatch(pattern, error)
    pattern = r"luck: 1 idea that changes nothing would climb .*; this run \+0\.0041"
    assert re.fullmatch(pattern, luck)
    again = run.iterate(with_C(0.1) + "# the same\n").stdout.splitlines()[1]
    assert again == "same scores as the bar: the change had no effect"


def test_a_record_holds_ranks_of_all_rows_and_no_label(run):
    record = record_of(run)
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


def test_the_ranks_of_the_test_rows_have_the_test_auc(run):
    record, (_, test) = record_of(run), split_of_heart()
    assert np.array_equal(np.flatnonzero(record["folds"][0] == -1), np.sort(test))
    y = (pd.read_csv(run.path / "data" / "heart.csv")["num"] > 0).to_numpy(dtype=int)
    auc = roc_auc_score(y[test], record["ranks"][0, test])
    assert f"{auc:.6f}" == "0.951299"


def split_of_heart():
    """(train rows, test rows), worked out here."""
    y = pd.read_csv(ROOT / "data" / "heart.csv")["num"] > 0
    return train_test_split(range(len(y)), test_size=0.2, stratify=y, random_state=42)


def test_without_a_record_of_the_bar_the_line_stands_alone(run):
    for record in run.state.glob("*.npz"):
        record.write_bytes(b"")
    said = run.iterate(with_C(0.1))
    assert said.returncode == 0
    assert "KEPT" in said.stdout and "±" not in said.stdout


# ------------------------------------------------------------------- ties
TIED = """
HYPOTHESIS = "draws rows by chance"
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

def feature_fn(X):
    return X

def build_pipeline():
    boost = LGBMClassifier(subsample=0.6, subsample_freq=1, verbose=-1)
    forest = RandomForestClassifier(50, random_state=0)
    vote = VotingClassifier([("boost", boost), ("forest", forest)], voting="soft")
    return make_pipeline(SimpleImputer(), vote)
"""


def test_equal_rows_of_both_classes_leave_the_digits_alike(project):
    table = project.path / "data" / "heart.csv"
    head, *lines = table.read_text().splitlines()
    # Every sixth patient stands there again, with the other diagnosis.
    other = [
        f"{line.rpartition(',')[0]},{0 if line.rpartition(',')[2] != '0' else 1}"
        for line in lines[::6]
    ]
    table.write_text("\n".join([head, *lines, *other]) + "\n")
    blocks = [project.evaluate(TIED)[0] for _ in range(4)]
    assert [block["status"] for block in blocks] == ["ok"] * 4
    assert len({(block["val_auc"], block["test_auc"]) for block in blocks}) == 1


# ------------------------------------------------------------------- prints
def test_prints_and_folds_are_shown_by_hand_and_not_in_the_loop(project):
    source = with_C(1.0, "\nprint('inner score 0.9')\n")
    _, done = project.evaluate(source)
    assert "inner score" not in done.stdout + done.stderr
    folds = re.findall(r"^fold (\d): (.*) \(", done.stderr, re.M)
    assert sorted(folds) == [(str(k), "done") for k in range(1, 6)]
    by_hand = project.shell("python train.py 2>&1")
    assert by_hand.count("| inner score 0.9") == 6
    assert len(re.findall(r"^fold \d: auc 0\.\d{4} \(", by_hand, re.M)) == 5


def test_a_crash_shows_what_that_job_printed(project):
    source = with_C(1.0) + "\nprint('about to fail')\nraise ValueError('no')\n"
    _, done = project.evaluate(source)
    assert "| about to fail" in done.stderr and "| ValueError: no" in done.stderr


def test_a_crash_after_the_folds_says_so_and_shows_nothing_of_the_test(project):
    fault = "    if len(X) == 61:\n        raise ValueError('12.5')\n    return X"
    block, done = project.evaluate(BASELINE.replace("    return X", fault))
    pattern = r"crashed \(test: ValueError: [\d.]+; the folds were done at [\d.]+ s\)"
    assert re.fullmatch(pattern, block["status"])
    assert "Traceback" not in done.stderr
