"""The table: read as prepare.py says, checked, and split into features and target.

All problems of a table are reported at once, each with its cure: the constant of
prepare.py to set, or what to mend in the file. To find the problems behind the first
one, the checks go on as if its cure had been followed. Nothing is mended, dropped or
guessed without a word.
"""

import hashlib
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from keyword import iskeyword
from pathlib import Path
from tokenize import TokenError

from harness.errors import Refused, one_line

# ---------------------------------------------------------------- constants
# What can be wrong with a file as a whole. By option of READ: the values that may cure
# it, tried in this order, and the words before the cure. Blanks are the last separator,
# since names may contain them.
CURES = {
    "sep": ((",", ";", "\t", "|", ":", r"\s+"), "has {!r} between its fields"),
    "skiprows": ((1, 2, 3), "has lines above its header"),
    "encoding": (
        ("utf-8", "utf-16", "cp1252", "latin-1"),
        "is in another encoding than READ's (UTF-8 if it names none), probably this",
    ),
    "index_col": (
        (0,),
        "has rows longer than its header; name all columns there, or, if the first is "
        "row names",
    ),
    "on_bad_lines": (
        ("skip",),
        "has lines that are too long ({error}); mend them, or, to leave them out",
    ),
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
# POSITIVE as it is shipped: nobody chose it for a quantity.
HEART_POSITIVE = "num > 0"
# What pandas raises for a wrong READ or file, and DataFrame.eval for a wrong POSITIVE.
READ_ERRORS = (ValueError, TypeError, LookupError, AttributeError, OSError, ImportError)
READ_ERRORS += (Warning,)
EVAL_ERRORS = (SyntaxError, NameError, TypeError, ValueError, LookupError, TokenError)
EVAL_ERRORS += (AttributeError, ArithmeticError, NotImplementedError)


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


class Problems:
    """The problems found so far, and the table as it would be with their cures."""

    def __init__(self, table):
        """No problem yet."""
        self.table, self.found = table, []

    def add(self, what, cure):
        """Add a problem and its cure."""
        self.found.append(f"{what}: {cure}")

    def add_read(self, what, options, before="", after=""):
        """Add a problem that more options of READ cure, and suppose that they do."""
        self.add(what, f"{before}{self.read_line(options)}{after}")
        self.table = replace(self.table, read=self.table.read | options)

    def read_line(self, options):
        """The line of prepare.py that gives READ these options too."""
        start = "add the line READ |=" if self.table.read else "put READ ="
        return f"{start} {options}"

    def refuse(self):
        """Raise Refused with all problems on one line."""
        raise Refused(f"{self.table.path.name} {'; also, it '.join(self.found)}")


def listed(values):
    """The first of these values, for a sentence."""
    names = ", ".join(map(repr, values[:MANY]))
    return one_line(names + ", …" * (len(values) > MANY), 400)


# ------------------------------------------------------------------- the table
def load(table: Table):
    """X (a frame of all rows), their target, and y, 0/1 (n_rows,).

    Missing values are NaN in X, and there are none in the target. Raises Refused with
    all problems that can be known at once.
    """
    import pandas as pd

    check_file(table)
    problems = Problems(table)
    with warnings.catch_warnings():
        # Rows that are longer than the header are a mere warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = read(problems)
        check_columns(problems, frame)
        frame = check_numbers(problems, frame)
        X, target = take_target(problems, frame)
    taken = take_positive(problems, target)
    check_twins(problems, X, target, taken)
    if problems.found:
        problems.refuse()
    return X, target, taken.to_numpy(dtype=int)


def sha256_of(table: Table) -> str:
    """The SHA-256 of the file; raises Refused where there is none."""
    check_file(table)
    with table.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_file(table):
    """Raise Refused where there is no file."""
    if not table.path.is_file():
        what = "a folder" if table.path.is_dir() else "missing"
        cure = "put the path of your table into DATA"
        if table.path.name == "heart.csv":
            cure = "git restore data/heart.csv"
        raise Refused(f"{table.path} is {what}: {cure}")


# -------------------------------------------------------------------- reading
def read(problems):
    """The frame of the file, by the first cures that make the target a column.

    Where none do, the target has another name: by the first that make several columns.
    """
    table, first, last = problems.table, "", ""
    choices = product(*((None, *values) for values, _ in CURES.values()))
    for is_named, choice in product((True, False), choices):
        options = {k: v for k, v in zip(CURES, choice, strict=True) if v is not None}
        try:
            names = parse(table, nrows=1, **options).columns.tolist()
            if table.target in names or (not is_named and is_header(names, options)):
                frame = parse(table, **options)
                # The last error says which line is too long.
                for key, value in options.items():
                    words = CURES[key][1].format(value, error=last)
                    problems.add_read(words, {key: value})
                return frame
        except READ_ERRORS as error:
            last = one_line(f"{type(error).__name__}: {error}")
            first = first if options else f" ({last})"
    what = f"has no column TARGET = {table.target!r} by READ = {table.read}{first}"
    problems.add(what, "mend these, or save it as CSV in UTF-8 with a header line")
    problems.refuse()


def is_header(names, options):
    """Whether these may be names of columns, though the target is not among them."""
    # Any line could be the header that is looked for below the first.
    return len(names) > 1 and "".join(names).isprintable() and "skiprows" not in options


def parse(table, **options):
    """The frame that pandas.read_csv makes of the file; raises READ_ERRORS."""
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


def check_columns(problems, frame):
    """Find columns, names and rows that are not there."""
    target, names = problems.table.target, frame.columns.tolist()
    if target not in names:
        cure = f"put one of {listed(names)} there"
        problems.add(f"has no column TARGET = {target!r}", cure)
    if names[0] == "Unnamed: 0":
        before, after = "if it numbers or names the rows, ", "; if not, name it"
        what = "has a first column without a name"
        problems.add_read(what, {"index_col": 0}, before, after)
        del frame[names[0]]
    if [*frame] == [target]:
        problems.add("has no column but its target", "add features")
    if len(frame) == 0:
        problems.add("has no rows below its header", "add rows")
        problems.refuse()


# ------------------------------------------------------------------- numbers
def number_pattern(thousands, decimal):
    """A regular expression of the numbers in this style."""
    whole = r"\d+"
    if thousands:
        whole += rf"|[1-9]\d{{0,2}}({re.escape(thousands)}\d{{3}})+"
    return rf"[-+]?(?=\D?\d)({whole})?({re.escape(decimal)}\d*)?([eE][-+]?\d+)?"


ANY_NUMBER = "|".join(number_pattern(*style) for style in STYLES)


def check_numbers(problems, frame):
    """The frame, after looking for numbers that are text, or are infinite."""
    import numpy as np

    read, target = problems.table.read, problems.table.target
    dtypes, marks = read.get("dtype", {}), {}
    if isinstance(dtypes, dict):
        told = {*dtypes, *read.get("converters", ())}
        for name in frame.select_dtypes(exclude="number").columns.difference(told):
            words = words_among_numbers(frame[name], name == target)
            if words is not None:
                marks[name] = words
    columns = [*frame.select_dtypes("number"), *marks]
    if marks or ("thousands" in read and columns):
        check_style(problems, columns)
    texts = [name for name in marks if marks[name]]
    features = frame.drop(columns=target, errors="ignore").select_dtypes("float")
    infinite = features.columns[np.isinf(features).any()]
    marks |= {name: ["inf", "-inf"] for name in infinite}
    add_marks(problems, {name: words for name, words in marks.items() if words}, texts)
    return frame if problems.table.read == read else parse(problems.table)


def add_marks(problems, marks, texts):
    """Add the problem of words among numbers, {column: words}, some of them texts."""
    words = sorted({word for found in marks.values() for word in found})
    known = problems.table.read.get("na_values", [])
    known = [known] if isinstance(known, str) else known
    what = f"has {listed(words)} among the numbers of {listed([*marks])}"
    after = f"; if it is text, put {listed(texts)} into READ's dtype" if texts else ""
    if isinstance(known, dict):
        problems.add(what, "if that means missing, put it into READ's na_values")
    elif words:
        options = {"na_values": [*known, *words]}
        problems.add_read(what, options, "if that means missing, ", after)


def words_among_numbers(column, is_target):
    """The values that are no numbers, of a column of numbers; None if it is of text."""
    import pandas as pd

    values = [value for value in column.dropna().unique() if isinstance(value, str)]
    texts = pd.Series(values, index=values, dtype=str).str.strip()
    words = texts[~texts.str.fullmatch(ANY_NUMBER)]
    n_unknown = (~words.str.casefold().isin(MISSING)).sum()
    if len(words) < len(texts) and n_unknown <= min(FEW, len(texts) / 10):
        return words.index.tolist()
    # Among the words of a target, these are no class.
    return words.index[words.isin(("", "?"))].tolist() or None if is_target else None


def check_style(problems, columns):
    """Find numbers in another style than READ's, from the texts of all numbers."""
    import pandas as pd

    read = problems.table.read
    texts = parse(problems.table, dtype=str, converters=None)[columns]
    texts = pd.concat(dict(texts.items())).dropna().str.strip()
    numbers = texts[texts.str.fullmatch(ANY_NUMBER)]
    fits = [s for s in STYLES if numbers.str.fullmatch(number_pattern(*s)).all()]
    now = read.get("thousands"), read.get("decimal", ".")
    if now in fits or now not in STYLES:
        return
    (column, _), text = next(
        numbers[~numbers.str.fullmatch(number_pattern(*now))].items()
    )
    if not fits:
        what = f"has numbers like {text} in {column!r}, and others in another style"
        return problems.add(what, "write them all like 1234.5 in the file")
    pairs = zip(("thousands", "decimal"), fits[0], now, strict=True)
    options = {key: sign for key, sign, old in pairs if sign != old}
    signs = [sign for sign in options.values() if sign]
    examples = [numbers[numbers.str.contains(sign, regex=False)][:1] for sign in signs]
    what = f"has numbers like {' and '.join(dict.fromkeys(pd.concat(examples)))}"
    after = f"; if it is text, put {column!r} into READ's dtype"
    if (",", ".") in fits and (None, ",") in fits:
        after = f"; or, if its comma begins the decimals, {{'decimal': ','}}{after}"
    problems.add_read(what, options, after=after)


# ------------------------------------------------------------- target and classes
def take_target(problems, frame):
    """The features and the target of the rows that have a target."""
    import numpy as np
    import pandas as pd

    table, name = problems.table, problems.table.target
    if set(name) & set("`\t\n\r"):
        problems.add(f"has a target that POSITIVE can't name, {name!r}", "rename it")
        problems.refuse()
    if name not in frame:
        problems.refuse()
    target = frame.pop(name)
    gap = target.isna() | target.isin([np.inf, -np.inf])
    if gap.any():
        rows = (np.flatnonzero(gap) + 1).tolist()
        what = f"has no finite {name!r} in {len(rows)} of {len(gap)} rows"
        cure = f"take them out of the file (the first: row {rows[0]})"
        frame, target = frame[~gap].reset_index(drop=True), target[~gap]
        if len(rows) <= MANY and can_skip(table, rows, target):
            problems.add_read(what, {"skiprows": rows}, f"{cure}, or ")
        else:
            problems.add(what, cure)
        if gap.all():
            problems.refuse()
    # Of plain types, whatever READ made of it: numbers, truth values or texts.
    target = pd.Series(target.tolist(), name=name)
    is_plain = target.dtype.kind in "biufO"
    return frame, target if is_plain else target.astype(str)


def can_skip(table, lines, target):
    """Whether READ leaves just this target if it skips these lines of the file.

    Lines are not rows: blank lines count.
    """
    with suppress(READ_ERRORS):
        rest = parse(table, skiprows=lines)[target.name]
        return "skiprows" not in table.read and rest.tolist() == target.tolist()
    return False


def take_positive(problems, target):
    """Whether each row is of the positive class, bool (n_rows,)."""
    table = problems.table
    better = suggestion(target)
    suggested, _ = rows_of(better, target)
    taken, why = rows_of(table.positive, target)
    if not why and smaller(taken) < min(table.least, smaller(suggested)):
        why = f"takes {taken.sum()} of {len(taken)} rows"
    if why:
        values = f"values of the target: {counted(target)}"
        cure = f"put POSITIVE = {better!r}, or the like ({values})"
        problems.add(f"needs a POSITIVE: {table.positive!r} {why}", cure)
        taken = suggested
    n = smaller(taken)
    if n < table.least:
        what = f"has {n} rows of one class, which needs {table.least} (2 x N_SPLITS)"
        # With fewer, the test part might have none.
        problems.add(what, f"put N_SPLITS = {n // 2}" if n >= 5 else "add rows")
    return taken


def smaller(taken):
    """The number of rows of the smaller class."""
    return int(min(taken.sum(), (~taken).sum()))


def rows_of(positive, target):
    """(rows for which the expression holds, None), or (None, why it can't be used)."""
    import pandas as pd

    try:
        # Of the target alone: another column would be a feature that knows the class.
        taken = target.to_frame().eval(positive)
    except EVAL_ERRORS as error:
        return None, f"does not work on {target.name!r} ({one_line(str(error))})"
    if not isinstance(taken, pd.Series) or taken.dtype != bool:
        return None, "is not true or false in each row"
    if positive == HEART_POSITIVE and is_quantity(target):
        return None, "is for data/heart.csv"
    split = taken.groupby(target.astype(str).str.strip()).nunique() > 1
    if split.any():
        value = split.index[split][0]
        return None, f"takes {value!r} or not by the spaces beside it"
    return taken, None


def suggestion(target):
    """The POSITIVE, of a few simple ones, that balances the classes best.

    Among equals the largest number, or the rarest text, which more often is looked for.
    """
    name = target.name
    if not name.isidentifier() or iskeyword(name):
        name = f"`{name}`"
    if is_quantity(target):
        tests = [f"{name} {sign} {target.median():.6g}" for sign in (">", ">=")]
        # For a quantity that one is refused.
        tests = [test for test in tests if test != HEART_POSITIVE]
    else:
        is_text = target.dtype.kind == "O"
        if is_text and (target.str.strip() != target).any():
            name, target = f"{name}.str.strip()", target.str.strip()
        counts = target.value_counts()[:MANY].sort_index(ascending=False)
        if is_text:
            counts = counts.sort_values(kind="stable")
        tests = [f"{name} == {value!r}" for value in counts.index.tolist()]
    frame = target.to_frame()
    return max(tests, key=lambda test: smaller(frame.eval(test)))


def is_quantity(target):
    """Whether it is a number of many values or with decimals, rather than classes."""
    if target.dtype.kind not in "iuf":
        return False
    return bool(target.nunique() > MANY or (target % 1).any())


def counted(target, taken=None) -> str:
    """The values of the target with their numbers of rows, a * before those taken."""
    if is_quantity(target):
        parts = [("", target)]
        if taken is not None:
            parts = [("", target[~taken]), ("*", target[taken])]
        spans = [f"{star}{x.min():g} to {x.max():g} ({len(x)})" for star, x in parts]
        return ", ".join(spans)
    positive = set() if taken is None else set(target[taken])
    counts = target.value_counts()
    values = [
        f"{'*' * (value in positive)}{one_line(repr(value), 40)} ({n})"
        for value, n in counts[:MANY].sort_index().to_dict().items()
    ]
    more = [f"and {len(counts) - MANY} more"] if len(counts) > MANY else []
    return ", ".join(values + more)


def check_twins(problems, X, target, taken):
    """Find features that tell the class, or the target, by themselves."""
    if smaller(taken) == 0:
        return
    known = {codes(taken)}
    # Among values that are all distinct, any other column of such values would do.
    if target.nunique() <= len(target) / 2:
        known.add(codes(target))
    if is_quantity(target):
        known |= {ranks(target), ranks(-target)}
    twins = [
        name
        for name, column in X.items()
        # So pandas names a second column of the target's name.
        if name == f"{target.name}.1"
        or {codes(column), codes(column.isna()), ranks(column)} & known
    ]
    if twins:
        cure = problems.read_line(f"{{'usecols': lambda name: name not in {twins}}}")
        if "usecols" in problems.table.read:
            cure = f"take {listed(twins)} out of READ's usecols"
        what = f"has its target among its features a second time, as {listed(twins)}"
        problems.add(what, cure)


def codes(column):
    """Its values as numbers in the order of their first rows, as bytes."""
    import pandas as pd

    return pd.factorize(column, use_na_sentinel=False)[0].tobytes()


def ranks(column):
    """The order of its values, as bytes; nothing for a column that has no numbers."""
    is_number = column.dtype.kind in "iuf"
    return column.rank().to_numpy().tobytes() if is_number else b""
