"""What the train part looks like: a screen that whoever proposes an idea may see.

From the train part alone: no row of the test part, and no figure made from one.
"""

from harness.errors import one_line

# ---------------------------------------------------------------- constants
# The lines of a description, and the characters of a line.
LINES = 60
WIDTH = 120  # characters
# A longer name or value is cut.
NAME_WIDTH, VALUE_WIDTH = 24, 20  # characters
# A number with no more distinct values may be a code: it is shown by its values.
FEW = 6
HEADER = ("column", "type", "missing", "distinct", "auc")
QUANTILES = "min, quartiles, max; or the most frequent values (rows)"
KEY = """\
auc: of the column alone, a number by its value, a text by how often its value is
positive in the other folds; 0.5 tells nothing, below 0.5 less is more often positive
"""


def describe(X, y, folds):
    """What rows of X with classes y, 0/1 (n_rows,), look like: a text of lines.

    folds: pairs (fit rows, held-out rows). Rows that no fold holds out are not used.
    """
    import numpy as np

    aucs = {name: auc_alone(X[name], y, folds) for name in X}
    train = np.concatenate([held for _, held in folds])
    X, y = X.iloc[train], y[train]
    n_missing, n_gaps = int(X.isna().sum().sum()), int(X.isna().any().sum())
    lines = [
        f"train part: {len(y)} rows, {y.sum()} of them positive, {X.shape[1]} features",
        f"missing: {n_missing} values, in {n_gaps} features",
        *KEY.splitlines(),
        row_of(*HEADER, QUANTILES),
    ]
    names = sorted(X, key=lambda name: -abs(aucs[name] - 0.5))
    shown, rest = names[: LINES - len(lines) - 1], names[LINES - len(lines) - 1 :]
    lines += [row_of(*facts(name, X[name], aucs[name])) for name in shown]
    if rest:
        low, high = min(aucs[n] for n in rest), max(aucs[n] for n in rest)
        lines.append(f"and {len(rest)} more, auc {low:.3f} to {high:.3f}")
    return "\n".join(lines)


def facts(name, column, auc):
    """The cells of a column's line."""
    many = by_value(column) and column.nunique() > FEW
    shown = numbers(column) if many else frequent(column)
    kind, missing = one_line(str(column.dtype), 8), int(column.isna().sum())
    return name, kind, missing, column.nunique(), f"{auc:.3f}", shown


def row_of(name, kind, missing, distinct, auc, shown):
    """A line of the table."""
    name = one_line(name, NAME_WIDTH)
    start = f"{name:{NAME_WIDTH}} {kind:8} {missing:>7} {distinct:>8} {auc:>6}"
    return f"{start}  {one_line(shown, WIDTH - len(start) - 2)}"


def by_value(column):
    """Whether it is a column of numbers."""
    return column.dtype.kind in "iuf"


def numbers(column):
    """Minimum, quartiles and maximum."""
    return ", ".join(f"{q:.4g}" for q in column.quantile([0, 0.25, 0.5, 0.75, 1]))


def frequent(column):
    """The most frequent values with their counts."""
    counts = column.value_counts()[:FEW]
    values = [f"{v:g}" if by_value(column) else str(v) for v in counts.index]
    pairs = zip(values, counts, strict=True)
    return ", ".join(f"{one_line(value, VALUE_WIDTH)} ({n})" for value, n in pairs)


def auc_alone(column, y, folds):
    """The mean over the folds of the AUC of the column as a score."""
    from sklearn.metrics import roc_auc_score

    aucs = [
        roc_auc_score(y[held], scores_of(column, y, fit, held)) for fit, held in folds
    ]
    return sum(aucs) / len(aucs)


def scores_of(column, y, fit, held):
    """A score of each held-out row by this column alone, (n_held,)."""
    import pandas as pd

    if by_value(column):
        middle = column.iloc[fit].median()
        return column.iloc[held].fillna(0 if pd.isna(middle) else middle)
    texts, overall = column.astype(str), y[fit].mean()
    rates = pd.Series(y[fit]).groupby(texts.iloc[fit].to_numpy()).mean()
    return texts.iloc[held].map(rates).fillna(overall)
