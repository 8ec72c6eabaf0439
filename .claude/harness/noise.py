"""How much of a gain, and of a run's climb, may be chance; from records, without a fit.

Two questions, each with its own chance: would the gain be there on other rows (the
error of a gain), and how far do as many ideas climb that are all worth the same (luck)?
"""

from itertools import pairwise
from statistics import NormalDist

from harness import records
from harness.ratchet import Run, is_kept
from harness.records import Record

# -------------------------------------------------------------------- constants
# A 95 % interval reaches so many standard errors to either side.
IN_95_PERCENT = NormalDist().inv_cdf(0.975)
# Simulated nights of luck, their seed, and the percentage of them below LUCKY.
NIGHTS, SEED, LUCKY = 4000, 1996, 95


def lines(run: Run, commit: str, min_gain: float) -> list[str]:
    """What of the commit's gain, and of the run's climb, may be chance."""
    record = records.read(commit)
    if record is None or record.fold_aucs is None:
        return []
    return [*filter(None, (gain_line(record), luck_line(run, min_gain)))]


# ---------------------------------------------------------------- the error of a gain
def error_of_gain(y, folds, ranks, bar_ranks) -> float:
    """The standard error over rows of a commit's gain in val_auc over the bar.

    y: labels (n_rows,); folds, ranks, bar_ranks: as in Record. Paired: what both
    commits owe to a row drops out. The models are taken as fitted (DeLong, DeLong and
    Clarke-Pearson 1988, Biometrics 44, with n in the place of n - 1). Where nearly all
    rows are ranked as before, it is up to a quarter too large: tests/test_noise.py.
    """
    import numpy as np

    moved = contributions(y, folds, ranks) - contributions(y, folds, bar_ranks)
    return float(np.sqrt(np.square(moved).sum()))


def contributions(y, folds, ranks):
    """How much more than the others of its class each row adds to val_auc: (n_rows,).

    A row's part of an AUC is the share of the other class's rows in its fold that are
    ranked below it, ties counted half; of a negative row with the other sign.
    """
    import numpy as np
    from scipy.stats import rankdata

    found, n_folds = np.zeros(folds.shape), folds.max() + 1
    for repeat, of_repeat in enumerate(folds):
        for fold, label in np.ndindex(n_folds, 2):
            rows = np.flatnonzero((of_repeat == fold) & (y == label))
            n_other = (of_repeat == fold).sum() - len(rows)
            lower = ranks[repeat, rows] - rankdata(ranks[repeat, rows])
            share = lower / n_other
            found[repeat, rows] = (share - share.mean()) / len(rows)
    return found.mean(axis=0) / n_folds


def against_bar(bar: str, y, folds, ranks) -> dict:
    """{bar, error} as Record has them; {} if the bar has no scores to compare with.

    bar: its commit; y: labels (n_rows,); folds, ranks: as in Record.
    """
    record = records.read(bar)
    if not record or record.ranks is None:
        return {}
    return {"bar": bar, "error": error_of_gain(y, folds, ranks, record.ranks)}


def gain_line(record: Record) -> str:
    """What is to be thought of a gain over the bar; "" where that is not known."""
    bar = records.read(record.bar) if record.bar else None
    if bar is None or bar.fold_aucs is None:
        return ""
    if (record.fold_aucs == bar.fold_aucs).all():
        return "same scores as the bar: the change had no effect"
    gain = record.fold_aucs.mean() - bar.fold_aucs.mean()
    word = "within the noise"
    if is_beyond_noise(gain, record):
        word = f"a {'gain' if gain > 0 else 'loss'} beyond the noise"
    return f"Δ ± {IN_95_PERCENT * record.error:.4f} (95 %, on other rows): {word}"


def is_beyond_noise(gain: float, record: Record) -> bool:
    """Whether a gain over the bar, or a loss, exceeds its margin of error (95 %)."""
    return record.bar != "" and abs(gain) > IN_95_PERCENT * record.error


# ---------------------------------------------------------------------------- luck
def standard_errors(fold_aucs):
    """Of the differences between commits: (n_commits, n_commits).

    fold_aucs: (n_commits, n_repeats, n_splits). The folds of one cross-validation are
    other rows each, so they count; repeats are the same rows again, and do not.
    """
    import numpy as np

    flat, n_splits = fold_aucs.reshape(len(fold_aucs), -1), fold_aucs.shape[2]
    spread = [(flat - of_one).std(axis=1, ddof=1) for of_one in flat]
    return np.array(spread) / n_splits**0.5


def luck(errors, n_ideas: int, min_gain: float):
    """How far a ratchet climbs over 0 to n_ideas ideas that are all worth the same.

    errors: of standard_errors(); their squares' mean is twice the variance of a score
    by chance. Returns (mean, what 5 % of nights exceed), each (1 + n_ideas,): maxima of
    normal scores (the expected one of n: Tippett 1925), by simulation.
    """
    import numpy as np

    n = len(errors)
    noise = ((np.square(errors).sum() / (n * (n - 1)) / 2) ** 0.5) if n > 1 else 0.0
    random = np.random.default_rng(SEED)
    scores = noise * random.standard_normal((1 + n_ideas, NIGHTS))
    bar, climbs = scores[0], []
    for score in scores:
        bar = np.where(is_kept(score - bar, min_gain), score, bar)
        climbs.append(bar - scores[0])
    return np.mean(climbs, axis=1), np.percentile(climbs, LUCKY, axis=1)


def luck_line(run: Run, min_gain: float) -> str:
    """How far luck alone climbs, beside a run so far; "" before its second score."""
    import numpy as np

    scored = [(row, records.read(row.commit)) for row in run.rows if row.val_auc]
    found = [r.fold_aucs for _, r in scored if r and r.fold_aucs is not None]
    if len(found) < 2:
        return ""
    n_ideas, errors = len(scored) - 1, standard_errors(np.array(found))
    mean, most = luck(errors, n_ideas, min_gain)
    kept = [(float(row.val_auc), r) for row, r in scored if row.status == "keep"]
    return words_on_luck(n_ideas, mean[-1], most[-1], climb_in_words(kept))


def climb_in_words(kept: list[tuple[float, Record | None]]) -> str:
    """How far the keeps of a run climb, and how far by gains within the noise.

    kept: val_auc and record of each keep, the start first. A few large gains may be
    most of the climb, and the rest no more than luck.
    """
    gains = [(new - old, record) for (old, _), (new, record) in pairwise(kept)]
    climb = sum(gain for gain, _ in gains)
    small = sum(gain for gain, r in gains if not (r and is_beyond_noise(gain, r)))
    return f"this run {climb:+.4f}, {small:+.4f} of it within the noise"


def words_on_luck(n_ideas: int, mean: float, most: float, climb: str) -> str:
    """Luck in a line; climb: how far what climbed."""
    ideas = f"{n_ideas} ideas that change" if n_ideas > 1 else "1 idea that changes"
    climbs = f"{mean:+.4f} (one night in 20: {most:+.4f})"
    return f"luck: {ideas} nothing would climb {climbs}; {climb}"
