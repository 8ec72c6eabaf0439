"""The table: made if it is heart.csv, read, checked; y from its target.

What is wrong with a table is said in one line, with the constant of prepare.py to set
and the value to put there: nothing is mended, dropped or cut without a word.
"""

import hashlib
import json
import os
import re
import warnings
from dataclasses import dataclass, replace
from keyword import iskeyword
from pathlib import Path
from tokenize import TokenError

from harness.judge import one_line
from harness.ratchet import Refused

# ---------------------------------------------------------------- constants
RESTORE = "git restore data/heart.csv"
RAW_URL = (
    "https://archive.ics.uci.edu/ml/machine-learning-databases/"
    "heart-disease/processed.cleveland.data"
)
RAW_SHA256 = "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"
COLUMNS = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num"
# What POSITIVE is for heart.csv: nobody chose it for another table.
HEART_POSITIVE = "num > 0"

# A target of more values than these is a quantity.
MANY = 20
# Where others write a missing number, besides what pandas knows.
MISSING = {"", "?", "-", "--", ".", "*", "na", "n.a.", "missing", "unknown", "none"}
# Numbers as they are written elsewhere: grouped by a sign, and with a decimal comma.
THOUSANDS = {
    ",": r"[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?",
    ".": r"[-+]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?",
}
DECIMAL = r"[-+]?(\d*|[1-9]\d{0,2}(\.\d{3})+),\d+([eE][-+]?\d+)?"
# So many different words among ten times as many numbers are missing ones, too.
FEW = 3
# So many rows tell a column of numbers from one of text, and a twin from another.
GLANCE = 1000
# What pandas says of READ or the file; and what DataFrame.eval says of POSITIVE.
READ_ERRORS = (ValueError, TypeError, LookupError, AttributeError, OSError, ImportError)
READ_ERRORS += (Warning,)
EVAL_ERRORS = (SyntaxError, NameError, TypeError, ValueError, LookupError, TokenError)
EVAL_ERRORS += (AttributeError, ArithmeticError, NotImplementedError)


@dataclass(frozen=True)
class Table:
    """What the constants of prepare.py say of the table."""

    path: Path
    sha256: str
    read: dict
    target: str
    positive: str
    # Rows that each class must have.
    least: int

    def reading(self, key, source):
        """The line of prepare.py that gives READ this argument too."""
        start = "add the line READ |=" if self.read else "put READ ="
        return f'{start} {{"{key}": {source}}}'

    def missing(self, values):
        """The line that makes these missing values; None if READ is too special."""
        known = self.read.get("na_values", [])
        if isinstance(known, str | list):
            known = [known] if isinstance(known, str) else known
            return self.reading("na_values", literal([*known, *values]))


def literal(value):
    """A text, or a list of texts, as Python has it, in double quotes."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


# ------------------------------------------------------------------- heart.csv
def fetch(path):
    """Make heart.csv from UCI's file if it is gone; Refused if that fails."""
    if path.exists() or path.name != "heart.csv":
        return
    import urllib.request

    try:
        with urllib.request.urlopen(RAW_URL, timeout=30) as reply:
            raw = reply.read()
    except OSError as error:
        raise Refused(f"no {path}, no download ({error}): {RESTORE}") from None
    if hashlib.sha256(raw).hexdigest() != RAW_SHA256:
        raise Refused(f"{RAW_URL} is not the file it was: {RESTORE}")
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(convert(raw))
    part.replace(path)


def convert(raw):
    """The CSV of UCI's processed.cleveland.data, both bytes; `?` becomes empty."""
    rows = [line.split(",") for line in raw.decode().split()]
    cells = [["" if c == "?" else f"{float(c):g}" for c in row] for row in rows]
    return "".join(",".join(r) + "\n" for r in [COLUMNS.split(), *cells]).encode()


