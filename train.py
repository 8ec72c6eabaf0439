"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HYPOTHESIS = "baseline: median imputation, scaling, logistic regression"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    return X


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    return make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
