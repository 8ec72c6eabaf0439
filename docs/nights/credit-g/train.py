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
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, Ridge
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
)

HYPOTHESIS = "boosting sees amount and term in excess of what is usual for the purpose and person"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.copy()
    X["log_amount"] = np.log(X["credit_amount"])
    X["log_duration"] = np.log(X["duration"])
    X["log_age"] = np.log(X["age"])
    # What is to be paid back each month.
    X["log_monthly"] = X["log_amount"] - X["log_duration"]
    # Of no weight in a scorecard of the field.
    idle = ["residence_since", "num_dependents"]
    return X.drop(columns=["credit_amount", "duration", "age", *idle])


CURVED = ["log_amount", "log_duration", "log_age", "log_monthly"]


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    return VotingClassifier(
        [
            ("ridge", make_pipeline(by_account(), ridge())),
            (
                "boosting",
                make_pipeline(
                    FeatureUnion([("ranks", narrow()), ("excess", Excess())]),
                    boosting(),
                ),
            ),
            ("process", make_pipeline(wide(curved=False), process())),
            (
                "forest",
                make_pipeline(
                    FeatureUnion([("codes", wide(curved=False)), ("ranks", narrow())]),
                    forest(),
                ),
            ),
        ],
        voting="soft",
    )


def wide(curved=True):
    """Scaled numbers, curves and one-hot codes, for linear and kernel models."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    curves = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        SplineTransformer(n_knots=4, degree=2, knots="quantile", include_bias=False),
        StandardScaler(),
    )
    # Text, yes and no, dates: a 0/1 column per value, and one for all rare values.
    others = make_pipeline(
        FunctionTransformer(as_text),
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(
            min_frequency=0.02,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        ),
    )
    return make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (curves, CURVED if curved else []),
        (others, make_column_selector(dtype_exclude="number")),
    )


def by_account():
    """The columns of wide, and once more for who has no account here: own slopes."""
    return FeatureUnion([("all", wide()), ("apart", NoAccount())])


class NoAccount(TransformerMixin, BaseEstimator):
    """Numbers and codes of those without an account at the bank, 0 for all others."""

    def fit(self, X, y=None):
        self.wide_ = wide(curved=False).fit(X)
        return self

    def transform(self, X):
        absent = (X["checking_status"] == "A14").to_numpy(dtype=float)
        # Half as large, so at four times the penalty of what all share.
        return 0.5 * absent[:, None] * self.wide_.transform(X)


class Excess(TransformerMixin, BaseEstimator):
    """How far amount and term are above what is usual for such an applicant."""

    def fit(self, X, y=None):
        columns = make_column_transformer(
            (
                OneHotEncoder(min_frequency=0.02, handle_unknown="infrequent_if_exist"),
                ["purpose", "job", "property_magnitude", "housing", "own_telephone"],
            ),
            (StandardScaler(), ["log_age"]),
        )
        self.usual_ = make_pipeline(columns, Ridge(alpha=10.0))
        self.usual_.fit(X, X[["log_amount", "log_duration"]])
        return self

    def transform(self, X):
        return X[["log_amount", "log_duration"]].to_numpy() - self.usual_.predict(X)


def narrow():
    """One column each, codes as ranks, for trees."""
    return make_column_transformer(
        ("passthrough", make_column_selector(dtype_include="number")),
        (
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
            make_column_selector(dtype_exclude="number"),
        ),
    )


def ridge():
    """Logistic regression, its penalty chosen by a cross-validation inside fit."""
    return LogisticRegressionCV(
        Cs=np.logspace(-2.5, 1, 15),
        cv=RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0),
        scoring="neg_log_loss",
        max_iter=1000,
    )


def boosting():
    """Many small steps of shallow trees, each on part of the rows and columns."""
    return LGBMClassifier(
        n_estimators=400,
        learning_rate=0.02,
        num_leaves=6,
        min_child_samples=15,
        subsample=0.7,
        subsample_freq=1,
        colsample_bytree=0.4,
        reg_lambda=5.0,
        random_state=0,
        verbose=-1,
    )


def process():
    """A smooth function of all columns at once, as likely a priori as it fits."""
    kernel = ConstantKernel(4.0, (0.1, 100.0)) * RBF(5.0, (1.0, 50.0))
    return GaussianProcessClassifier(kernel, random_state=0)


def forest():
    """Deep trees cut at random, averaged: interactions of any order, little variance."""
    return ExtraTreesClassifier(
        n_estimators=800, min_samples_leaf=3, max_features=0.3, random_state=0
    )


def as_text(X):
    """All columns as text, missing values kept."""
    return X.astype(str).where(X.notna())