# ------------------------------------------------------------------- the table
def load(table):
    """X, a frame of all rows, their target, and y, 0/1 (n_rows,); or Refused.

    Missing values are NaN in X, and there are none in the target.
    """
    import pandas as pd

    frame = parse(table)
    refuse(table, ABOUT_THE_FRAME, frame)
    target = frame.pop(table.target)
    refuse(table, [gaps], target)
    # Of plain types, whatever READ made of it.
    target = pd.Series(target.tolist(), name=target.name)
    taken = rows_taken(table, target)
    refuse(table, ABOUT_THE_CLASSES, frame, target, taken)
    return frame, target, taken.to_numpy(dtype=int)


def refuse(table, rules, *args):
    """Refused with what the first of the rules says, if any says something."""
    for rule in rules:
        if reason := rule(table, *args):
            raise Refused(f"{table.path.name} {reason}")


def parse(table):
    """The frame of the file as READ says; Refused if that is not to be had."""
    import pandas as pd

    with opened(table) as file, warnings.catch_warnings():
        # A header that does not fit its rows is but a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            options = arguments(table)
            if "usecols" in options:
                # With it pandas does not look whether the header fits the rows.
                whole = {key: options[key] for key in options if key != "usecols"}
                pd.read_csv(file, **whole | {"nrows": GLANCE})
                file.seek(0)
            frame = pd.read_csv(file, **options)
            frame.columns = frame.columns.map(str)
            return frame.reset_index(drop=True)
        except READ_ERRORS as error:
            refuse(table, [unreadable], error)


def opened(table):
    """The file, whose SHA-256 is as recorded; Refused if not."""
    path, shipped = table.path, table.path.name == "heart.csv"
    cure = RESTORE if shipped else "put the path of your table into DATA"
    if not path.is_file():
        what = "a folder" if path.is_dir() else "missing"
        raise Refused(f"{path} is {what}: {cure}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}: {cure}") from None
    found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != table.sha256:
        file.close()
        damaged = f"{path.name} is damaged: {RESTORE}; or, if it is"
        start = damaged if shipped else f"{path.name} is new or has changed: if it is"
        raise Refused(f'{start} to be the table, put DATA_SHA256 = "{found}"')
    file.seek(0)
    return file


def arguments(table):
    """Of pandas.read_csv: no column becomes an index, no type is guessed piecewise."""
    piecewise = {} if "engine" in table.read else {"low_memory": False}
    return {"index_col": False, **piecewise, **table.read}


# ------------------------------------------------------ a file that is not read
def unreadable(table, error):
    """What to do about a file that pandas can't read."""
    import pandas as pd

    if isinstance(error, pd.errors.EmptyDataError):
        return "is empty: put a table there, with a header line"
    if isinstance(error, UnicodeDecodeError):
        return encoding(table)
    if isinstance(error, pd.errors.ParserError | pd.errors.ParserWarning):
        return other_separator(table) or unequal_rows(table, error)
    said = f"{type(error).__name__}: {one_line(str(error))}"
    if "'python' engine" in said:
        said = f"of pandas' engines: {table.reading('engine', literal('python'))}"
    return f"can't be read with READ = {table.read}: {said}"


def encoding(table):
    """The encoding to read the file by, if it is text."""
    data = table.path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return f"is UTF-16: {table.reading('encoding', literal('utf-16'))}"
    if b"\0" in data:
        return "is no text (a spreadsheet, an archive?): save it as CSV in UTF-8"
    try:
        data.decode("cp1252")
        name = "cp1252"
    except UnicodeDecodeError:
        name = "latin-1"
    cure = table.reading("encoding", literal(name))
    return f"is not in UTF-8: if it was saved in no other encoding, {cure}"


def other_separator(table):
    """The separator of the header line, if READ names none and it is no comma."""
    if {"sep", "delimiter"} & set(table.read):
        return None
    with table.path.open(encoding="utf-8", errors="replace") as file:
        line = file.readline()
    found = max(",;\t|", key=line.count)
    if line.count(found) == 0 and len(line.split()) > 1:
        found = r"\s+"
    if found == ",":
        return None
    cure = table.reading("sep", literal(found))
    return f"has {literal(found)} between its columns: {cure}"


