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
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, VotingClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)

HYPOTHESIS = "drawn imputations also in the bagged networks and in the extra trees (20 bags of 50)"

# Steering: a 0 here was not measured.
ZERO_IS_MISSING = ["plas", "pres", "skin", "insu", "mass"]
SKEWED = ["insu", "pedi", "age", "mass"]
COLUMNS = ["preg", "plas", "skin", "insu", "mass", "pedi", "age", "unmeasured"]
RISING = [int(column in ("plas", "mass", "pedi")) for column in COLUMNS]


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.astype(float)
    X[ZERO_IS_MISSING] = X[ZERO_IS_MISSING].replace(0.0, np.nan)
    X[SKEWED] = np.log(X[SKEWED])
    X["unmeasured"] = X[["skin", "insu"]].isna().sum(axis=1).astype(float)
    return X[COLUMNS]


def filled(*steps):
    """A pipeline that fills in medians and scales before the steps."""
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        *steps,
    )


def drawn(*steps):
    """A mean over 20 bootstraps of the steps, each with its own drawn imputation."""
    return BaggingClassifier(
        make_pipeline(
            StandardScaler(),
            IterativeImputer(
                sample_posterior=True,
                max_iter=5,
                keep_empty_features=True,
                random_state=0,
            ),
            *steps,
        ),
        n_estimators=20,
        random_state=0,
    )


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    regression = drawn(
        make_union(
            SplineTransformer(n_knots=5, degree=3, extrapolation="linear"),
            PolynomialFeatures(degree=2, interaction_only=True, include_bias=False),
        ),
        LogisticRegression(C=0.1, max_iter=1000),
    )
    trees = drawn(
        ExtraTreesClassifier(
            n_estimators=50,
            min_samples_leaf=5,
            max_features=0.5,
            monotonic_cst=RISING,
            random_state=0,
        ),
    )
    process = filled(
        GaussianProcessClassifier(
            ConstantKernel(1.0)
            * RBF([3.0] * len(COLUMNS), length_scale_bounds=(0.5, 100.0)),
            random_state=0,
        ),
    )
    boosting = LGBMClassifier(
        n_estimators=400,
        learning_rate=0.02,
        max_depth=2,
        num_leaves=4,
        min_child_samples=20,
        subsample=0.7,
        subsample_freq=1,
        colsample_bytree=0.6,
        reg_lambda=5.0,
        monotone_constraints=RISING,
        random_state=0,
        verbose=-1,
    )
    networks = drawn(
        MLPClassifier(
            hidden_layer_sizes=(8,),
            activation="tanh",
            solver="lbfgs",
            alpha=3.0,
            max_iter=500,
            random_state=0,
        ),
    )
    return VotingClassifier(
        [
            ("regression", regression),
            ("trees", trees),
            ("process", process),
            ("boosting", boosting),
            ("networks", networks),
        ],
        voting="soft",
        # Two tree models weigh as much as three smooth ones.
        weights=[2, 3, 2, 3, 2],
    )
