"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

HYPOTHESIS = "ca also as a number: a count of diseased vessels has a trend to shrink to"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.drop(columns=["fbs", "restecg", "chol"])
    X["vessels"] = X["ca"].astype(float)
    for column in ["cp", "thal", "slope", "ca"]:
        X[column] = X[column].map("{:g}".format, na_action="ignore").astype(object)
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
    linear = LogisticRegression(C=0.1, max_iter=1000)
    trees = ExtraTreesClassifier(n_estimators=300, min_samples_leaf=4, random_state=0)
    vote = VotingClassifier([("linear", linear), ("trees", trees)], voting="soft")
    return make_pipeline(columns, vote)


def as_text(X):
    """All columns as text, missing values kept."""
    return X.astype(str).where(X.notna())
