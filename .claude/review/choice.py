"""Which commit to take, what it is worth, and what no honest night has.

All of it from the records of the scored commits, without a fit. Commits are numbered in
the order in which they were scored, the start is 0.
"""

import math
from functools import partial

from harness.noise import IN_95_PERCENT
from harness.ratchet import is_kept

# ---------------------------------------------------------------- constants
# The number of bootstrap samples, and their seed.
RESAMPLES, SEED = 1000, 1996
# Of a class with more rows, so many groups of rows are drawn: the error of a gain is
# known by RESAMPLES only as long as these are more than what is drawn.
GROUPS = 250
# Percentiles of a bootstrap: the ends of its 95 % interval.
INTERVAL = [2.5, 97.5]
# A score that falls by more than so many standard errors, when each fold is fitted
# alone, needs other fits beside it. Honest models that are not seeded fall so far in
# fewer than one night in 1,000: tests/test_choice.py.
FALL = 5
# So many standard errors between the gain on the folds and the one on the test part
# contradict each other: fewer than one in 1,000 honest nights, as above.
CONTRADICTION = 3.6


# ------------------------------------------------------------------ the choice
def kept_by_ratchet(values, min_gain):
    """Numbers of the commits that a ratchet keeps of these scores, the start first."""
    kept = [0]
    for number, value in enumerate(values):
        if is_kept(value - values[kept[-1]], min_gain):
            kept.append(number)
    return kept


def choose(values, kept, errors):
    """The earliest kept commit within one standard error of the best kept.

    values: scores (n_commits,); errors: of noise.standard_errors().
    The 1-SE rule (Breiman et al. 1984, Classification and Regression Trees, 3.4.3), for
    paired scores. The earliest, for it is the simplest that the run knew.
    """
    best = max(kept, key=lambda number: values[number])
    return next(k for k in kept if values[best] - values[k] <= errors[best][k])


# ------------------------------------------- chosen and reported on different rows
def corrected_gains(y, ranks, folds, kept, errors, min_gain):
    """Gains over the start on rows that did not choose: of the choice, of each keep.

    y: labels (n_rows,); ranks: (n_commits, n_repeats, n_rows); folds: (n_repeats,
    n_rows), -1 outside; kept: those of the run, the start first. Bootstrap
    bias-corrected cross-validation (Tsamardinos, Greasidou and Borboudakis 2018,
    Machine Learning 107): rows are drawn with replacement; by those drawn the ratchet
    keeps among all commits and choose() picks; by those not drawn the pick is compared
    with the start. Models are not fitted anew. It takes the candidates as given: who
    proposes the next after seeing the last score gets a little more optimism through.
    The gain is what the resamples' picks are worth on average. Where one commit alone
    is better, some resamples miss it: it is worth more (docs/design.md has numbers).

    Returns {"choice": estimate, "keeps": [estimate of each in kept]}.
    """
    import numpy as np

    group, drawn = draw_rows(y, folds[0] >= 0)
    inside = mean_aucs(y, ranks, folds, group, drawn)
    outside = mean_aucs(y, ranks, folds, group, drawn == 0)
    usable = np.isfinite(inside[0]) & np.isfinite(outside[0])
    inside, outside = inside[:, usable], outside[:, usable] - outside[0, usable]
    picks, stairs = [], []
    for values in inside.T:
        ours = kept_by_ratchet(values, min_gain)
        picks.append(choose(values, ours, errors))
        # What the ratchet had kept by the time of each of the run's keeps.
        stairs.append([max(k for k in ours if k <= keep) for keep in kept])
    every, gains, drawn = np.arange(len(picks)), inside - inside[0], drawn[:, usable]
    return {
        "choice": estimate(outside[picks, every], gains[picks, every], drawn),
        "keeps": [
            estimate(outside[stair, every], gains[stair, every], drawn)
            for stair in np.transpose(stairs)
        ],
    }


def estimate(outside, inside, drawn):
    """Mean, se and 95 % interval of a gain on the rows that did not choose.

    outside, inside: gain of each resample's pick, on the rows it did not draw and on
    those it drew (n_resamples,); drawn: of draw_rows(), (n_groups, n_resamples). A
    resample is one pick and a third of the rows, the mean is of all picks and rows: it
    varies less. How much, the covariance of each row's count and the gain tells
    (infinitesimal jackknife: Efron 2014, JASA 109), less what the finite number of
    resamples adds (Wager, Hastie and Efron 2014, JMLR 15). The gain is the inside one,
    for that moves with the rows; the rows outside are those with count 0.
    """
    import numpy as np

    n_groups, n_resamples = drawn.shape
    covariances = drawn @ (inside - inside.mean()) / n_resamples
    by_chance = n_groups / n_resamples * inside.var()
    se = max(np.square(covariances).sum() - by_chance, 0) ** 0.5
    return normal_estimate(outside.mean(), se)


