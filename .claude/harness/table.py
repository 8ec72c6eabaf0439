"""The table: read as prepare.py says, checked, and split into features and target.

All problems of a table are told at once, each with its cure: a line for prepare.py, or
what to mend in the file. To find the problems behind the first one, the checks go on as
if its cure had been followed. By itself the loader changes two things, which the check
notes: dates become days, and rows without a target are left out.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass, replace
from itertools import product
from keyword import iskeyword
from pathlib import Path
from tokenize import TokenError

from harness.errors import Refused, one_line

# ---------------------------------------------------------------- constants
# What can be wrong with a file as a whole. By option of READ: the values that may cure
# it, tried in this order, and what is wrong. Blanks are the last separator, since names
# may contain them.
CURES = {
    "sep": ((",", ";", "\t", "|", r"\s+"), "has {!r} between its fields"),
    "skiprows": ((1, 2, 3), "has lines above its header"),
    "encoding": (("utf-8", "utf-16", "cp1252"), "is in another encoding, perhaps {!r}"),
    "index_col": ((0,), "has rows longer than its header, taken to begin with names"),
    "on_bad_lines": (("skip",), "has lines that are too long, left out here{reason}"),
    "skipinitialspace": ((True,), "has spaces around its names"),
}
# How numbers are written: what groups their thousands, what begins their decimals.
STYLES = ((None, "."), (",", "."), (None, ","), (".", ","))
# How a missing value is often written, besides what pandas knows.
MISSING = ("", "?", "-", "--", ".", "*", "na", "n.a.", "missing", "unknown", "none")
# A column holds numbers if, apart from these, at most so many of its distinct values
# are words, and at most a tenth of them.
FEW = 3
# A target with more distinct values is a quantity; longer lists are cut.
MANY = 20
# What pandas raises for a wrong READ or file, or for a wrong POSITIVE.
ERRORS = (ValueError, TypeError, LookupError, AttributeError, OSError, ImportError)
ERRORS += (SyntaxError, NameError, TokenError, ArithmeticError, NotImplementedError)
ERRORS += (Warning,)


@dataclass(frozen=True)
class Table:
    """What the constants of prepare.py say about the table."""

    path: Path
    # More arguments of pandas.read_csv.
    read: dict
    target: str
    positive: str
    # Rows that each class must have.
    least: int


@dataclass
class Rows:
    """The rows of a table that have a target; n_rows of them."""

    # The features: missing values are NaN, dates are days since 1970.
    X: "pd.DataFrame"  # noqa: F821
    target: "pd.Series"  # noqa: F821
    # The class, 0 or 1: (n_rows,).
    y: "np.ndarray"  # noqa: F821
    # The columns of X that are dates.
    dates: list[str]
    # How many rows more the table has, without a target.
    n_left_out: int


class Unusable(Refused):
    """What is wrong with a table, and the table as it would be with the cures."""

    def __init__(self, table):
        """Nothing is wrong yet."""
        self.table, self.problems, self.options, self.positive = table, [], {}, ""
        # The rows as they would be with the cures, if there are enough of each class.
        self.rows = None

    def add(self, what):
        """Add a problem, with its cure unless that is a line of prepare.py."""
        self.problems.append(f"{self.table.path.name} {what}")

    def add_read(self, what, options):
        """Add a problem that more options of READ cure, and suppose that they do."""
        self.add(what)
        self.options |= options
        self.table = replace(self.table, read=self.table.read | options)

    @property
    def lines(self) -> list[str]:
        """The lines of prepare.py that cure the problems."""
        lines = [f"READ |= {self.options}"] if self.options else []
        return lines + ([f"POSITIVE = {self.positive!r}"] if self.positive else [])

    def __str__(self):
        """All on one line."""
        lines = " and ".join(self.lines)
        cure = f": in prepare.py put, below POSITIVE, {lines}" if lines else ""
        return "; ".join(self.problems) + cure


def listed(values) -> str:
    """The first of these values, for a sentence."""
    names = ", ".join(map(repr, values[:MANY]))
    return one_line(names + ", …" * (len(values) > MANY), 400)


# ------------------------------------------------------------------- the table
def load(table: Table) -> Rows:
    """The rows that have a target; Unusable with all problems that can be known."""
    import pandas as pd

    check_file(table)
    faults = Unusable(table)
    with warnings.catch_warnings():
        # Rows that are longer than the header are a mere warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = read(faults)
        check_columns(faults, frame)
        frame = check_numbers(faults, frame)
    dates = [*frame.select_dtypes(["datetime", "datetimetz"])]
    for name in dates:
        since = pd.to_datetime(frame[name], utc=True) - pd.Timestamp(0, tz="UTC")
        frame[name] = since / pd.Timedelta(days=1)
    X, target = take_target(faults, frame)
    taken = take_positive(faults, target)
    y, n_left_out = taken.to_numpy(dtype=int), len(frame) - len(X)
    rows = Rows(X, target, y, dates, n_left_out)
    if faults.problems:
        faults.rows = rows if smaller(taken) >= table.least else None
        raise faults
    return rows


def sha256_of(table: Table) -> str:
    """The SHA-256 of the file; raises Refused where there is none."""
    check_file(table)
    with table.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(table):
    """Raise Refused where there is no file."""
    if not table.path.is_file():
        what = "a folder" if table.path.is_dir() else "missing"
        cure = "put its path into DATA, or git restore data/heart.csv"
        raise Refused(f"{table.path} is {what}: {cure}")


# -------------------------------------------------------------------- reading
def read(faults):
    """The frame of the file, by the first cures that make the target a column.

    Where none do, the target has another name: by the first that make several columns.
    """
    table, reason = faults.table, ""
    choices = product(*((None, *values) for values, _ in CURES.values()))
    for is_named, choice in product((True, False), choices):
        options = {k: v for k, v in zip(CURES, choice, strict=True) if v is not None}
        names = []
        try:
            names = parse(table, nrows=1, **options).columns.tolist()
            if table.target in names or (not is_named and is_header(names, options)):
                frame = parse(table, **options)
                for key, value in options.items():
                    what = CURES[key][1].format(value, reason=reason)
                    faults.add_read(what, {key: value})
                return frame
        except ERRORS as error:
            if not reason or table.target in names:
                reason = f" ({type(error).__name__}: {one_line(str(error))})"
    what = f"has no column TARGET = {table.target!r} by READ = {table.read}{reason}"
    faults.add(f"{what}: mend these, or save it as CSV in UTF-8 with a header line")
    raise faults


def is_header(names, options):
    """Whether these may be names of columns, though the target is not among them."""
    # Any line could be the header that is looked for below the first.
    return len(names) > 1 and "".join(names).isprintable() and "skiprows" not in options


def parse(table, **options):
    """The frame that pandas.read_csv makes of the file; raises ERRORS."""
    import pandas as pd

    # No column becomes an index unasked, and no type is guessed piece by piece.
    options = {"index_col": False, **table.read, **options}
    if "engine" not in options:
        options["low_memory"] = False
    with table.path.open("rb") as file:
        if "usecols" in options:
            # With it, pandas does not look whether the header fits the rows.
            pd.read_csv(file, **options | {"usecols": None, "nrows": 1000})
            file.seek(0)
        frame = pd.read_csv(file, **options)
    frame.columns = frame.columns.map(str)
    return frame.reset_index(drop=True)


def check_columns(faults, frame):
    """Find columns, names and rows that are not there."""
    target, names = faults.table.target, frame.columns.tolist()
    if target not in names:
        faults.add(f"has no column TARGET = {target!r}: put one of {listed(names)}")
    if names[0] == "Unnamed: 0":
        what = "has a first column without a name, taken to be names of rows"
        faults.add_read(f"{what} (if it is a feature, name it)", {"index_col": 0})
        del frame[names[0]]
    if [*frame] == [target]:
        faults.add("has no column but its target: add features")
    if len(frame) == 0:
        faults.add("has no rows below its header: add rows")
        raise faults


# ------------------------------------------------------------------- numbers
def number_pattern(thousands, decimal):
    """A regular expression of the numbers in this style."""
    whole = r"\d+"
    if thousands:
        whole += rf"|[1-9]\d{{0,2}}({re.escape(thousands)}\d{{3}})+"
    return rf"[-+]?(?=\D?\d)({whole})?({re.escape(decimal)}\d*)?([eE][-+]?\d+)?"


ANY_NUMBER = "|".join(number_pattern(*style) for style in STYLES)


def check_numbers(faults, frame):
    """The frame, after looking for numbers that are text, or are infinite."""
    import numpy as np

    read = faults.table.read
    if not isinstance(read.get("dtype", {}), dict):
        return frame
    numbers = frame.select_dtypes("number")
    rest = set(frame) - {*numbers, *read.get("dtype", ()), *read.get("converters", ())}
    words = {name: words_among_numbers(frame[name]) for name in sorted(rest)}
    words = {name: found for name, found in words.items() if found is not None}
    texts = None
    if words or "thousands" in read:
        texts = parse(faults.table, dtype=str, converters=None)
        check_style(faults, texts[[*numbers, *words]])
    features = numbers.drop(columns=faults.table.target, errors="ignore")
    for name in features.columns[np.isinf(features.astype(float)).any()]:
        words[name] = ["inf", "-inf"]
    words = {name: found for name, found in words.items() if found}
    values = sorted({value for found in words.values() for value in found})
    what = f"has {listed(values)} among the numbers of {listed([*words])}"
    if values and "na_values" in read:
        faults.add(f"{what}: if that means missing, add it to READ's na_values")
    elif values:
        also = "taken to mean missing (if that is text, put it into READ's dtype)"
        faults.add_read(f"{what}, {also}", {"na_values": values})
    frame = frame if faults.table.read == read else parse(faults.table)
    return frame if texts is None else keep_texts(faults, frame, texts)


def keep_texts(faults, frame, texts):
    """The frame, with texts that only `thousands` makes numbers, such as 25.10.2021.

    texts: all columns as they are in the file.
    """
    read = faults.table.read
    mark, decimal = read.get("thousands"), read.get("decimal", ".")
    if not mark or (mark, decimal) not in STYLES:
        return frame
    odd = {}
    for name in frame.select_dtypes("number"):
        read_as_number = texts[name][frame[name].notna()]
        has_mark = read_as_number.str.contains(mark, regex=False, na=False)
        marked = read_as_number[has_mark]
        others = marked[~marked.str.strip().str.fullmatch(ANY_NUMBER)]
        if len(others):
            odd[name] = others.iloc[0]
    if not odd:
        return frame
    what = f"has {listed([*odd.values()])} in {listed([*odd])}, which is no number"
    also = "(if it is a date, a note says how to read it)"
    dtype = read.get("dtype", {}) | dict.fromkeys(odd, "str")
    faults.add_read(f"{what} {also}", {"dtype": dtype})
    return parse(faults.table)


def words_among_numbers(column):
    """The values that are no numbers, of a column of numbers; None if it is of text."""
    import pandas as pd

    values = [value for value in column.dropna().unique() if isinstance(value, str)]
    texts = pd.Series(values, index=values, dtype=str).str.strip()
    words = texts[~texts.str.fullmatch(ANY_NUMBER)]
    n_unknown = (~words.str.casefold().isin(MISSING)).sum()
    is_number = len(words) < len(texts) and n_unknown <= min(FEW, len(texts) / 10)
    return words.index.tolist() if is_number else None


def check_style(faults, texts):
    """Find numbers in another style than READ's, from the texts of all numbers."""
    import pandas as pd

    read = faults.table.read
    texts = pd.concat(dict(texts.items())).dropna().str.strip()
    numbers = texts[texts.str.fullmatch(ANY_NUMBER)]
    fits = [s for s in STYLES if numbers.str.fullmatch(number_pattern(*s)).all()]
    now = read.get("thousands"), read.get("decimal", ".")
    if now in fits or now not in STYLES:
        return
    odd = numbers[~numbers.str.fullmatch(number_pattern(*now))]
    what = f"has numbers like {odd.iloc[0]} in {odd.index[0][0]!r}"
    if not fits:
        cure = "write them all like 1234.5 in the file"
        faults.add(f"{what}, and others in another style: {cure}")
    else:
        if fits[0] == (",", ".") and len(fits) > 1:
            what += " (if the comma begins decimals, put {'decimal': ','} instead)"
        faults.add_read(what, dict(zip(("thousands", "decimal"), fits[0], strict=True)))


