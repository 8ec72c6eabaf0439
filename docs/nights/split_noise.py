"""How much of the baseline's scores is the luck of folds and split: README's figures.

uv run docs/nights/split_noise.py
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    cross_val_score,
    train_test_split,
)
from threadpoolctl import threadpool_limits

sys.path.append(str(Path(__file__).resolve().parents[2]))

import prepare
from harness.candidate import load_train

# Seeds of other folds, and of other splits.
SEEDS = range(100)

train = load_train(prepare.TRAIN.read_bytes())
X, y = prepare.load_data()
X = train.feature_fn(X)
rows, _ = prepare.split(y)[-1]


def val_auc(seed, n_repeats):
    """As prepare.py has it, on the folds of another seed."""
    cv = RepeatedStratifiedKFold(
        n_splits=prepare.N_SPLITS, n_repeats=n_repeats, random_state=seed
    )
    given = train.build_pipeline(), X.iloc[rows], y[rows]
    return cross_val_score(*given, cv=cv, scoring="roc_auc").mean()


def test_auc(seed):
    """On the test part of another split."""
    fit, held = train_test_split(
        np.arange(len(y)), test_size=prepare.TEST_SIZE, stratify=y, random_state=seed
    )
    given = train.build_pipeline(), X, y
    return cross_val_score(*given, cv=[(fit, held)], scoring="roc_auc")[0]


# The fits are small: threads would wait for each other.
with threadpool_limits(1):
    for n_repeats in (1, 10):
        spread = np.std([val_auc(seed, n_repeats) for seed in SEEDS], ddof=1)
        print(f"val_auc, N_REPEATS = {n_repeats}: sd {spread:.4f} over {SEEDS}")
    values = [test_auc(seed) for seed in SEEDS]
mean, spread = np.mean(values), np.std(values, ddof=1)
print(f"test_auc: mean {mean:.3f}, sd {spread:.3f} over {SEEDS}")
