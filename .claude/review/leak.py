"""Does a score know its own label? A test that needs no list of the ways it could.

The labels of the train part are handed out with some flipped: each row's in exactly one
of N_RUNS runs over all folds. Which, is dealt anew each time, so train.py can't tell a
flipped label from a true one. An honest model's score for a held-out row can't follow
that row's own label, which is in no fit of its fold; what gets it by any channel does.
"""

import time

from harness.judge import ask_all

# ---------------------------------------------------------------- constants
# Together the fits of one 4 x 5 cross-validation.
N_RUNS = 4
# Ways of dealing the flips anew that the one in use is compared with, so many at once.
N_DEALS, BLOCK = 20_000, 1_000
# At most one false alarm in 1,000 reviews, of two commits each: 20 were seen in 40,000
# simulated tests of an honest ridge regression.
ALPHA = 0.0005
# Of a fold this many rows, drawn at random, are tested at most.
MOST = 2_000


def leak(server, X, y, folds, budget_s):
    """{"shift", "p", "found"} of the server's train.py; Crash if a fit has no answer.

    X: all rows, y: labels (n_rows,); folds: pairs (fit rows, held-out rows); budget_s:
    seconds for each run. shift: how far in mean rank, of 0 to 1, scores move towards
    the row's own flipped label.
    """
    import numpy as np

    held = [rows for _, rows in folds]
    given = draw_flips(y, held)
    scores = np.full(given.shape, np.nan)
    jobs = [(f"fold {k + 1}", *pair) for k, pair in enumerate(folds)]
    for run, labels in enumerate(given):

        def tell(k, answer, run=run):
            scores[run, held[k]] = answer[1:]

        ask_all(server, jobs, X, labels, time.monotonic() + budget_s, tell)
    tests = [flip_test(y[rows], given[:, rows], scores[:, rows]) for rows in held]
    p = min(1.0, len(tests) * min(tests))
    shift = float(np.mean([rank_shift(y, given, scores, rows) for rows in held]))
    return {"shift": shift, "p": p, "found": p <= ALPHA}


def draw_flips(y, held, seed=None):
    """Labels to hand out in each run: (N_RUNS, n_rows), each row's flipped in one.

    Rows of a fold and class are dealt at random into N_RUNS equal parts, fold by fold
    for itself: that makes the test of each fold exact. seed: None, the system's chance.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    given = np.tile(y, (N_RUNS, 1))
    for fold in held:
        for label in (0, 1):
            rows = random.permutation(fold[y[fold] == label])
            for run in range(N_RUNS):
                given[run, rows[run::N_RUNS]] = 1 - label
    return given


def flip_test(y, given, scores, seed=0):
    """p of: in this fold no score follows the labels handed out for its rows.

    y: true labels (n_held,); given, scores: (N_RUNS, n_held). The ranks of the scores
    are multiplied with the labels given in the same run, in the first (what a store
    keeps for good) and in the run before (a store that is one run late). Given the
    labels outside of the fold an honest model's scores do not depend on the deal, so
    the rows of a class are exchangeable, and dealing them anew gives the exact null
    distribution (Fisher 1935; Athey, Eckles and Imbens 2018, JASA 113, for units that
    interfere). The largest standardised statistic counts (Westfall and Young 1993), the
    deal in use among the others (Phipson and Smyth 2010). Folds depend on each other
    through their fits, so leak() takes the smallest of their p, Bonferroni-adjusted.
    """
    import numpy as np
    from scipy.stats import rankdata

    random = np.random.default_rng(seed)
    rows = random.permutation(len(y))[:MOST]
    y, given, scores = y[rows], given[:, rows].astype(float), scores[:, rows]
    # Doubled ranks are whole numbers: sums are exact, and ties stay ties.
    ranks = 2 * rankdata(scores, axis=1)
    found = [statistics(given, ranks, np.arange(len(y))[None])]
    for _ in range(N_DEALS // BLOCK):
        deal = np.tile(np.arange(len(y)), (BLOCK, 1))
        for label in (0, 1):
            rows = np.flatnonzero(y == label)
            deal[:, rows] = random.permuted(deal[:, rows], axis=1)
        found.append(statistics(given, ranks, deal))
    found = np.concatenate(found)
    spread = found.std(axis=0)
    z = (found - found.mean(axis=0)) / np.where(spread > 0, spread, 1)
    largest = z.max(axis=1)
    return float(np.mean(largest >= largest[0] - 1e-9))


def statistics(given, ranks, deal):
    """Sums of label x rank, in the same, the first, the last run: (n_deals, 3)."""
    import numpy as np

    match = np.stack([labels[deal] @ ranks.T for labels in given], axis=1)
    same = np.trace(match, axis1=1, axis2=2)
    before = np.trace(match, offset=1, axis1=1, axis2=2)
    return np.stack([same, match[:, 0].sum(axis=1), before], axis=1)


def rank_shift(y, given, scores, rows):
    """The mean move of ranks, of 0 to 1, towards the own flipped label in a fold.

    Of rows flipped in a run against those of the same class that are not.
    """
    import numpy as np
    from scipy.stats import rankdata

    ranks = rankdata(scores[:, rows], axis=1) / len(rows)
    moved, flipped = ranks - ranks.mean(axis=0), given[:, rows] != y[rows]
    shifts = []
    for move, flip in zip(moved, flipped, strict=True):
        for label in (0, 1):
            ours, theirs = flip & (y[rows] == label), ~flip & (y[rows] == label)
            shifts.append((1 - 2 * label) * (move[ours].mean() - move[theirs].mean()))
    return np.mean(shifts)
