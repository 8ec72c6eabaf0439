"""FLAML's one-shot AutoML: so many seconds of search on the train part.

    uv run docs/reference-run/flaml_search.py 45

Time decides where such a search ends, so another machine may print another winner.
"""

import sys
import time
from pathlib import Path

from flaml import AutoML

sys.path.append(str(Path(__file__).resolve().parents[2]))

from prepare import SEED, load_data, split

if __name__ == "__main__":
    begin = time.monotonic()
    X, y = load_data()
    train, _ = split(y)[-1]
    automl = AutoML()
    automl.fit(
        X.iloc[train],
        y[train],
        task="classification",
        metric="roc_auc",
        eval_method="cv",
        n_splits=5,
        time_budget=float(sys.argv[1]),
        seed=SEED,
        verbose=0,
    )
    print(f"AUC in the search's own folds: {1 - automl.best_loss:.4f}")
    seconds, found = time.monotonic() - begin, automl.time_to_find_best_model
    print(f"{seconds:.0f} s, the winner after {found:.0f} s")
    winner = automl.model.estimator
    params = {k: v for k, v in winner.get_params().items() if v is not None}
    print(type(winner).__name__, params)