# ------------------------------------------------------------- target and classes
def take_target(faults, frame):
    """The features and the target of the rows that have a target."""
    import numpy as np
    import pandas as pd

    name = faults.table.target
    if name not in frame:
        raise faults
    # Of plain types, whatever READ made of it: numbers, truth values or texts, whose
    # outer spaces say nothing.
    values = [v.strip() if isinstance(v, str) else v for v in frame[name].tolist()]
    target = pd.Series(values, name=name)
    is_gap = target.isna() | target.isin([np.inf, -np.inf, "", "?"])
    if is_gap.all() or set(name) & set("`\t\n\r"):
        cure = "give it values, and a name without a backtick, tab or new line"
        faults.add(f"has a target that can't be used, {name!r}: {cure}")
        raise faults
    X = frame.drop(columns=name)[~is_gap].reset_index(drop=True)
    return X, pd.Series(target[~is_gap].tolist(), name=name)


def take_positive(faults, target):
    """Whether each row is of the positive class, bool (n_rows,)."""
    table, better = faults.table, suggestion(target)
    suggested, _ = rows_of(better, target)
    taken, why = rows_of(table.positive, target)
    if not why and smaller(taken) < min(table.least, smaller(suggested)):
        why = f"takes {taken.sum()} of {len(taken)} rows"
    if why:
        what = f"needs another POSITIVE: {table.positive!r} {why}"
        faults.add(f"{what}; the target's values are {counted(target)}")
        faults.positive, taken = better, suggested
    if (n := smaller(taken)) < table.least:
        what = f"has {n} rows of one class, which needs {table.least} (2 x N_SPLITS)"
        # With fewer, the test part might have none.
        faults.add(f"{what}: {f'put N_SPLITS = {n // 2}' if n >= 5 else 'add rows'}")
    return taken


