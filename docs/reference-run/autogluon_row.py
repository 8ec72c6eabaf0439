"""AutoGluon's row of the README's table; it is no dependency of the project.

    uv run --with "autogluon.tabular[all]" docs/reference-run/autogluon_row.py 960 20

960: seconds that its six fits (our five folds, and the train part for the test part)
share evenly; 20: seconds of each of its 50 fits on the fresh folds. All of its search
is inside these fits: no row is scored by a search that has seen it.
"""

import sys
import tempfile
import time
from pathlib import Path

import measure
import numpy as np
from autogluon.tabular import TabularPredictor
from sklearn.metrics import roc_auc_score

import prepare


def answer(X, y, rows, seconds):
    """Threshold and scores (1 + n_held,) after a fit of so many seconds.

    rows: (fit rows, held-out rows).
    """
    fit, held = rows
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(
            "target", eval_metric="roc_auc", path=folder, verbosity=0
        )
        table = X.assign(target=y).iloc[fit]
        predictor.fit(
            table,
            presets="best_quality",
            time_limit=seconds,
            dynamic_stacking=False,
            ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
        )
        scores = predictor.predict_proba(X.iloc[held])[1]
        return np.array([predictor.decision_threshold, *scores])


def autogluon(X, y, search_s, fresh_s):
    """What is measured of it, in fits of so many seconds: measure.Measured."""
    begin, fit_s = time.monotonic(), search_s / len(prepare.JOBS)
    *folds, last = prepare.split(y)
    aucs = [roc_auc_score(y[rows[1]], answer(X, y, rows, fit_s)[1:]) for rows in folds]
    on_test = answer(X, y, last, fit_s)
    seconds = time.monotonic() - begin
    *fresh, _ = measure.pairs_of(y)
    found = [*(answer(X, y, rows, fresh_s) for rows in fresh), on_test]
    return measure.measured(float(np.mean(aucs)), seconds, found, y)


if __name__ == "__main__":
    search_s, fresh_s = map(float, sys.argv[1:])
    X, y = prepare.load_data()
    baseline = measure.measure(Path("train.py").read_bytes(), X, y)
    model = autogluon(X, y, search_s, fresh_s)
    print(measure.row(y, "AutoGluon", model, baseline))