def unequal_rows(table, error):
    """What to do about rows with more fields than the header, all of them or some."""
    if isinstance(error, Warning):
        names = table.reading("index_col", 0)
        return (
            "has rows with more fields than its header: name all columns there, or, if "
            f"the first is row names without a name, {names}"
        )
    said = f"is uneven ({one_line(str(error))}): mend that line"
    # Of a quote that is not closed pandas says another thing, which no skipping mends.
    if "saw" in str(error):
        cure = table.reading("on_bad_lines", literal("skip"))
        said += f", or, to leave it out, {cure}"
    return said


# ------------------------------------------------- rules about the whole frame
def no_rows(table, frame):
    """A header alone."""
    return None if len(frame) else "has no rows below its header"


def no_target(table, frame):
    """No column of that name: for a separator, a space, or another name."""
    names = frame.columns.tolist()
    if table.target in names:
        return None
    if len(names) == 1 and (other := other_separator(table)):
        return other
    spaced = table.target in [name.lstrip() for name in names]
    if spaced and "skipinitialspace" not in table.read:
        return f"has spaces around names: {table.reading('skipinitialspace', True)}"
    known = one_line(", ".join(map(literal, names)), 400)
    return f"has no column TARGET = {literal(table.target)}: put one of {known}"


def odd_name(table, frame):
    """A target that no expression can name."""
    if "`" in table.target or "\n" in table.target:
        name = literal(table.target)
        return f"has a target that POSITIVE can't name, {name}: rename it"


def target_twice(table, frame):
    """Two columns of the target's name, of which pandas renames the second."""
    if (second := f"{table.target}.1") in frame:
        cure = without(table, [second])
        return f"has its target {literal(table.target)} twice: {cure}"


def without(table, names):
    """How to leave columns out."""
    if "usecols" in table.read:
        return f"take {', '.join(map(literal, names))} out of READ's usecols"
    return table.reading("usecols", f"lambda name: name not in {literal(names)}")


def index_column(table, frame):
    """A first column without a name: most often the numbers of the rows."""
    if frame.columns[0] == "Unnamed: 0":
        cure = table.reading("index_col", 0)
        start = "has a first column without a name"
        return f"{start}: if it counts rows, {cure}; or name it"


def no_features(table, frame):
    """The target alone."""
    if frame.shape[1] == 1:
        return f"has no column but its target {literal(table.target)}: add features"


def numbers_as_text(table, frame):
    """Columns of numbers that are text for their commas, or for a `?`."""
    if not isinstance(dtypes := table.read.get("dtype", {}), dict):
        return None
    told = [*dtypes, *table.read.get("converters", {})]
    found, names = set(), []
    for name in frame.columns.difference(told, sort=False):
        # Most columns of text are known by their first rows.
        if frame[name].dtype.kind == "O" and odd_numbers(table, frame[name][:GLANCE]):
            marks, commas = odd_numbers(table, frame[name]) or ([], [])
            if commas:
                return numbers_with_commas(table, frame, name, commas)
            found |= set(marks)
            names += [name] * bool(marks)
    if found and (cure := table.missing(sorted(found))):
        marks = ", ".join(map(literal, sorted(found)))
        text = literal(dict.fromkeys(names, "str"))
        text = f'READ["dtype"] |= {text}' if dtypes else table.reading("dtype", text)
        where = f"among numbers in {', '.join(map(literal, names))}"
        return f"has {marks} {where}: if missing, {cure}; if all are text, {text}"


def odd_numbers(table, column):
    """Its values that are no numbers: (marks of missing ones, numbers with commas).

    None if there are others: it is a column of text.
    """
    import pandas as pd

    texts = pd.Series(column.dropna().unique(), dtype=object).astype(str)
    plain = texts.str.strip()
    for key, sign in {"thousands": "", "decimal": "."}.items():
        if key in table.read:
            plain = plain.str.replace(table.read[key], sign, regex=False)
    odd = texts[pd.to_numeric(plain, errors="coerce").isna()]
    has_commas = [style(table, [text.strip()]) is not None for text in odd]
    commas = odd[has_commas].str.strip().tolist()
    words = odd[[not has for has in has_commas]].tolist()
    unknown = [word for word in words if word.strip().casefold() not in MISSING]
    few = min(FEW, len(texts) / 10)
    if len(unknown) > few or (commas and not style(table, commas)):
        return None
    # Words alone are a text like another.
    return (words if len(words) < len(texts) else []), commas