def smaller(taken):
    """The number of rows of the smaller class."""
    return int(min(taken.sum(), (~taken).sum()))


def rows_of(positive, target):
    """(rows for which the expression holds, ""), or (None, why it can't be used)."""
    import pandas as pd

    try:
        # Of the target alone: another column would be a feature that knows the class.
        taken = target.to_frame().eval(positive)
    except ERRORS as error:
        return None, f"does not work on {target.name!r} ({one_line(str(error))})"
    if not isinstance(taken, pd.Series) or taken.dtype != bool:
        return None, "is not true or false in each row"
    return taken, ""


def suggestion(target):
    """A POSITIVE: the upper half, or of the two most frequent values the rarer one."""
    name = target.name
    if not name.isidentifier() or iskeyword(name):
        name = f"`{name}`"
    if is_quantity(target):
        middle = target.median()
        return f"{name} {'>' if middle < target.max() else '>='} {middle:.6g}"
    two = target.value_counts()[:2]
    return f"{name} == {max(two.index[two == two.min()].tolist())!r}"


def is_quantity(target):
    """Whether it is a number of many values, rather than classes."""
    return target.dtype.kind in "iuf" and target.nunique() > MANY


def counted(target, taken=None) -> str:
    """The values of the target with their numbers of rows, a * before those taken."""
    taken = target.isna() if taken is None else taken
    if is_quantity(target):
        groups = [("*" * bool(c), values) for c, values in target.groupby(taken)]
        spans = [f"{s}{v.min():g} to {v.max():g} ({len(v)})" for s, v in groups]
        return ", ".join(spans)
    positive, counts = set(target[taken]), target.value_counts()
    values = [
        f"{'*' * (value in positive)}{one_line(repr(value), 40)} ({n})"
        for value, n in counts[:MANY].sort_index().to_dict().items()
    ]
    return ", ".join(values) + f" and {len(counts) - MANY} more" * (len(counts) > MANY)
