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
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    SplineTransformer,
    StandardScaler,
)

HYPOTHESIS = "products of pairs beside the splines, now that the elastic net selects"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    return X


class PilesToNaN(BaseEstimator, TransformerMixin):
    """NaN for a tied extreme value that a wide gap parts from the other values."""

    def fit(self, X, y=None):
        X = np.asarray(X, float)
        self.piles_ = []
        for j in range(X.shape[1]):
            values, counts = np.unique(X[~np.isnan(X[:, j]), j], return_counts=True)
            piles = []
            if len(values) > 3:
                gaps = np.diff(values)
                for end, gap in ((0, gaps[0]), (-1, gaps[-1])):
                    if counts[end] >= 2 and gap > 3 * np.median(gaps):
                        piles.append(values[end])
            self.piles_.append(piles)
        return self

    def transform(self, X):
        X = np.array(X, float)
        for j, piles in enumerate(self.piles_):
            for pile in piles:
                X[np.isclose(X[:, j], pile, rtol=0, atol=1e-9), j] = np.nan
        return X


class Monotone(ClassifierMixin, BaseEstimator):
    """A tree model, monotone in columns whose correlation with y keeps its sign.

    That is, below and above the median of the column alike, and 0.05 or more in each.
    parameter: the name of the model's parameter that takes the signs.
    """

    def __init__(self, model, parameter):
        self.model = model
        self.parameter = parameter

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        signs = []
        for x in X.T:
            low = x <= np.median(x)
            r = [self.correlation(x[half], y[half]) for half in (low, ~low)]
            one_sign = r[0] * r[1] > 0 and min(map(abs, r)) >= 0.05
            signs.append(int(np.sign(r[0])) if one_sign else 0)
        self.model_ = clone(self.model).set_params(**{self.parameter: signs})
        self.model_.fit(X, y)
        return self

    def predict_proba(self, X):
        return self.model_.predict_proba(X)

    def predict(self, X):
        return self.model_.predict(X)

    @staticmethod
    def correlation(x, y):
        """Pearson's; 0 if one of them is constant, or there are few rows."""
        if len(x) < 10 or np.ptp(x) == 0 or np.ptp(y) == 0:
            return 0.0
        return np.corrcoef(x, y)[0, 1]


def products(X):
    """The product of each two columns, which are scaled before; outliers clipped."""
    i, j = np.triu_indices(X.shape[1], 1)
    X = np.clip(X, -2.5, 2.5)
    return X[:, i] * X[:, j]


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    bends = SplineTransformer(
        n_knots=4, degree=2, knots="quantile", extrapolation="linear"
    )
    additive = make_pipeline(
        make_union(bends, FunctionTransformer(products)),
        StandardScaler(),
        LogisticRegression(
            C=0.1, penalty="elasticnet", l1_ratio=0.5, solver="saga", max_iter=20000
        ),
    )
    trees = ExtraTreesClassifier(
        n_estimators=500, min_samples_leaf=5, max_features=0.5, random_state=0
    )
    boosted = LGBMClassifier(
        n_estimators=400,
        learning_rate=0.02,
        num_leaves=10,
        extra_trees=True,
        min_child_samples=15,
        subsample=0.7,
        subsample_freq=1,
        colsample_bytree=0.5,
        reg_lambda=5.0,
        random_state=0,
        verbose=-1,
    )
    net = MLPClassifier(
        (12,), activation="tanh", solver="lbfgs", alpha=3.0, max_iter=500
    )
    nets = BaggingClassifier(net, n_estimators=25, random_state=0)
    members = [
        ("additive", additive),
        ("trees", Monotone(trees, "monotonic_cst")),
        ("boosted", Monotone(boosted, "monotone_constraints")),
        ("nets", nets),
    ]
    return make_pipeline(
        PilesToNaN(),
        StandardScaler(),
        IterativeImputer(max_iter=20, random_state=0, keep_empty_features=True),
        VotingClassifier(members, voting="soft"),
    )
