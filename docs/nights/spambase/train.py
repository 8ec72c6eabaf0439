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
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier

HYPOTHESIS = "the XGBoost half also sees eight topics, the principal components of the logarithms"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    return X.astype(float)


class FromSmooth(ClassifierMixin, BaseEstimator):
    """Boosters on what a smooth model leaves over."""

    def __init__(self, shrink=0.5, n_boosters=4, n_topics=8):
        self.shrink = shrink
        self.n_boosters = n_boosters
        self.n_topics = n_topics

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        y = (np.asarray(y) == self.classes_[1]).astype(int)
        network = MLPClassifier(
            hidden_layer_sizes=(32,),
            alpha=1.0,
            learning_rate_init=0.003,
            max_iter=40,
            random_state=0,
        )
        self.smooth_ = make_pipeline(
            FunctionTransformer(logarithms),
            StandardScaler(),
            BaggingClassifier(network, n_estimators=8, random_state=0),
        )
        start = log_odds(
            cross_val_predict(self.smooth_, X, y, cv=5, method="predict_proba")
        )
        self.smooth_.fit(X, y)
        self.leafwise_ = [
            LGBMClassifier(
                n_estimators=800,
                learning_rate=0.03,
                num_leaves=15,
                min_child_samples=10,
                subsample=0.8,
                subsample_freq=1,
                colsample_bytree=0.4,
                reg_lambda=1.0,
                random_state=number,
                verbose=-1,
            ).fit(X, y, init_score=self.shrink * start)
            for number in range(self.n_boosters)
        ]
        topics = make_pipeline(
            FunctionTransformer(logarithms),
            StandardScaler(),
            PCA(self.n_topics, svd_solver="full"),
        )
        self.with_topics_ = make_union(FunctionTransformer(np.asarray), topics).fit(X)
        Z = self.with_topics_.transform(X)
        self.depthwise_ = [
            XGBClassifier(
                n_estimators=600,
                learning_rate=0.03,
                max_depth=6,
                min_child_weight=1.0,
                subsample=0.8,
                colsample_bynode=0.25,
                reg_lambda=1.0,
                random_state=number,
            ).fit(Z, y, base_margin=self.shrink * start)
            for number in range(self.n_boosters)
        ]
        return self

    def decision_function(self, X):
        start = self.shrink * log_odds(self.smooth_.predict_proba(X))
        scores = [start + m.predict(X, raw_score=True) for m in self.leafwise_]
        Z = self.with_topics_.transform(X)
        scores += [
            m.predict(Z, output_margin=True, base_margin=start)
            for m in self.depthwise_
        ]
        return np.mean(scores, axis=0)

    def predict_proba(self, X):
        p = 1 / (1 + np.exp(-self.decision_function(X)))
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def logarithms(X):
    """Logarithms, with an offset for the many zeros."""
    return np.log(X + 0.1)


def log_odds(p):
    """Log-odds of the positive class, kept finite."""
    p = np.clip(p[:, 1], 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p))


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    return FromSmooth()
