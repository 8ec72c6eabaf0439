"""The one file of the run that changes: features and pipeline.

The frozen harness (prepare.py) runs it in fresh processes and measures val_auc.
"""

if __name__ == "__main__":  # by hand: prepare.py evaluate, with what this prints
    import os
    import sys
    from pathlib import Path

    harness = Path(__file__).with_name("prepare.py")
    os.execv(sys.executable, [sys.executable, harness, "evaluate", "--prints"])

from itertools import combinations

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)

HYPOTHESIS = "half of the forest's vote goes to extremely randomised trees"


def feature_fn(X):
    """The features of some rows: a pandas.DataFrame in, as many rows out, in order.

    Called for the rows to fit and for the held-out rows apart. Missing values are NaN.
    """
    return X


def many_valued(X):
    """The numeric columns of more than 10 values, chosen on the rows to fit."""
    return [c for c in X.select_dtypes("number") if X[c].nunique() > 10]


def sums_and_differences(Z):
    """For each pair of columns their sum and their difference."""
    Z = np.asarray(Z)
    pairs = list(combinations(range(Z.shape[1]), 2))
    if not pairs:
        return Z
    return np.column_stack(
        [Z[:, i] + Z[:, j] for i, j in pairs] + [Z[:, i] - Z[:, j] for i, j in pairs]
    )


def encoder(linear):
    """Scaled numbers and one-hot codes; then what a line or a tree misses in numbers."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    curves = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        SplineTransformer(n_knots=5, degree=3, knots="quantile"),
    )
    products = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        PolynomialFeatures(2, interaction_only=True, include_bias=False),
    )
    slants = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        QuantileTransformer(n_quantiles=100, output_distribution="normal"),
        FunctionTransformer(sums_and_differences),
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
    parts = [
        (numbers, make_column_selector(dtype_include="number")),
        (others, make_column_selector(dtype_exclude="number")),
    ]
    if linear:
        bent_slants = make_pipeline(
            slants, SplineTransformer(n_knots=5, degree=3, knots="quantile")
        )
        parts += [
            (curves, many_valued),
            (products, many_valued),
            (bent_slants, many_valued),
        ]
    else:
        parts += [(slants, many_valued)]
    return make_column_transformer(*parts)


def build_pipeline():
    """A fresh, unfitted scikit-learn estimator; what it learns, it learns in fit."""
    linear = make_pipeline(encoder(True), LogisticRegression(C=0.1, max_iter=1000))
    forest = make_pipeline(
        encoder(False),
        RandomForestClassifier(
            n_estimators=600, min_samples_leaf=3, max_features=0.4, random_state=0
        ),
    )
    extra = make_pipeline(
        encoder(False),
        ExtraTreesClassifier(
            n_estimators=600, min_samples_leaf=3, max_features=0.4, random_state=0
        ),
    )
    voters = [("linear", linear), ("forest", forest), ("extra", extra)]
    return VotingClassifier(voters, voting="soft", weights=[2, 1, 1])


def as_text(X):
    """All columns as text, missing values kept."""
    return X.astype(str).where(X.notna())