def normal_estimate(mean, se):
    """{"mean", "se", "interval"} of a gain with a normal error, which the last has."""
    mean, se = float(mean), float(se)
    half = IN_95_PERCENT * se
    return {"mean": mean, "se": se, "interval": [mean - half, mean + half]}


def gain_on_test(y, ranks, test):
    """(AUCs of two commits on the test rows, the second's gain as estimate() has it).

    y: labels (n_rows,); ranks: (2, n_rows); test: whether a test row, (n_rows,). By a
    bootstrap of the rows, paired, so luck that the two share drops out.
    """
    import numpy as np

    group, drawn = draw_rows(y, test)
    weights = np.c_[np.ones(len(drawn)), drawn][group[test]]
    aucs = np.array([weighted_aucs(of_one[test], y[test], weights) for of_one in ranks])
    gain, *gains = aucs[1] - aucs[0]
    found = {"mean": float(gain), "se": float(np.std(gains))}
    found["interval"] = [float(end) for end in np.percentile(gains, INTERVAL)]
    return aucs[:, 0].tolist(), found


def gain_on_all_rows(gain, on_test, test):
    """The gains on the train and on the test part together: each row counts once.

    gain, on_test: as estimate() has them; test: whether a test row, (n_rows,). They are
    of other rows, so their errors are independent.
    """
    of_test = test.mean()
    of_train = 1 - of_test
    mean = of_train * gain["mean"] + of_test * on_test["mean"]
    se = math.hypot(of_train * gain["se"], of_test * on_test["se"])
    return normal_estimate(mean, se)


# -------------------------------------------------------------- what can't be honest
def noise_of_fits(fold_aucs):
    """The sd of the difference between two scores of a commit, by chance in its fits.

    fold_aucs: of the commit scored several times, (n_scores, n_repeats, n_splits). Each
    fit draws its chance anew.
    """
    variance = fold_aucs.var(axis=0, ddof=1)
    return float((2 * variance.mean() / variance.size) ** 0.5)


def contradict(gain, test):
    """Whether the gain on the folds can't be true if the one on the test part is.

    Both as estimate() has them. They are of other rows, so their errors add up. A gain
    that is larger on the test part is luck, and no contradiction.
    """
    error = (gain["se"] ** 2 + test["se"] ** 2) ** 0.5
    return gain["mean"] - test["mean"] > CONTRADICTION * error


# ---------------------------------------------------------------------- resamples
def draw_rows(y, train):
    """How often rows are in a bootstrap sample, each class drawn for itself.

    y, train: labels, and whether drawn from, (n_rows,). Returns the number of each
    row's group, -1 outside, (n_rows,), and the counts (n_groups, RESAMPLES). A group is
    one row; of many rows several, at random.
    """
    import numpy as np

    random, group, counts = np.random.default_rng(SEED), np.full(len(y), -1), []
    for label in (0, 1):
        rows = random.permutation(np.flatnonzero(train & (y == label)))
        n = min(len(rows), GROUPS)
        group[rows] = group.max() + 1 + np.arange(len(rows)) % n
        counts.append(random.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).T)
    return group, np.concatenate(counts).astype(float)


def mean_aucs(y, ranks, folds, group, weights):
    """AUC of each commit with the rows weighted: (n_commits, n_weights).

    Ranks can be compared within their fold only: the mean over folds with both classes.
    group: of each row, (n_rows,); weights: of a group's rows, (n_groups, n_weights).
    """
    import numpy as np

    aucs = []
    for repeat, fold in enumerate(folds):
        for k in range(fold.max() + 1):
            rows = np.flatnonzero(fold == k)
            given = y[rows], weights[group[rows]]
            aucs.append([weighted_aucs(r, *given) for r in ranks[:, repeat, rows]])
    valid = np.isfinite(aucs).sum(axis=0)
    return np.nansum(aucs, axis=0) / np.where(valid, valid, np.nan)


def weighted_aucs(ranks, y, weights):
    """AUC by each column of weights (n, n_weights), NaN without both classes.

    ranks, y: scores or their ranks, and labels, (n,). Pairs in order over all pairs,
    ties counted half (Mann and Whitney 1947).
    """
    import numpy as np

    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    negative = negative[np.argsort(ranks[negative])]
    # The total weight of the k lowest negative rows, for each k.
    lowest = np.zeros((1 + len(negative), weights.shape[1]))
    np.cumsum(weights[negative], axis=0, out=lowest[1:])
    for_sides = partial(np.searchsorted, ranks[negative], ranks[positive])
    below = (lowest[for_sides("left")] + lowest[for_sides("right")]) / 2
    pairs = weights[positive].sum(axis=0) * lowest[-1]
    ordered = (weights[positive] * below).sum(axis=0)
    return ordered / np.where(pairs, pairs, np.nan)
