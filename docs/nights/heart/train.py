"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

HYPOTHESIS = "cp, thal, slope and restecg one-hot encoded, as they are codes"

CODES = ["cp", "thal", "slope", "restecg"]
NUMBERS = [
    "age",
    "sex",
    "trestbps",
    "chol",
    "fbs",
    "thalach",
    "exang",
    "oldpeak",
    "ca",
]


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    return X


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    # A 0/1 column per code, and one for all rare codes.
    codes = make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(
            min_frequency=0.02,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        ),
    )
    columns = make_column_transformer((numbers, NUMBERS), (codes, CODES))
    return make_pipeline(columns, LogisticRegression(max_iter=1000))
