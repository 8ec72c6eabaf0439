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
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

HYPOTHESIS = "without the state of the borrower"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.drop(columns="addr_state")
    skewed = X.select_dtypes("number").columns.difference(["revol_util", "all_util"])
    X[skewed] = np.log1p(X[skewed].astype(float).clip(lower=0))
    return X


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
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
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (others, make_column_selector(dtype_exclude="number")),
    )
    return make_pipeline(columns, LogisticRegression(C=0.02, max_iter=1000))


def as_text(X):
    """All columns as text, missing values kept."""
    return X.astype(str).where(X.notna())
