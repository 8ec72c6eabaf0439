"""Where a scored model is weak: its AUC within parts of the train part.

Of the recorded ranks, so no model is fitted. Test rows are not used, and folds are not
told apart.
"""

from harness.describe import FEW, LEAST_ROWS, WIDTH, is_number, value_of
from harness.errors import one_line
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
    import pandas as pd

    train = record.folds[0] >= 0
    X, y = X[train].reset_index(drop=True), y[train]
    ranks, folds = record.ranks[:, train], record.folds[:, train]
    found = []
    for name in X:
        parts = parts_of(X[name])
        aucs = aucs_within(parts, y, ranks, folds)
        for part, labels in pd.Series(y).groupby(parts):
            n, n_positive = len(labels), int(labels.sum())
            if LEAST_ROWS <= n_positive <= n - LEAST_ROWS:
                found.append((aucs[part], n, n_positive, f"{name}: {part}"))
    overall = aucs_within(["all rows"] * len(y), y, ranks, folds)["all rows"]
    rows = [(overall, len(y), int(y.sum()), "all rows"), *sorted(found)[: LINES - 2]]
    return "\n".join(["auc   rows  positive  within", *map(line_of, rows)])


def line_of(row):
    """A line of the list."""
    auc, n, n_positive, part = row
    start = f"{auc:.2f} {n:>5} {n_positive:>9}  "
    return start + one_line(part, WIDTH - len(start))


def parts_of(column):
    """The name of each row's part: levels, or thirds of a column of numbers."""
    import pandas as pd

    if not is_number(column) or column.nunique() <= FEW:
        return column.map(value_of, na_action="ignore").fillna("missing").to_numpy()
    thirds = pd.qcut(column, N_PARTS, labels=False, duplicates="drop")
    spans = column.groupby(thirds).agg(["min", "max"])
    names = {n: f"{low:.10g} to {high:.10g}" for n, low, high in spans.itertuples()}
    return thirds.map(names).fillna("missing").to_numpy()


def aucs_within(parts, y, ranks, folds):
    """{name of a part: AUC over the pairs of its rows that were held out together}.

    parts, y: (n_rows,); ranks, folds: (n_repeats, n_rows), as Record has them. The AUC
    is the share of the pairs of a positive and a negative row that are ranked rightly
    (Mann and Whitney 1947), NaN without a pair.
    """
    import numpy as np
    import pandas as pd

    n_repeats, n_rows = ranks.shape
    cells = {
        "part": np.tile(parts, n_repeats),
        "repeat": np.repeat(np.arange(n_repeats), n_rows),
        "fold": folds.ravel(),
        "y": np.tile(y, n_repeats),
    }
    frame = pd.DataFrame(cells | {"rank": ranks.ravel()})
    together = ["part", "repeat", "fold"]
    frame["rank"] = frame.groupby(together)["rank"].rank()
    frame["positive_rank"] = frame["rank"] * frame["y"]
    sums = frame.groupby(together).agg(
        n=("y", "size"), n_positive=("y", "sum"), ranks=("positive_rank", "sum")
    )
    sums["right"] = sums["ranks"] - sums["n_positive"] * (sums["n_positive"] + 1) / 2
    sums["pairs"] = sums["n_positive"] * (sums["n"] - sums["n_positive"])
    totals = sums.groupby("part")[["right", "pairs"]].sum()
    return (totals["right"] / totals["pairs"]).to_dict()