def style(table, texts):
    """(key, sign) of READ that makes numbers of all texts; None without."""
    group = "." if table.read.get("decimal") == "," else ","
    styles = {("thousands", group): THOUSANDS[group], ("decimal", ","): DECIMAL}
    for (key, sign), pattern in styles.items():
        if key not in table.read and all(re.fullmatch(pattern, t) for t in texts):
            return key, sign


def numbers_with_commas(table, frame, name, commas):
    """What to do about a column such as "1,5" or "1,234"."""
    key, sign = style(table, commas)
    start = f"has numbers like {commas[0]} in {literal(name)}"
    points = [c for c in frame.select_dtypes("float") if (frame[c] % 1).any()]
    if key == "decimal" and points:
        here = f"{literal(points[0])} has decimal points"
        return f"{start}, but {here}: write points instead of commas in the file"
    return f"{start}: {table.reading(key, literal(sign))}"


def infinities(table, frame):
    """Infinite features, which few models take."""
    import numpy as np

    missing = table.missing(["inf", "-inf"])
    cure = f"to take that as missing, {missing}" if missing else "mend the file"
    for name in frame.drop(columns=table.target).select_dtypes("float"):
        if n := int(np.isinf(frame[name]).sum()):
            start = f"has an infinite {literal(name)} in {n} of {len(frame)} rows"
            return f"{start}: {cure}"


# ------------------------------------------------------ target and classes
def gaps(table, target):
    """Rows without a target: never dropped without a word."""
    import numpy as np

    gap = target.isna() | target.isin([np.inf, -np.inf])
    if not gap.any():
        return None
    lines = (np.flatnonzero(gap) + 1).tolist()
    said = f"has no finite {literal(target.name)} in {len(lines)} of {len(gap)} rows"
    cure = "take them out of the file"
    if len(lines) <= MANY and "skiprows" not in table.read:
        shorter = replace(table, read=table.read | {"skiprows": lines})
        # A blank line in the file would count.
        if parse(shorter)[target.name].tolist() == target[~gap].tolist():
            cure = f"{cure}, or {table.reading('skiprows', lines)}"
    return f"{said} (the first: row {lines[0]}): {cure}"


def rows_taken(table, target):
    """Whether each row is of the positive class, bool (n_rows,); or Refused."""
    import pandas as pd

    why = None
    try:
        # Of the target alone: another column would be a feature that knows the class.
        taken = target.to_frame().eval(table.positive)
    except EVAL_ERRORS as error:
        said = one_line(str(error))
        why = f"does not work on the target {literal(target.name)} ({said})"
    else:
        if not isinstance(taken, pd.Series) or taken.dtype != bool:
            why = "is not true or false in each row"
        elif table.positive == HEART_POSITIVE and is_quantity(target):
            why = "is for data/heart.csv"
    refuse(table, [ask], target, why)
    return taken


def ask(table, target, why):
    """To write another POSITIVE, if there is a reason why."""
    if why:
        expression, _ = suggestion(table, target)
        cure = f"put POSITIVE = {literal(expression)}, or the like"
        start = f"needs a POSITIVE: {literal(table.positive)} {why}"
        return f"{start}; {cure}; values of the target: {counted(target)}"


def suggestion(table, target):
    """A POSITIVE, and whether it leaves both classes enough rows."""
    name, found = target.name, {}
    if not name.isidentifier() or iskeyword(name):
        name = f"`{name}`"
    if is_quantity(target):
        middle = f"{target.median():.4g}"
        found[f"{name} > {middle}"] = int((target > float(middle)).sum())
        found[f"{name} >= {middle}"] = int((target >= float(middle)).sum())
    else:
        counts = target.value_counts().sort_index(ascending=False)
        # Of texts the rarer is more often the one that is looked for.
        if target.dtype.kind not in "biuf":
            counts = counts.sort_values(kind="stable")
        counts = counts.to_dict()
        for alike in spelled_alike(counts):
            test = f"== {alike[0]!r}" if len(alike) == 1 else f"in {alike!r}"
            found[f"{name} {test}"] = sum(counts[value] for value in alike)
    enough = range(table.least, len(target) - table.least + 1)
    best = min(found, key=lambda expression: found[expression] not in enough)
    return best, found[best] in enough


