"""Where a scored model is weak: its AUC within parts of the train part.

Of the recorded ranks, so no model is fitted. Test rows are not used, and folds are not
told apart. Parts are in the order of the upper ends of their intervals: by AUC alone,
parts of few rows would come first, some of which are low by chance.
"""

from harness.describe import FEW, LEAST_ROWS, WIDTH, is_number, value_of
from harness.errors import one_line
from harness.noise import IN_95_PERCENT
from harness.records import Record

# ---------------------------------------------------------------- constants
# The lines that are shown, with the header.
LINES = 20
# The parts that a column of numbers is cut into, with about as many rows each.
N_PARTS = 3


def weak(X, y, record: Record) -> str:
    """Lines on the parts of columns within which the ranks are the worst.

    X: a frame of all rows; y: 0/1 (n_rows,). A part has at least LEAST_ROWS rows of
    each class.
    """
    import numpy as np

    train, found = np.flatnonzero(record.folds[0] >= 0), []
    for name in X:
        parts = parts_of(X[name].iloc[train])
        for part in np.unique(parts):
            rows = train[parts == part]
            if LEAST_ROWS <= y[rows].sum() <= len(rows) - LEAST_ROWS:
                found.append(line_on(rows, y, record, f"{name}: {part}"))
    head = "auc    95 %  rows  positive  within"
    hint = "(lower by itself where a strong column hardly varies)"
    worst = sorted(found)[: LINES - 2]
    lines = [line for _, line in (line_on(train, y, record, "all rows"), *worst)]
    return "\n".join([f"{head} {hint}", *lines])


def line_on(rows, y, record, part):
    """(Upper end of the interval of the AUC within these rows, the line on them)."""
    auc, n_positive = auc_within(rows, y, record), y[rows].sum()
    half = IN_95_PERCENT * error_of_auc(auc, n_positive, len(rows) - n_positive)
    start = f"{auc:.2f} ± {half:.2f} {len(rows):>5} {n_positive:>9}  "
    return auc + half, start + one_line(part, WIDTH - len(start))


def error_of_auc(auc, n_positive, n_negative):
    """The standard error of an AUC, over rows (Hanley and McNeil 1982)."""
    by_positive = (n_positive - 1) * (auc / (2 - auc) - auc**2)
    by_negative = (n_negative - 1) * (2 * auc**2 / (1 + auc) - auc**2)
    variance = auc * (1 - auc) + by_positive + by_negative
    return (variance / (n_positive * n_negative)) ** 0.5


def parts_of(column):
    """The name of each row's part: levels, or thirds of a column of numbers."""
    import pandas as pd

    if not is_number(column) or column.nunique() <= FEW:
        return column.map(value_of, na_action="ignore").fillna("missing").to_numpy()
    thirds = pd.qcut(column, N_PARTS, labels=False, duplicates="drop")
    spans = column.groupby(thirds).agg(["min", "max"])
    names = {n: f"{low:.10g} to {high:.10g}" for n, low, high in spans.itertuples()}
    return thirds.map(names).fillna("missing").to_numpy()


def auc_within(rows, y, record):
    """The AUC over the pairs of these rows that were held out together.

    The share of the pairs of a positive and a negative row that are ranked rightly, by
    rank sums (Mann and Whitney 1947); NaN without a pair.
    """
    import numpy as np
    from scipy.stats import rankdata

    n_right = n_pairs = 0
    for ranks, folds in zip(record.ranks, record.folds, strict=True):
        for fold in range(folds.max() + 1):
            held = rows[folds[rows] == fold]
            is_positive = y[held] == 1
            n = is_positive.sum()
            n_right += rankdata(ranks[held])[is_positive].sum() - n * (n + 1) / 2
            n_pairs += n * (len(held) - n)
    return n_right / n_pairs if n_pairs else np.nan
