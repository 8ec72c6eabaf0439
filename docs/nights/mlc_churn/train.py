"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from lightgbm import LGBMClassifier
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import BaggingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

HYPOTHESIS = "take away account length and the numbers of calls by day, evening, night"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    X = X.copy()
    charges = [
        "total_day_charge",
        "total_eve_charge",
        "total_night_charge",
        "total_intl_charge",
    ]
    X["total_charge"] = X[charges].sum(axis=1)
    for part in ["day", "eve", "night", "intl"]:
        calls = X[f"total_{part}_calls"]
        X[f"{part}_length"] = X[f"total_{part}_minutes"] / calls.where(calls > 0)
    abroad = (X["international_plan"] == "yes").astype(float)
    no_mail = (X["voice_mail_plan"] == "no").astype(float)
    X["plan_minutes"] = abroad * X["total_intl_minutes"]
    X["plan_calls"] = abroad * X["total_intl_calls"]
    X["no_mail_charge"] = no_mail * X["total_charge"]
    X["no_mail_day"] = no_mail * X["total_day_minutes"]
    service = X["number_customer_service_calls"]
    X["service_per_dollar"] = service / (1 + X["total_charge"])
    X["service_per_minute"] = service / (1 + X["total_day_minutes"])
    idle = [
        "account_length",
        "total_day_calls",
        "total_eve_calls",
        "total_night_calls",
    ]
    return X.drop(columns=[*charges, *idle, "state", "area_code"])


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
    boosted = LGBMClassifier(
        n_estimators=1600,
        learning_rate=0.03,
        num_leaves=12,
        max_depth=5,
        min_child_samples=10,
        subsample=0.8,
        subsample_freq=1,
        colsample_bytree=0.6,
        reg_lambda=1.0,
        extra_trees=True,
        verbose=-1,
    )
    model = BaggingClassifier(
        boosted, n_estimators=15, max_samples=1.0, bootstrap=False, random_state=0
    )
    return make_pipeline(columns, model)


def as_text(X):
    """All columns as text, missing values kept."""
    return X.astype(str).where(X.notna())
