"""The gain of a run against its noise: repeated cross-validation and a bootstrap.

Candidates run in sandboxed fresh processes; here are the labels and the arithmetic.
"""

import time

from harness.judge import Crash, ask_all, n_cores, say
from harness.records import standard_error

# ---------------------------------------------------------------- constants
# Of the cross-validation on the train part.
REPEATS, FOLDS = 10, 5
# Of its folds: fresh ones, no run has been scored on them.
FOLD_SEED = 2003
# Seconds of wall clock for all the fits of one model.
BUDGET_S = 3600
# Of the bootstrap on the test part.
RESAMPLES, RESAMPLE_SEED = 2000, 1993
# Of the resamples: the ends of a 95 % interval.
PERCENTILES = [2.5, 97.5]
# Fits from one line of progress to the next.
PROGRESS = 10
TEST = ["test_auc", "test_acc"]


def measure(servers, X, y, train, test):
    """What the start is worth, and the best if it is among the servers, by name.

    X: all rows, y: labels (n_rows,); train, test: row numbers. Returns {"models":
    {name: numbers}, "gain": numbers, "test_gain": numbers, "crashes": lines}, where the
    gains are None unless both models ended.
    """
    pairs = [*fresh_folds(train, y), (train, test)]
    models, aucs, finals, crashes = {}, {}, {}, []
    for name, server in servers.items():
        try:
            answers, fit_s = fit_all(name, server, X, y, pairs)
        except Crash as crash:
            crashes.append(f"{name} can't be judged: {crash}")
            continue
        folds = zip(pairs, answers[:-1], strict=False)
        aucs[name] = [auc(y[held], answer[1:]) for (_, held), answer in folds]
        models[name] = {"fit_s": fit_s} | cv_numbers(aucs[name])
        finals[name] = answers[-1]
    for name, numbers in on_test(y[test], finals).items():
        models.setdefault(name, {}).update(numbers)
    gains = {"gain": None, "test_gain": models.pop("gain", None)}
    if len(aucs) == 2:
        gains["gain"] = corrected_t_test(aucs["best"], aucs["start"], FOLDS)
    return {"models": models, "crashes": crashes} | gains


# ------------------------------------------------------- repeated cross-validation
def fresh_folds(train, y):
    """Pairs (fit rows, held-out rows) of the train rows, REPEATS times FOLDS."""
    from sklearn.model_selection import RepeatedStratifiedKFold

    cv = RepeatedStratifiedKFold(
        n_splits=FOLDS, n_repeats=REPEATS, random_state=FOLD_SEED
    )
    return [(train[fit], train[held]) for fit, held in cv.split(train, y[train])]


def fit_all(name, server, X, y, pairs):
    """The candidates' answers to all pairs, and seconds a fit took; Crash without."""
    begin, answers, ends = time.monotonic(), {}, []

    def tell(i, answer):
        answers[i] = answer
        ends.append(time.monotonic() - begin)
        if len(ends) % PROGRESS == 0:
            say(f"{name}: {len(ends)} of {len(pairs)} fits ({ends[-1]:.1f} s)\n")

    jobs = [(f"{name} fit {i + 1}", *pair) for i, pair in enumerate(pairs)]
    ask_all(server, jobs, X, y, begin + BUDGET_S, tell)
    side_by_side = min(n_cores(), len(jobs))
    fit_s = (ends[-1] - ends[0]) / (len(ends) - 1) * side_by_side
    return [answers[i] for i in range(len(jobs))], fit_s


def cv_numbers(aucs):
    """Mean AUC, and the sd over the means of the repeats: the noise of the folds."""
    import numpy as np

    means = np.reshape(aucs, (REPEATS, FOLDS)).mean(axis=1)
    return {"cv_auc": float(means.mean()), "cv_sd": float(means.std(ddof=1))}


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


# ------------------------------------------------------------------- the test part
def on_test(y, finals):
    """Test AUC and accuracy with intervals: {name: numbers}, and "gain" if of two.

    y: labels (n,); finals: {name: threshold and scores (1 + n,)}. The gain is best
    minus start on the same resamples, so what they share of luck drops out.
    """
    import numpy as np

    values = {name: test_scores(y, final) for name, final in finals.items()}
    draws = {name: [] for name in finals}
    for rows in resamples(y):
        for name, final in finals.items():
            draws[name].append(test_scores(y[rows], final[[0, *(rows + 1)]]))
    numbers = {name: with_intervals(values[name], draws[name]) for name in finals}
    if len(finals) == 2:
        gains = [np.subtract(of["best"], of["start"]) for of in (values, draws)]
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

    ends = np.percentile(draws, PERCENTILES, axis=0).T
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
