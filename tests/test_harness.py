"""What the harness promises an honest train.py, on the real data."""

import re

import pytest
from conftest import block_of

BLOCK = [
    "commit",
    "hypothesis",
    "val_auc",
    "test_auc",
    "test_acc",
    "wall_time_s",
    "status",
]
TRAIN = """
HYPOTHESIS = "{name}"
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
BASELINE = {"val_auc": "0.895971", "test_auc": "0.951299", "test_acc": "0.868852"}


def train(model, imports="", name="a model"):
    """The source of a train.py around one model."""
    return TRAIN.format(model=model, imports=imports, name=name)


def scores(block):
    """The metrics of a block, without time and status."""
    return {key: block[key] for key in BASELINE}


# ------------------------------------------------------------------ the block
def test_the_baseline_has_the_same_digits_every_time(project):
    for _ in range(2):
        block, done = project.evaluate()
        assert done.returncode == 0
        assert list(block) == BLOCK
        assert scores(block) == BASELINE
        assert block["status"] == "ok"
        assert float(block["wall_time_s"]) < 180
    assert sorted(re.findall(r"^fold (\d): done", done.stderr, re.M)) == [*"12345"]


def test_train_py_by_hand_gives_the_same_output(project):
    command = "python train.py > run.log 2>&1"
    grep = r'grep "^val_auc:\|^test_auc:\|^wall_time_s:\|^status:" run.log'
    lines = project.shell(f"{command}; {grep}").splitlines()
    assert block_of("\n".join(lines))["val_auc"] == BASELINE["val_auc"]
    assert [line.split(":")[0] for line in lines] == BLOCK[2:4] + BLOCK[5:]


def test_a_crash_has_a_reason_a_whole_block_and_no_number(project):
    block, done = project.evaluate(train("NoSuchModel()"))
    assert done.returncode == 1
    assert list(block) == BLOCK
    assert scores(block) == dict.fromkeys(BASELINE, "")
    assert re.fullmatch(r"crashed \(fold \d: NameError: .*\)", block["status"])
    assert "line 13, in build_pipeline" in done.stderr  # where to mend it
    assert not re.search(r"^(\w+): ", done.stderr, re.M)


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
def test_a_decision_function_serves_as_well_as_probabilities(project):
    block, _ = project.evaluate(train("Margin()", imports=MARGIN))
    assert scores(block) == BASELINE


def test_classes_in_reversed_order_are_read_correctly(project):
    for model in ("Reversed()", "ReversedMargin()"):
        block, _ = project.evaluate(train(model, imports=MARGIN))
        assert scores(block) == BASELINE


MARGIN = """
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
import numpy as np
"""


@pytest.mark.parametrize(
    ("model", "imports"),
    [
        (
            "RandomForestClassifier(50, n_jobs=-1, random_state=0)",
            "from sklearn.ensemble import RandomForestClassifier",
        ),
        (
            "HistGradientBoostingClassifier(random_state=0, max_iter=20)",
            "from sklearn.ensemble import HistGradientBoostingClassifier",
        ),
        (
            "LGBMClassifier(n_estimators=20, n_jobs=-1, verbose=-1)",
            "from lightgbm import LGBMClassifier",
        ),
        (
            "XGBClassifier(n_estimators=20, n_jobs=-1)",
            "from xgboost import XGBClassifier",
        ),
        (
            "AutoML(task='classification', metric='roc_auc', time_budget=2, verbose=0)",
            "from flaml import AutoML",
        ),
        (
            "GridSearchCV(LogisticRegression(max_iter=1000), {'C': [.1, 1]}, n_jobs=2)",
            "from sklearn.model_selection import GridSearchCV",
        ),
    ],
    ids=lambda text: text.split("(")[0],
)
def test_the_libraries_run_inside_the_contract(project, model, imports):
    block, done = project.evaluate(train(model, imports))
    assert block["status"] == "ok", done.stderr
    assert 0.8 < float(block["val_auc"]) < 0.95


def test_features_made_by_row_reach_the_pipeline(project):
    source = train(LOGISTIC).replace(
        "return X", "return X.assign(age2=X['age'] ** 2).drop(columns='chol')"
    )
    block, _ = project.evaluate(source)
    assert block["status"] == "ok"
    assert scores(block) != BASELINE


def test_feature_fn_sees_each_part_alone_and_the_missing_values(project):
    source = train(LOGISTIC).replace(
        "    return X", "    print(len(X), X.index[-1])\n    return X"
    )
    (project.path / "train.py").write_text(source)
    done = project.run("evaluate", "--prints")
    assert scores(block_of(done.stdout)) == BASELINE
    sizes = re.findall(r"^ +test \| (\d+) (\d+)$", done.stderr, re.M)
    assert sizes == [("242", "241"), ("61", "60")]
    sizes = re.findall(r"^ +fold \d \| (\d+) ", done.stderr, re.M)
    assert sorted(sizes) == sorted(["193", "49", "193", "49"] + ["194", "48"] * 3)
