"""A row of the README's table for each train.py: the same folds, the same test part.

    uv run docs/reference-run/measure.py train.py docs/reference-run/*/train.py

The first is what the gains are over. Each fit is a candidate in its sandbox, as in an
evaluation. The fresh folds are those of no run, so no search has been scored on them.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold

sys.path.append(str(Path(__file__).resolve().parents[2]))

import prepare
from harness.judge import answers

# The cross-validation on fresh folds, and the bootstrap on the test part.
REPEATS, FOLDS, FOLD_SEED = 10, 5, 2003
RESAMPLES, RESAMPLE_SEED = 2000, 1993


@dataclass
class Measured:
    """What was measured of a model."""

    val_auc: float
    # Seconds of the evaluation.
    seconds: float
    # AUCs on the fresh folds (REPEATS * FOLDS,), in order.
    fresh_aucs: list[float]
    # Threshold and scores of the test rows: (1 + n_test,).
    test_answer: np.ndarray


def pairs_of(y):
    """Pairs (fit rows, held-out rows): the fresh folds, then the test part."""
    train, test = prepare.split(y)[-1]
    cv = RepeatedStratifiedKFold(
        n_splits=FOLDS, n_repeats=REPEATS, random_state=FOLD_SEED
    )
    folds = [(train[fit], train[held]) for fit, held in cv.split(train, y[train])]
    return [*folds, (train, test)]


def measure(source, X, y):
    """What is measured of a train.py, given as bytes."""
    with prepare.server_of(source) as server:
        begin = time.monotonic()
        scores, _ = prepare.score(server, X, y, start=begin)
        seconds, pairs = time.monotonic() - begin, pairs_of(y)
        jobs = [(f"fit {i + 1}", *pair) for i, pair in enumerate(pairs)]
        deadline = time.monotonic() + len(jobs) * prepare.BUDGET_S
        found = dict(answers(server, jobs, X, y, deadline))
    return measured(scores["val_auc"], seconds, [found[i] for i in range(len(jobs))], y)


def measured(val_auc, seconds, found, y):
    """Measured, from the answers to all of pairs_of()."""
    *folds, _ = pairs_of(y)
    aucs = [
        roc_auc_score(y[held], answer[1:])
        for (_, held), answer in zip(folds, found, strict=False)
    ]
    return Measured(val_auc, seconds, aucs, found[-1])


def row(y, name, model, baseline):
    """The cells of a model, in Markdown; the gain is over the baseline's."""
    gains = np.subtract(model.fresh_aucs, baseline.fresh_aucs)
    # The corrected resampled t-test, sd² (1/n + n_held/n_fit): Nadeau and Bengio, 2003.
    error = gains.std(ddof=1) * (1 / len(gains) + 1 / (FOLDS - 1)) ** 0.5
    t = gains.mean() / error if error else 0.0
    p = 2 * stats.t.sf(abs(t), df=len(gains) - 1)
    cells = [name, f"{model.val_auc:.4f}", f"{np.mean(model.fresh_aucs):.4f}"]
    cells += [f"{gains.mean():+.4f} ± {error:.4f}, p = {p:.2g}"]
    cells += test_cells(y[pairs_of(y)[-1][1]], model.test_answer)
    return f"| {' | '.join(cells)} | {model.seconds:.1f} s |"


def test_cells(y, answer):
    """Test AUC and accuracy, each with the 95 % interval of a stratified bootstrap."""
    draws = [test_scores(y[rows], answer[[0, *(rows + 1)]]) for rows in resamples(y)]
    ends = np.percentile(draws, [2.5, 97.5], axis=0).T
    values = zip(test_scores(y, answer), ends, strict=True)
    return [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, (low, high) in values]


def test_scores(y, answer):
    """(AUC, accuracy) of threshold and scores, (1 + n,), on labels y (n,)."""
    return roc_auc_score(y, answer[1:]), ((answer[1:] > answer[0]) == y).mean()


def resamples(y):
    """Row numbers (n,) of RESAMPLES bootstrap samples, each class drawn for itself."""
    random = np.random.default_rng(RESAMPLE_SEED)
    classes = [np.flatnonzero(y == label) for label in (0, 1)]
    for _ in range(RESAMPLES):
        yield np.concatenate([random.choice(rows, len(rows)) for rows in classes])


if __name__ == "__main__":
    X, y = prepare.load_data()
    models = {path: measure(Path(path).read_bytes(), X, y) for path in sys.argv[1:]}
    baseline = next(iter(models.values()))
    for path, model in models.items():
        print(row(y, path, model, baseline), flush=True)
