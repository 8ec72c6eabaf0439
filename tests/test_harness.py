"""What the harness promises an honest train.py, on the real data."""

import re

import pytest
from conftest import BASELINE, SCORES, block_of, scores_of

from harness.errors import Crash

BLOCK = ("commit", "hypothesis", "val_auc", "test_auc", "test_acc", "wall_time_s")
BLOCK += ("status",)
TRAIN = """
HYPOTHESIS = "a model"
{imports}
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

def feature_fn(X):
    return X

def build_pipeline():
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), {model})
"""
LOGISTIC = "LogisticRegression(max_iter=1000)"


def train(model, imports=""):
    """The source of a train.py around one model."""
    return TRAIN.format(model=model, imports=imports)


def metrics(block):
    """The metrics of a block, without time and status."""
    return {key: block[key] for key in SCORES}


# ------------------------------------------------------------------ the block
def test_the_loop_sees_a_block_and_no_fold_and_no_print(project):
    block, done = project.evaluate(BASELINE + "\nprint('inner score 0.9')\n")
    assert done.returncode == 0 and block["status"] == "ok"
    assert tuple(block) == BLOCK and metrics(block) == SCORES
    assert 0 < float(block["wall_time_s"]) < 180
    assert "inner score" not in done.stdout + done.stderr
    folds = re.findall(r"^fold (\d): (.*) \(", done.stderr, re.M)
    assert sorted(folds) == [(k, "done") for k in "12345"]


def test_train_py_by_hand_has_the_same_digits_and_shows_folds_and_prints(project):
    (project.path / "train.py").write_text(BASELINE + "\nprint('inner score 0.9')\n")
    said = project.shell("python train.py 2>&1")
    assert metrics(block_of(said)) == SCORES
    assert said.count("| inner score 0.9") == 6
    assert len(re.findall(r"^fold \d: auc 0\.\d{4} \(", said, re.M)) == 5


def test_a_crash_has_a_reason_its_prints_a_whole_block_and_no_number(project):
    block, done = project.evaluate("print('begun')\n" + train("NoSuchModel()"))
    assert done.returncode == 1
    assert tuple(block) == BLOCK and metrics(block) == dict.fromkeys(SCORES, "")
    assert re.fullmatch(r"crashed \(fold \d: NameError: .*\)", block["status"])
    assert "| begun" in done.stderr
    assert "line 14, in build_pipeline" in done.stderr  # where to mend it
    assert not block_of(done.stderr).keys() & {*BLOCK}


def test_a_crash_after_the_folds_says_so_and_shows_nothing_of_the_test(server, capsys):
    fault = "    if len(X) == 61:\n        raise ValueError('12.5')\n    return X"
    pattern = r"^test: ValueError: 12.5; the folds were done at [\d.]+ s$"
    with pytest.raises(Crash, match=pattern):
        # One after the other, so that the test comes after the folds.
        scores_of(server, BASELINE.replace("    return X", fault), n_at_once=1)
    assert "Traceback" not in capsys.readouterr().err


def test_the_check_says_ok_line_by_line(project):
    done = project.run()
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 9
    assert "AUC by chance is 0.5" in done.stdout
    assert "303 rows, 13 features, 6 missing values" in done.stdout


def test_a_wrong_command_is_a_usage_error(project):
    assert project.run("evalute").returncode == 2
    assert project.run("log", "--json").returncode == 2
    assert project.run("state", "trial").returncode == 2


# ------------------------------------------------------------------ the models
MARGIN = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Margin(ClassifierMixin, BaseEstimator):
    order = (0, 1)

    def fit(self, X, y):
        self.model_ = LogisticRegression(max_iter=1000).fit(X, y)
        self.classes_ = np.array(self.order)
        return self

    def decision_function(self, X):
        sign = 1 if self.order == (0, 1) else -1
        return sign * self.model_.decision_function(X)

class ReversedMargin(Margin):
    order = (1, 0)

class Reversed(ReversedMargin):
    def predict_proba(self, X):
        return self.model_.predict_proba(X)[:, ::-1]
"""


@pytest.mark.parametrize("model", ["Margin", "Reversed", "ReversedMargin"])
def test_decision_functions_and_reversed_classes_are_read_correctly(model, server):
    assert scores_of(server, train(f"{model}()", MARGIN)) == SCORES


MODELS = {
    "RandomForestClassifier(50, n_jobs=-1)": "sklearn.ensemble",
    "HistGradientBoostingClassifier(max_iter=20)": "sklearn.ensemble",
    "LGBMClassifier(n_estimators=20, n_jobs=-1, verbose=-1)": "lightgbm",
    "XGBClassifier(n_estimators=20, n_jobs=-1)": "xgboost",
    "AutoML(task='classification', time_budget=1, verbose=0)": "flaml",
    "GridSearchCV(LogisticRegression(), {'C': [.1, 1]}, n_jobs=2)": (
        "sklearn.model_selection"
    ),
}


@pytest.mark.parametrize("model", MODELS)
def test_the_libraries_run_inside_the_contract(model, server):
    imports = f"from {MODELS[model]} import {model.partition('(')[0]}"
    scores = scores_of(server, train(model, imports))
    assert 0.8 < float(scores["val_auc"]) < 0.95


def test_feature_fn_sees_each_part_alone_and_its_features_count(server, capsys):
    features = "X.assign(age2=X['age'] ** 2).drop(columns='chol')"
    more = f"    print(len(X), X.index[-1])\n    return {features}"
    source = train(LOGISTIC).replace("    return X", more)
    assert scores_of(server, source, prints=True) != SCORES
    said = capsys.readouterr().err
    sizes = re.findall(r"^ +test \| (\d+) (\d+)$", said, re.M)
    assert sizes == [("242", "241"), ("61", "60")]
    sizes = re.findall(r"^ +fold \d \| (\d+) ", said, re.M)
    assert sorted(sizes) == sorted(["193", "49", "193", "49"] + ["194", "48"] * 3)
