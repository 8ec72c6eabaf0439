"""AutoML on the train part of a night, for as long as the night took; in its folder:

    uv run automl.py flaml 700
    uv run --with "autogluon.tabular[all]==1.6.3" --with "scikit-learn<1.8" \
        automl.py autogluon 700

It writes flaml.json or autogluon.json: the seconds that the search took, the AUC that
it claims by its own folds, and its scores of the test rows. (With scikit-learn 1.8 or
later the XGBoost that this AutoGluon takes can't be saved.)
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(os.getcwd())

import prepare

# Otherwise AutoGluon's workers (Ray) would be started by uv run again, each with an
# environment of its own, which may take longer than Ray waits.
os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"


def flaml(X, y, X_test, seconds: float):
    """FLAML's AUC on its own folds, and its scores of the test rows: (n_test,)."""
    from flaml import AutoML

    search = AutoML()
    search.fit(
        X,
        y,
        task="classification",
        metric="roc_auc",
        time_budget=seconds,
        seed=prepare.SEED,
        verbose=0,
    )
    return 1 - search.best_loss, search.predict_proba(X_test)[:, 1]


def autogluon(X, y, X_test, seconds: float):
    """AutoGluon's AUC on its own folds, and its scores of the test rows: (n_test,)."""
    from autogluon.tabular import TabularPredictor

    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            "target of the study", eval_metric="roc_auc", path=folder, verbosity=0
        )
        predictor.fit(
            X.assign(**{predictor.label: y}),
            presets="best_quality",
            time_limit=seconds,
        )
        claimed = predictor.leaderboard()["score_val"].max()
        return claimed, predictor.predict_proba(X_test)[1]


METHODS = {"flaml": flaml, "autogluon": autogluon}


def main(method: str, seconds: float) -> None:
    """Search, and write what was found."""
    X, y = prepare.load_data()
    train, test = prepare.split(y)[-1]
    begin = time.monotonic()
    claimed, scores = METHODS[method](X.iloc[train], y[train], X.iloc[test], seconds)
    found = {"seconds": time.monotonic() - begin, "val_auc": float(claimed)}
    found["scores"] = [float(score) for score in scores]
    Path(f"{method}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
