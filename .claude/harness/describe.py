"""What the train part looks like: a screen that whoever proposes an idea may see.

From the train part alone: no row of the test part, and no figure made from one. Where a
group of rows is small, its positive rate is left out: it would tell labels.
"""

import textwrap
from itertools import combinations

from harness.errors import one_line

# ---------------------------------------------------------------- constants
# The lines of a description, and the characters of a line.
LINES = 60
WIDTH = 120  # characters
# A longer name is cut, and so is a longer level or example, at the end of a word.
NAME_WIDTH, ITEM_WIDTH = 60, 100  # characters
# The positive rate of fewer rows is not shown.
LEAST_ROWS = 10
# A number with no more distinct values may be a code: it is shown by its levels. Pairs
# are made of columns with no more levels.
FEW = 10
# If a column has more levels, only those with a positive rate are shown; if more levels
# of a text have none, this many of their words and examples are shown.
MANY, EXAMPLES = 20, 10
# The baseline, train.py, makes one column of all levels with a smaller share of rows.
RARE = 0.02
# A column whose AUC is so far from 0.5 leaves nothing to learn.
LEAK = 0.49
# As pandas.to_datetime has them.
DATE_FORMATS = (
    *("ISO8601", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y"),
    *("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
    *("%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
)
KEY = """\
auc: of the column alone, a number by its value, a text by how often its value is
positive in the other folds; 0.5 tells nothing, below 0.5 lower values are positive
values: levels (rows, positive), or minimum, quartiles, maximum; then words, examples
"""


def describe(X, y, folds, dates=()):
    """What rows of X with classes y, 0/1 (n_rows,), look like: a text of lines.

    folds: pairs (fit rows, held-out rows). Rows that no fold holds out are not used.
    dates: the columns that are days since 1970.
    """
    import numpy as np

    aucs = {name: auc_alone(X[name], y, folds) for name in X}
    train = np.concatenate([held for _, held in folds])
    X, y = X.iloc[train].reset_index(drop=True), y[train]
    strongest = sorted(X, key=lambda name: -abs(aucs[name] - 0.5))
    size = f"{len(y)} rows, {y.sum()} of them positive, {X.shape[1]} features"
    head = [f"train part: {size}", *KEY.splitlines()]
    head.append(start_of("column", "type", "missing", "distinct", "auc") + "values")
    found = notes(X, y, dates).items()
    tail = [line for what, n in found for line in wrapped(n, f"note {what}: ", 3)]
    pairs = pair_lines(X, y, strongest)
    if len(head) + len(X.columns) + len(tail) + len(pairs) <= LINES:
        tail += pairs
    n_lines = LINES - len(head) - len(tail)
    return "\n".join(head + column_lines(X, y, aucs, strongest, dates, n_lines) + tail)


def column_lines(X, y, aucs, strongest, dates, n_lines):
    """Lines on the columns in their order: one each, then more for the strongest."""
    rest = strongest[n_lines - 1 :] if len(strongest) > n_lines else []
    n_more = max(0, n_lines - len(strongest))
    blocks = {}
    for name in strongest[: len(strongest) - len(rest)]:
        kind = "date" if name in dates else str(X[name].dtype)
        cells = kind, X[name].isna().sum(), X[name].nunique(), f"{aucs[name]:.3f}"
        items = facts(X[name], y, name in dates)
        blocks[name] = wrapped(items, start_of(name, *cells), 1 + n_more)
        n_more -= len(blocks[name]) - 1
    lines = [line for name in X if name in blocks for line in blocks[name]]
    if rest:
        low, high = min(aucs[n] for n in rest), max(aucs[n] for n in rest)
        lines.append(f"and {len(rest)} more, auc {low:.3f} to {high:.3f}")
    return lines


def start_of(name, kind, missing, distinct, auc):
    """The start of a column's line."""
    name, numbers = one_line(name, NAME_WIDTH), f"{missing:>7} {distinct:>8} {auc:>5}"
    return f"{name:20} {kind:8.8} {numbers}  "


def wrapped(items, start, n_lines):
    """At most so many lines of the items, with commas; each item stays whole."""
    # A line ends between items only.
    text = ", ".join(cut(item).replace(" ", "\u00a0") for item in items)
    options = {"break_long_words": False, "break_on_hyphens": False}
    options |= {"max_lines": n_lines, "placeholder": " …", "subsequent_indent": "    "}
    lines = textwrap.wrap(text, WIDTH, initial_indent=start, **options)
    return [line.replace("\u00a0", " ") for line in lines or [start.rstrip()]]


def cut(item):
    """The item, at the end of a word if it is too long."""
    long = len(item) > ITEM_WIDTH
    return textwrap.shorten(item, ITEM_WIDTH, placeholder=" …") if long else item


# ------------------------------------------------------------------ of a column
def facts(column, y, is_date):
    """What there is to say of a column's values, item by item."""
    is_missing = column.isna().to_numpy()
    items = []
    if is_missing.sum() >= LEAST_ROWS:
        present = rate(y[~is_missing])
        items = [f"missing: {rate(y[is_missing])} positive, present: {present}"]
    if is_number(column) and (is_date or column.nunique() > FEW):
        return items + quartiles(column, is_date)
    items += levels(column, y, LEAST_ROWS if column.nunique() > MANY else 1)
    rare = column[column.map(column.value_counts()) < LEAST_ROWS]
    if is_text(column) and rare.nunique() > MANY:
        items += frequent_words(rare)
        first, *others = map(repr, rare.unique()[:EXAMPLES])
        items += [f"examples: {first}", *others]
    return items


def frequent_words(texts):
    """The most frequent words of texts, with how often they occur."""
    words = texts.str.lower().str.findall(r"[^\W\d_]{2,}").explode().value_counts()
    items = [f"{word} {n}x" for word, n in words[:EXAMPLES].items()]
    return [f"words: {items[0]}", *items[1:]] if items else []


def quartiles(column, is_date):
    """Minimum, quartiles and maximum, and how many values are zero."""
    import pandas as pd

    values = column.quantile([0, 0.25, 0.5, 0.75, 1])
    if is_date:
        return [str(day.date()) for day in pd.to_datetime(values, unit="D")]
    zeros = [f"0 in {n} rows"] if (n := (column == 0).sum()) else []
    return [f"{value:.4g}" for value in values] + zeros


def levels(groups, y, least):
    """The levels of a column, or of pairs, with their rows and positive rates.

    Those with at least so many rows.
    """
    import pandas as pd

    rates = pd.Series(y).groupby(groups, observed=True).agg(["size", "mean"])
    shown = rates[rates["size"] >= least].nlargest(MANY, "size")
    # Numbers in their order, so that a trend shows; texts by how frequent they are.
    if pd.api.types.is_numeric_dtype(shown.index):
        shown = shown.sort_index()
    items = []
    for level, n, mean in shown.itertuples():
        values = level if isinstance(level, tuple) else (level,)
        name = " & ".join(map(value_of, values))
        items.append(f"{name} ({n}{f', {mean:.0%}' if n >= LEAST_ROWS else ''})")
    n_more = len(rates) - len(shown)
    rest = f"and {n_more} rarer" if items else f"{n_more} rare values"
    return items + [rest] * (n_more > 0)


def value_of(level):
    """A level as train.py has to write it."""
    if isinstance(level, str):
        return repr(level)
    return str(level).removesuffix(".0")


def rate(y):
    """The share of rows that is positive."""
    return f"{y.mean():.0%}" if len(y) >= LEAST_ROWS else "?"


def is_number(column):
    """Whether it is a column of numbers."""
    return column.dtype.kind in "iuf"


def is_text(column):
    """Whether all its values are texts."""
    import pandas as pd

    return pd.api.types.infer_dtype(column, skipna=True) == "string"


def auc_alone(column, y, folds):
    """The mean over the folds of the AUC of the column as a score."""
    from sklearn.metrics import roc_auc_score

    aucs = [
        roc_auc_score(y[held], scores_of(column, y, fit, held)) for fit, held in folds
    ]
    return sum(aucs) / len(aucs)


def leaks(X, y, folds) -> list[str]:
    """The columns that tell the classes by their values, as codes or by their gaps."""
    found = []
    for name, column in X.items():
        columns = [column, column.isna()]
        if is_number(column) and column.nunique() <= MANY:
            columns.append(column.astype(str))
        if any(abs(auc_alone(c, y, folds) - 0.5) >= LEAK for c in columns):
            found.append(name)
    return found


def scores_of(column, y, fit, held):
    """A score of each held-out row by this column alone, (n_held,)."""
    import pandas as pd

    if is_number(column):
        middle = column.iloc[fit].median()
        return column.iloc[held].fillna(0 if pd.isna(middle) else middle)
    texts, overall = column.astype(str), y[fit].mean()
    rates = pd.Series(y[fit]).groupby(texts.iloc[fit].to_numpy()).mean()
    return texts.iloc[held].map(rates).fillna(overall)


# --------------------------------------------------------------- of the table
def pair_lines(X, y, strongest):
    """The positive rate over pairs of the three strongest columns of few levels."""
    low = []
    for name in (n for n in strongest if 1 < X[n].nunique() <= FEW):
        if not any(are_same(X[name], X[other]) for other in low):
            low.append(name)
    lines = []
    for a, b in combinations(low[:3], 2):
        items = levels([X[a], X[b]], y, LEAST_ROWS)
        lines += wrapped(items, f"{a} & {b}: ", 3)
    return lines


def are_same(a, b):
    """Whether two columns have the same levels, perhaps under other names."""
    n_pairs = len(set(zip(a.astype(str), b.astype(str), strict=True)))
    return n_pairs == a.nunique(dropna=False) == b.nunique(dropna=False)


def notes(X, y, dates) -> dict[str, list[str]]:
    """Notes on columns of a kind and on equal rows: {what: names or numbers}.

    dates: as describe() has them.
    """
    import pandas as pd

    integers, formats = X.select_dtypes("integer"), date_formats(X)
    columns = {
        "dates, in X the number of days since 1970-01-01": dates,
        "text that is dates": formats,
        "text of rare values": rare_texts(X.drop(columns=[*formats])),
        "the same in all rows": [n for n in X if X[n].nunique(dropna=False) == 1],
        "a number of its own in each row": [n for n in integers if X[n].is_unique],
    }
    found = {what: [repr(name) for name in names] for what, names in columns.items()}
    rows = pd.Series(y).groupby(pd.util.hash_pandas_object(X, index=False).to_numpy())
    if n_equal := (rows.transform("size") > 1).sum():
        n_mixed = (rows.transform("nunique") > 1).sum()
        n_each = [f"{n_equal}", f"{n_mixed} of them with both classes"]
        found["rows with the same features as another"] = n_each
    return {what: items for what, items in found.items() if items}


def rare_texts(X) -> list[str]:
    """The columns of texts that are mostly rare, so that the baseline loses them."""
    texts = [name for name in X if is_text(X[name])]
    shares = {name: X[name].map(X[name].value_counts(normalize=True)) for name in texts}
    return [name for name in texts if (shares[name].dropna() < RARE).mean() > 0.5]


def date_formats(X) -> dict[str, str]:
    """The columns of texts that are all dates, with the format as pandas has it."""
    formats = {name: date_format(X[name]) for name in X if is_text(X[name])}
    return {name: found for name, found in formats.items() if found}


def date_format(column):
    """The format of a column of texts if they are all dates, or None."""
    import pandas as pd

    texts = pd.Series(column.dropna().unique())
    for name in DATE_FORMATS:
        options = {"format": name, "errors": "coerce", "utc": True}
        # The first values are enough to say no to most formats.
        if all(pd.to_datetime(t, **options).notna().all() for t in (texts[:9], texts)):
            return name
    return None