def spelled_alike(values):
    """The values in lists, those together that differ in spaces around them alone."""
    groups = {}
    for value in values:
        key = value.strip() if isinstance(value, str) else value
        groups.setdefault(key, []).append(value)
    return list(groups.values())


def is_quantity(target):
    """Whether it is a number of many values or with decimals, rather than classes."""
    if target.dtype.kind not in "iuf":
        return False
    return bool(target.nunique() > MANY or (target % 1).any())


def counted(target, taken=None):
    """The target's values, each with its number of rows; a * before those taken."""
    if is_quantity(target):
        parts = [("", target)]
        if taken is not None:
            parts = [("", target[~taken]), ("*", target[taken])]
        spans = [f"{star}{x.min():g} to {x.max():g} ({len(x)})" for star, x in parts]
        return ", ".join(spans)
    counts = target.value_counts()
    positive = set() if taken is None else set(target[taken].unique())
    values = [
        f"{'*' if value in positive else ''}{one_line(repr(value), 40)} ({n})"
        for value, n in counts[:MANY].sort_index().to_dict().items()
    ]
    more = [f"and {len(counts) - MANY} more"] if len(counts) > MANY else []
    return ", ".join(values + more)


def too_few(table, X, target, taken):
    """A class with fewer rows than folds and test part need."""
    n = int(min(taken.sum(), (~taken).sum()))
    if n >= table.least:
        return None
    takes = f"takes {taken.sum()} of {len(taken)} rows"
    why = f"{takes}, and each class needs {table.least}, 2 x N_SPLITS"
    if suggestion(table, target)[1]:
        return ask(table, target, why)
    # With fewer the test part might have none.
    cure = f"put N_SPLITS = {n // 2}" if n >= 5 else "more rows are needed"
    return f"is small: POSITIVE = {literal(table.positive)} {why}: {cure}"


def spelled_twice(table, X, target, taken):
    """A value taken, and not with a space beside it."""
    positive = set(target[taken].unique())
    for alike in spelled_alike(target.unique().tolist()):
        if len({value in positive for value in alike}) == 2:
            return ask(table, target, f"does not take all of {alike}")


def twins(table, X, target, taken):
    """Columns that tell the class, or the target, by themselves."""
    found = X.columns.tolist()
    # Most columns are none by their first rows.
    for rows in (slice(GLANCE), slice(None)):
        known = [codes(taken[rows])]
        # Among values that are all distinct, any other column of such values would do.
        if target.nunique() <= len(target) / 2:
            known.append(codes(target[rows]))
        found = [name for name in found if is_twin(X[name][rows], target[rows], known)]
    if found:
        names, cure = ", ".join(map(literal, found)), without(table, found)
        return f"has a twin of its target among the features, {names}: {cure}"


def is_twin(column, target, known):
    """Whether a column, or where it is empty, is as known, or is in target's order."""
    if codes(column) in known or codes(column.isna()) in known:
        return True
    numbers = column.dtype.kind in "iuf" and is_quantity(target)
    orders = [target.rank(), (-target).rank()] if numbers else []
    return any(column.rank().equals(order) for order in orders)


def codes(column):
    """Its values as numbers in the order of their first rows, as bytes."""
    import pandas as pd

    return pd.factorize(column, use_na_sentinel=False)[0].tobytes()


ABOUT_THE_FRAME = [no_rows, no_target, odd_name, target_twice, index_column]
ABOUT_THE_FRAME += [no_features, numbers_as_text, infinities]
ABOUT_THE_CLASSES = [too_few, spelled_twice, twins]
