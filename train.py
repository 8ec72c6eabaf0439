"""The only file that a run changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: evaluate, and show prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

HYPOTHESIS = "baseline: medians, scaling, one-hot text, logistic regression"


def feature_fn(X):
    """The features of a DataFrame X: the same rows in the same order.

    Called separately for the rows to fit and the held-out rows. Missing values are NaN.
    """
    return X


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; it learns in fit alone."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    # Text, booleans, dates: a 0/1 column per value, and one for all rare values.
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
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def as_text(X):
    """All columns as text; missing values stay missing."""
    return X.astype(str).where(X.notna())
