"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from collections import Counter

import numpy as np
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    QuantileTransformer,
    StandardScaler,
)

HYPOTHESIS = "distances to the nearest others also among the logarithms of the measures"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.copy()
    lines = X["loc"] + 1
    X["branches_per_line"] = X["branchCount"] / lines
    X["comments_per_line"] = (X["lOComment"] + X["locCodeAndComment"]) / lines
    X["blanks_per_line"] = X["lOBlank"] / lines
    X["code_share"] = X["lOCode"] / lines
    X["tokens_per_line"] = X["n"] / lines
    X["operand_reuse"] = X["total_Opnd"] / (X["uniq_Opnd"] + 1)
    X["operator_reuse"] = X["total_Op"] / (X["uniq_Op"] + 1)
    X["operands_per_operator"] = X["total_Opnd"] / (X["total_Op"] + 1)
    X["vocabulary_share"] = (X["uniq_Op"] + X["uniq_Opnd"]) / (X["n"] + 1)
    X["unstructured_share"] = X["ev(g)"] / X["v(g)"].clip(lower=1)
    X["calls_share"] = X["iv(g)"] / X["v(g)"].clip(lower=1)
    written = X["lOCode"] + X["lOComment"] + X["lOBlank"] + X["locCodeAndComment"]
    X["lines_unaccounted"] = X["loc"] - written
    X["tokens_unaccounted"] = X["n"] - X["total_Op"] - X["total_Opnd"]
    vocabulary = (X["uniq_Op"] + X["uniq_Opnd"]).clip(lower=1)
    X["volume_unaccounted"] = X["v"] - X["n"] * np.log2(vocabulary)
    X["branches_unaccounted"] = X["branchCount"] - 2 * X["v(g)"] + 1
    return X


class NeighbourDistances(TransformerMixin, BaseEstimator):
    """How far the nearest fit rows are; a fit row leaves itself out. Uses no label."""

    def __init__(self, counts=(1, 5, 20)):
        self.counts = counts

    def fit(self, X, y=None):
        self.nearest_ = NearestNeighbors(n_neighbors=max(self.counts)).fit(X)
        return self

    def fit_transform(self, X, y=None):
        # Without X, kneighbors leaves each row out of its own neighbours.
        return self._chosen(self.fit(X).nearest_.kneighbors()[0])

    def transform(self, X):
        return self._chosen(self.nearest_.kneighbors(X)[0])

    def _chosen(self, distances):
        return distances[:, [count - 1 for count in self.counts]]


class TwinCounts(TransformerMixin, BaseEstimator):
    """How many other fit rows are equal in some columns. Uses no label."""

    def __init__(self, start=0, stop=21):
        self.start = start
        self.stop = stop

    def fit(self, X, y=None):
        self.counts_ = Counter(self._keys(X))
        return self

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X) - 1

    def transform(self, X):
        return np.array([[self.counts_[key]] for key in self._keys(X)], dtype=float)

    def _keys(self, X):
        part = np.asarray(X)[:, self.start : self.stop]
        return [tuple(row) for row in part.tolist()]


def log_measures(X):
    """Logarithms of the 21 columns of the table."""
    return np.log1p(np.asarray(X)[:, :21])


def ranks():
    """Columns as ranks, of one variance."""
    return make_pipeline(
        QuantileTransformer(n_quantiles=200, random_state=0), StandardScaler()
    )


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    # Each small forest has its half of the columns, and the components of that half.
    trees = BaggingClassifier(
        make_pipeline(
            make_union(
                "passthrough",
                make_pipeline(ranks(), PCA(n_components=10)),
            ),
            ExtraTreesClassifier(
                n_estimators=40,
                min_samples_leaf=1,
                max_features=0.5,
                bootstrap=True,
            ),
        ),
        n_estimators=25,
        max_features=0.5,
        bootstrap=False,
        random_state=0,
    )
    kernel = make_pipeline(
        ranks(),
        Nystroem(kernel="rbf", gamma=0.03, n_components=600, random_state=0),
        LogisticRegression(C=2.0, max_iter=2000),
    )
    # Few rows in a leaf and many leaves: the random trees gained by local detail.
    boosting = make_pipeline(
        make_union("passthrough", make_pipeline(ranks(), PCA(10, random_state=0))),
        LGBMClassifier(
            n_estimators=300,
            learning_rate=0.03,
            num_leaves=31,
            min_child_samples=3,
            subsample=0.7,
            subsample_freq=1,
            colsample_bytree=0.3,
            extra_trees=True,
            reg_lambda=5.0,
            random_state=0,
            verbose=-1,
        ),
    )
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        make_union(
            "passthrough",
            make_pipeline(ranks(), NeighbourDistances()),
            # The same among the logarithms of the measures alone, without the ratios.
            make_pipeline(
                FunctionTransformer(log_measures),
                StandardScaler(),
                NeighbourDistances(),
            ),
            TwinCounts(),
            # Equal numbers of operators and operands, all and distinct.
            TwinCounts(16, 20),
            # Equal numbers of code lines, comments and blank lines.
            TwinCounts(12, 16),
        ),
        VotingClassifier(
            [("trees", trees), ("kernel", kernel), ("boosting", boosting)],
            voting="soft",
            weights=[2, 1, 1],
        ),
    )
