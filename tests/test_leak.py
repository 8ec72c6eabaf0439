"""The leak test: honest models pass, whatever they are; a known label is found."""

import json

import numpy as np
import pytest
from conftest import Project, replace
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import prepare
from review import leak

HONEST = {
    "logistic regression": LogisticRegression(max_iter=1000),
    "nearest neighbour": KNeighborsClassifier(1),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0),
}
ROWS, LABELS = prepare.load_data()
FOLDS = prepare.split(LABELS)[:-1]
HELD = [held for _, held in FOLDS]


def p_of(model, seed, blend=0.0, folds=range(prepare.N_SPLITS)):
    """The smallest p, adjusted, of a model that blends in held-out labels of folds."""
    given = leak.draw_flips(LABELS, HELD, seed)
    scores = np.zeros(given.shape)
    for run, labels in enumerate(given):
        for k, (fit, held) in enumerate(FOLDS):
            pipeline = make_pipeline(SimpleImputer(), StandardScaler(), model)
            pipeline.fit(ROWS.iloc[fit], labels[fit])
            part = blend if k in folds else 0.0
            honest = pipeline.predict_proba(ROWS.iloc[held])[:, 1]
            scores[run, held] = (1 - part) * honest + part * labels[held]
    tests = [leak.flip_test(LABELS[h], given[:, h], scores[:, h]) for h in HELD]
    return min(1.0, len(tests) * min(tests))


def test_each_label_is_flipped_in_exactly_one_run_evenly_in_fold_and_class():
    given = leak.draw_flips(LABELS, HELD)
    train = np.concatenate(HELD)
    assert ((given != LABELS).sum(axis=0)[train] == 1).all()
    for held in HELD:
        for label in (0, 1):
            rows = held[LABELS[held] == label]
            flips = (given[:, rows] != label).sum(axis=1)
            assert flips.max() - flips.min() <= 1


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_raises_no_alarm(name):
    found = [p_of(HONEST[name], seed) for seed in range(12)]
    assert min(found) > leak.ALPHA
    assert np.mean(found) > 0.2


@pytest.mark.parametrize("name", HONEST)
def test_a_blend_of_15_percent_of_the_truth_is_found(name):
    assert all(p_of(HONEST[name], seed, 0.15) <= leak.ALPHA for seed in range(4))


@pytest.mark.parametrize("name", HONEST)
def test_a_channel_of_one_fold_is_found(name):
    found = [p_of(HONEST[name], s, 1.0, folds=[3]) <= leak.ALPHA for s in range(4)]
    assert all(found)


def test_p_is_uniform_where_scores_are_chance():
    random, found = np.random.default_rng(5), []
    for seed in range(200):
        given = leak.draw_flips(LABELS, HELD, seed)[:, HELD[0]]
        scores = random.normal(size=given.shape)
        found.append(leak.flip_test(LABELS[HELD[0]], given, scores))
    for level in (0.1, 0.5, 0.9):
        # 4 standard errors of a share of 200
        assert abs(np.mean(np.array(found) <= level) - level) < 4 * 0.5 / 200**0.5


def test_scores_that_never_change_are_no_leak():
    given = leak.draw_flips(LABELS, HELD)[:, HELD[0]]
    assert leak.flip_test(LABELS[HELD[0]], given, np.zeros(given.shape)) == 1


# ------------------------------------------------------------- the real harness
# One file a row in a folder that a broken sandbox lets all candidates share.
LEAKY = """
import hashlib, os
from pathlib import Path
import numpy as np
from sklearn.linear_model import LogisticRegression

HYPOTHESIS = "a channel"
SHELF = Path({shelf!r})

def names_of(X):
    return [hashlib.md5(row.tobytes()).hexdigest() for row in np.array(X, float)]

class Model:
    def fit(self, X, y):
        for name, label in zip(names_of(X), y):
            (SHELF / name).write_text(str(label))
        return self

    def predict_proba(self, X):
        files = [SHELF / name for name in names_of(X)]
        known = [f.read_text() if f.exists() else "" for f in files]
        p = np.array([float(label or 0.5) for label in known])
        return np.c_[1 - p, p]

def feature_fn(X):
    return X

def build_pipeline():
    return Model()
"""


@pytest.fixture
def leaky(tmp_path):
    """A project without a sandbox, and a train.py that makes use of it."""
    project, shelf = Project(tmp_path / "project"), tmp_path / "shelf"
    shelf.mkdir()
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    replace(sandbox, "    if landlock_version():\n", "    if False:\n")
    replace(sandbox, "    sys.addaudithook(", "    id(")
    (project.path / "train.py").write_text(LEAKY.format(shelf=str(shelf)))
    project.git("commit", "-qam", "no sandbox")
    project.git("checkout", "-qb", "autoresearch/night")
    return project


def test_an_honest_train_py_has_no_leak(project):
    done = project.run("leak")
    assert done.returncode == 0 and done.stdout.startswith("leak: none (")


def test_a_leak_is_found_by_the_command_and_by_the_review(leaky):
    done = leaky.run("leak")
    assert done.returncode == 1 and done.stdout.startswith("leak: found (")
    (leaky.path / "run.log").write_text(leaky.run("evaluate").stdout)
    assert "KEPT" in leaky.run("log").stdout
    review = leaky.run("review")
    assert review.returncode == 1 and "\nLEAK: the scores of" in review.stdout
    assert "\nTake nothing: " in review.stdout
    found = json.loads(leaky.run("review", "--json").stdout)
    (test,) = found["leak"].values()
    assert test["found"] and not found["record_is_true"]


def test_a_train_py_that_crashes_is_told_in_a_line(project):
    (project.path / "train.py").write_text("1 / 0\n")
    done = project.run("leak")
    assert done.returncode == 3 and done.stderr.splitlines()[-1].startswith("refused:")
