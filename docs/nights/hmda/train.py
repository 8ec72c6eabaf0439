"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)

HYPOTHESIS = "the vote as a mean of log odds instead of probabilities"

RATIOS = ["pirat", "hirat", "lvrat", "other", "share"]
# Columns of the trees, in order, and the direction of denial in each; 0 is left free.
DIRECTION = {
    "pirat": 1,
    "hirat": 0,
    "lvrat": 1,
    "chist": 1,
    "mhist": 1,
    "unemp": 0,
    "other": 0,
    "share": 0,
}


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.copy()
    X["other"] = X["pirat"] - X["hirat"]
    X["share"] = (X["hirat"] + 0.01) / (X["pirat"] + 0.01)
    X["records"] = X["chist"] * (X["phist"] == "yes")
    X["layers"] = X["pirat"].clip(upper=1) * X["lvrat"]
    return X


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    return OddsVote([("logistic", logistic()), ("trees", trees())], voting="soft")


class OddsVote(VotingClassifier):
    """A vote by the mean of the log odds."""

    def predict_proba(self, X):
        each = np.array([model.predict_proba(X)[:, 1] for model in self.estimators_])
        each = np.clip(each, 1e-6, 1 - 1e-6)
        odds = np.log(each / (1 - each)).mean(axis=0)
        positive = 1 / (1 + np.exp(-odds))
        return np.column_stack([1 - positive, positive])


class Cut(TransformerMixin, BaseEstimator):
    """Values beyond two fitted quantiles are set to these."""

    def __init__(self, tail=0.01):
        self.tail = tail

    def fit(self, X, y=None):
        self.low_, self.high_ = np.quantile(X, [self.tail, 1 - self.tail], axis=0)
        return self

    def transform(self, X):
        return np.clip(X, self.low_, self.high_)


def logistic():
    splines = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        Cut(),
        SplineTransformer(
            n_knots=4, degree=3, knots="quantile", extrapolation="linear"
        ),
        StandardScaler(),
    )
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    columns = make_column_transformer(
        (splines, RATIOS),
        (numbers, ["chist", "mhist", "unemp", "records", "layers"]),
        (codes(), make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, bag(LogisticRegression(C=0.3, max_iter=3000)))


def bag(model):
    return BaggingClassifier(model, n_estimators=20, random_state=0)


def trees():
    binary = ["phist", "selfemp", "condomin", "afam", "single", "hschool"]
    columns = make_column_transformer(
        ("passthrough", list(DIRECTION)),
        (FunctionTransformer(as_flags), binary),
    )
    return make_pipeline(
        columns,
        bag(
            LGBMClassifier(
                n_estimators=300,
                learning_rate=0.03,
                num_leaves=4,
                max_depth=2,
                min_child_samples=40,
                subsample=0.7,
                subsample_freq=1,
                colsample_bytree=0.5,
                reg_lambda=5.0,
                monotone_constraints=[*DIRECTION.values(), 1, 0, 0, 0, 0, -1],
                random_state=0,
                verbose=-1,
            )
        ),
    )


def as_flags(X):
    """Yes and no as 1 and 0."""
    return (X == "yes").astype(float)


def codes():
    """Text, yes and no: a 0/1 column per value, and one for all rare values."""
    return make_pipeline(
        FunctionTransformer(as_text),
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(
            min_frequency=0.01,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        ),
    )


def as_text(X):
    """All columns as text, missing values kept."""
    return X.astype(str).where(X.notna())
