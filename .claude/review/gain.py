"""What commits are worth on fresh folds, side by side, and on the test part.

Candidates run in sandboxed fresh processes; here are the labels and the arithmetic.
"""

import time
from dataclasses import dataclass, field

from harness.judge import ask_all, n_cores, say
from harness.records import standard_error
from review.choice import INTERVAL

# ---------------------------------------------------------------- constants
# Of the cross-validation on the train part.
REPEATS, FOLDS = 10, 5
# Of its folds: fresh ones, no run has been scored on them.
FOLD_SEED = 2003
# Of the bootstrap on the test part.
RESAMPLES, RESAMPLE_SEED = 2000, 1993
# Fits from one line of progress to the next.
PROGRESS = 10
TEST = ["test_auc", "test_acc"]


# -------------------------------------------------------------------- the fits
@dataclass
class Fits:
    """The answers of a commit so far, by the number of their pair of rows."""

    answers: dict = field(default_factory=dict)
    # When each came, after the first fit had begun.
    ends: list = field(default_factory=list)  # seconds
    # Of an evaluation of the commit, once it was scored again.
    duration: float | None = None  # seconds

    @property
    def fit_s(self):
        """Seconds a fit took, of those after the first; None without them."""
        if len(self.ends) < 2:
            return None
        side_by_side = min(n_cores(), len(self.ends))
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1) * side_by_side


def fresh_folds(train, y):
    """Pairs (fit rows, held-out rows) of the train rows, REPEATS times FOLDS."""
    from sklearn.model_selection import RepeatedStratifiedKFold

    cv = RepeatedStratifiedKFold(
        n_splits=FOLDS, n_repeats=REPEATS, random_state=FOLD_SEED
    )
    return [(train[fit], train[held]) for fit, held in cv.split(train, y[train])]


def fit_all(name, server, X, y, pairs, deadline, fits):
    """Fill in the answers to all pairs as they come, in order; Crash without one.

    pairs: (fit rows, held-out rows), of fresh_folds(), then perhaps the test part, that
    is fitted first; deadline: a time of time.monotonic.
    """
    begin = time.monotonic()
    numbers = sorted(range(len(pairs)), key=lambda i: (i < REPEATS * FOLDS, i))

    def tell(at, answer):
        fits.answers[numbers[at]] = answer
        fits.ends.append(time.monotonic() - begin)
        if (n := len(fits.ends)) % PROGRESS == 0:
            left = fits.ends[-1] / n * (len(pairs) - n)
            say(f"{name}: {n} of {len(pairs)} fits, about {left:.0f} s more\n")

    jobs = [(f"{name} fit {i + 1}", *pairs[i]) for i in numbers]
    ask_all(server, jobs, X, y, deadline, tell)


# ------------------------------------------------------- repeated cross-validation
def on_fresh_folds(y, pairs, fits):
    """{name: numbers}, on the repeats that are whole; not of one without any.

    y: labels (n_rows,); pairs: of fresh_folds(); fits: {name: Fits}. All but the first
    also have the "gain" over it, by the corrected resampled t-test.
    """
    aucs = {}
    for name, of in fits.items():
        missing = [i for i in range(REPEATS * FOLDS) if i not in of.answers]
        whole = min(missing, default=REPEATS * FOLDS) // FOLDS * FOLDS
        answers = [of.answers[i][1:] for i in range(whole)]
        held = [rows for _, rows in pairs]
        if answers:
            scored = zip(held, answers, strict=False)
            aucs[name] = [auc(y[rows], answer) for rows, answer in scored]
    found = {name: cv_numbers(values) for name, values in aucs.items()}
    first, *others = fits
    for name in others:
        if first in aucs and name in aucs:
            both = min(len(aucs[first]), len(aucs[name]))
            of_both = aucs[name][:both], aucs[first][:both]
            found[name]["gain"] = corrected_t_test(*of_both, FOLDS)
    return found


def cv_numbers(aucs):
    """Mean AUC, its standard error, the sd over the means of the repeats, and repeats.

    The sd, the noise of the folds, is None of one repeat.
    """
    import numpy as np

    means = np.reshape(aucs, (-1, FOLDS)).mean(axis=1)
    sd = float(means.std(ddof=1)) if len(means) > 1 else None
    numbers = {"mean": float(means.mean()), "se": float(standard_error(aucs, FOLDS))}
    return numbers | {"sd": sd, "repeats": len(means)}


def corrected_t_test(new, old, folds):
    """The corrected resampled t-test of Nadeau & Bengio (2003) on paired scores.

    new, old: scores (repeats * folds,) of two models on the same folds.
    """
    import numpy as np
    from scipy import stats

    differences = np.subtract(new, old)
    n, mean = len(differences), differences.mean()
    error = standard_error(differences, folds)
    # The same difference on every fold.
    if error == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = 2 * stats.t.sf(abs(mean) / error, df=n - 1)
    numbers = {"mean": mean, "standard_error": error, "df": n - 1, "p": p}
    return {key: float(value) for key, value in numbers.items()}


def with_t_interval(test):
    """Mean, se and 95 % interval of a corrected_t_test()."""
    from scipy import stats

    mean, se = test["mean"], test["standard_error"]
    half = stats.t.ppf(0.975, df=test["df"]) * se
    return {"mean": mean, "se": se, "interval": [mean - half, mean + half]}


# ------------------------------------------------------------------- the test part
def on_test(y, finals):
    """Test AUC and accuracy with intervals: {name: numbers}, and "gain" if of two.

    y: labels (n,); finals: {name: threshold and scores (1 + n,)}. The gain is the
    second minus the first on the same resamples, so luck that they share drops out.
    """
    import numpy as np

    values = {name: test_scores(y, final) for name, final in finals.items()}
    draws = {name: [] for name in finals}
    for rows in resamples(y):
        for name, final in finals.items():
            draws[name].append(test_scores(y[rows], final[[0, *(rows + 1)]]))
    numbers = {name: with_intervals(values[name], draws[name]) for name in finals}
    if len(finals) == 2:
        gains = [np.subtract(*list(of.values())[::-1]) for of in (values, draws)]
        numbers["gain"] = with_intervals(*gains)
    return numbers


def resamples(y):
    """Row numbers (n,) of RESAMPLES bootstrap samples, each class drawn for itself."""
    import numpy as np

    random = np.random.default_rng(RESAMPLE_SEED)
    classes = [np.flatnonzero(y == label) for label in (0, 1)]
    for _ in range(RESAMPLES):
        yield np.concatenate([random.choice(rows, len(rows)) for rows in classes])


def test_scores(y, final):
    """AUC and accuracy of threshold and scores, final (1 + n,), on labels y (n,)."""
    return auc(y, final[1:]), float(((final[1:] > final[0]) == y).mean())


def with_intervals(values, draws):
    """Numbers of TEST: the values (2,), and percentiles of their draws (n, 2)."""
    import numpy as np

    ends = np.percentile(draws, INTERVAL, axis=0).T
    numbers = {key: float(value) for key, value in zip(TEST, values, strict=True)}
    for key, (low, high) in zip(TEST, ends, strict=True):
        numbers[f"{key}_interval"] = [float(low), float(high)]
    return numbers


def auc(y, scores):
    """Area under the ROC curve by ranks (Mann and Whitney), ties counted half."""
    from scipy.stats import rankdata

    positive = y == 1
    n1, n0 = positive.sum(), (~positive).sum()
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - n1 * (n1 + 1) / 2) / (n1 * n0))
