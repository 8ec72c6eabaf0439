"""What is promised of tables: any honest one works, any other is told how to."""

import ast
import hashlib
import io
import re
import runpy
import subprocess
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from conftest import replace as put

import prepare
from harness.describe import LINES
from harness.errors import Refused
from harness.table import Table, counted, load, sha256_of

# Where a cure begins; its value ends where Python has one.
CURE = re.compile(r"(?:put|add the line) (POSITIVE|READ|N_SPLITS) (\|?=) ")


def rows(y="01", n=40, header="a,b,y", row="{i},{j}.5,{y}"):
    """A CSV of n rows, whose target goes round the values of y."""
    lines = [row.format(i=i * 7 % 13, j=i * 5 % 11, y=y[i % len(y)]) for i in range(n)]
    return "\n".join([header, *lines]) + "\n"


def table_of(folder, content, **settings):
    """A Table of this CSV, text or bytes, as a user has it who has set its target."""
    path = folder / "own.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    common = {"read": {}, "target": "y", "positive": "y == 1", "least": 10}
    return Table(path, **common | settings)


def refusal(table):
    """What a table is refused with: a line."""
    with pytest.raises(Refused) as refused:
        load(table)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def cures_in(said):
    """The (constant, = or |=, source of the value) that a refusal prints."""
    for found in CURE.finditer(said):
        for end in range(found.end() + 1, len(said) + 1):
            try:
                ast.parse(source := said[found.end() : end], mode="eval")
            except SyntaxError:
                continue
            yield *found.groups(), source
            break


def follow(table, said):
    """The table after everything that the refusal says to put, word for word."""
    for name, equals, source in cures_in(said):
        # The test's own code, a dict, a text or a lambda.
        value = eval(source)
        if name == "READ":
            # Only a READ that is there is added to.
            assert (equals == "|=") == bool(table.read)
            table = replace(table, read=table.read | value)
        elif name == "POSITIVE":
            table = replace(table, positive=value)
        else:
            table = replace(table, least=2 * value)
    return table


# ------------------------------------------------------------- ills and cures
EUROPEAN = rows(header="a;b;y", row="{i};{j},5;{y}")
ILLS = {
    "semicolons": (rows().replace(",", ";"), ["has ';' between"]),
    "tabs": (rows().replace(",", "\t"), [r"has '\t' between"]),
    "bars": (rows().replace(",", "|"), ["has '|' between"]),
    "colons": (rows().replace(",", ":"), ["has ':' between"]),
    "spaces": (rows().replace(",", "  "), [r"has '\\s+' between"]),
    "a name with commas": (
        rows(header='"a, b, c";y', row="{i};{y}"),
        ["has ';' between"],
    ),
    "semicolons, commas": (EUROPEAN, ["has ';' between", "numbers like 0,5"]),
    "UTF-16": (rows().encode("utf-16"), ["is in another encoding", "'utf-16'"]),
    "Latin-1": (rows(header="a,größe,y").encode("latin-1"), ["is in another encoding"]),
    "no cp1252": (rows(header="a,\x81,y").encode("latin-1"), ["'latin-1'"]),
    "a title": ("Our table\n\n" + rows(), ["has lines above its header"]),
    "Excel's mark": ("sep=;\n" + EUROPEAN, ["has lines above", "has ';'", "like 0,5"]),
    "row names": (rows(row="r{i},{i},{j}.5,{y}"), ["has rows longer than its header"]),
    "row names and spaces": (
        rows(header='"a" "b" "y"', row='"r{i}" {i} {j}.5 {y}'),
        [r"has '\\s+' between", "has rows longer than its header"],
    ),
    "a row too long": (rows() + "1,2,0,1\n", ["Expected 3 fields in line 42, saw 4"]),
    "a column without a name": (
        rows(header=",a,b,y", row="9,{i},{j}.5,{y}"),
        ["first column without a name"],
    ),
    "spaces after commas": (rows(header="a, b, y"), ["spaces around its names"]),
    "question marks": (rows() + "?,1,0\n", ["has '?' among the numbers of 'a'"]),
    "padded numbers": (rows(row="  {i},{j}.5,{y}") + "?,1,0\n", ["has '?' among"]),
    "blanks and dashes": (rows() + " ,1,0\n2,-,1\n", ["has ' ', '-' among"]),
    "a word for missing": (rows() + "k.A.,1,0\n", ["'k.A.' among the numbers of 'a'"]),
    "dashes and commas": (
        EUROPEAN + "1;-;0\n",
        ["has ';' between", "like 0,5", "has '-' among"],
    ),
    "thousands": (
        rows(header="c,b,y", row='"{i},000",{j}.5,{y}').replace('"0,', '"1,'),
        ["numbers like 1,000"],
    ),
    "points for thousands": (
        rows(header="c;b;y", row="1{i}.301,5;{j},5;{y}") + "1.301;2;0\n",
        ["has ';' between", "numbers like 10.301,5"],
    ),
    "points for thousands alone": (
        rows(header="c;b;y", row="1{i}.301;{j},5;{y}"),
        ["has ';' between", "numbers like 10.301 and 0,5"],
    ),
    "infinity": (rows() + "inf,1,0\n2,-1e999,1\n", ["'inf' among the numbers of 'a'"]),
    "gaps in the target": (rows() + "1,2,\n3,4,NA\n", ["no finite 'y' in 2 of 42"]),
    "infinite targets": (rows() + "1,2,inf\n", ["no finite 'y' in 1 of 41"]),
    "? in the target": (
        rows(["No", "Yes"]) + "1,2,?\n",
        ["has '?' among", "no finite 'y' in 1 of 41", "needs a POSITIVE"],
    ),
    "few of a class": (rows("000001"), ["has 6 rows of one class, which needs 10"]),
    "the target twice": (
        rows(header="a,b,y,y", row="{i},{j}.5,{y},{i}"),
        ["a second time, as 'y.1'"],
    ),
    "the target's twin": (
        rows(header="a,sick,y", row="{i},x{y},{y}"),
        ["a second time, as 'sick'"],
    ),
    "a twin of three classes": (
        rows("012", header="a,sick,y", row="{i},x{y},{y}"),
        ["a second time, as 'sick'"],
    ),
    "a twin of one class": (
        rows("012", header="a,sick,y", row="{i},x{y},{y}").replace("x2", "x0"),
        ["a second time, as 'sick'"],
    ),
    "a date for one class only": (
        re.sub(",\\d+d,0", ",,0", rows(header="a,died,y", row="{i},{j}d,{y}")),
        ["a second time, as 'died'"],
    ),
    "nearly everything": (
        rows(
            ["No", "Yes"],
            header=";größe;a;b;twin;y",
            row="{i};1{i}.301;{i};{j},5;t{y};{y}",
        ).encode("latin-1")
        + b"9;?;k.A.;2,5;tNo;\n",
        [
            *("has ';' between", "another encoding", "column without a name", "like"),
            *("'?', 'k.A.' among", "no finite 'y' in 1 of 41", "needs a POSITIVE"),
            "a second time, as 'twin'",
        ],
    ),
}


@pytest.mark.parametrize("content, words", ILLS.values(), ids=list(ILLS))
def test_all_ills_are_said_at_once_with_the_cures_that_cure(tmp_path, content, words):
    table = table_of(tmp_path, content)
    said = refusal(table)
    assert [word for word in words if word not in said] == []
    X, target, y = load(follow(table, said))
    assert len(X) == len(target) == len(y) >= 39 and 5 < y.sum() < 25
    assert X.index.equals(pd.RangeIndex(len(X))) and "y" not in X
    # Numbers are numbers again, and the same ones.
    assert 1 <= X.shape[1] <= 4 and all(d.kind in "if" for d in X.dtypes)
    for name in {"a", "b"} & {*X}:
        assert X[name][:40].tolist() == HONEST_X[name].tolist()


HONEST_X = pd.read_csv(io.StringIO(rows()))
MENDED_IN_THE_FILE = {
    "empty": (b"", ["EmptyDataError", "save it as CSV in UTF-8"]),
    "a header alone": (b"a,b,y\n", ["has no rows"]),
    "the target alone": (rows(header="y", row="{y}"), ["no column but its target"]),
    "another name": (
        rows(header="a,b,Y"),
        ["no column TARGET = 'y': put one of 'a', 'b', 'Y'"],
    ),
    "a space after the name": (rows(header="a,b,y "), ["put one of 'a', 'b', 'y '"]),
    "commas and points": (
        rows(row='{i},"{j},5",{y}') + "1,1.5,1\n,k.A.,1\n",
        ["numbers like 0,5 in 'b', and others in another style", "'k.A.' among"],
    ),
    "two kinds of commas": (
        rows(row='"{i},000,000","{j},5",{y}').replace('"0,000', '"1,000'),
        ["and others in another style: write them all like 1234.5"],
    ),
    "a spreadsheet": (b"PK\x03\x04,\x00\xff\xfe" * 9, ["save it as CSV in UTF-8"]),
    "an open quote": (rows() + '1,"2,1\n', ["EOF inside string starting at row 41"]),
    "too few": (rows(n=6), ["add rows"]),
    "one class": (rows("1"), ["has 0 rows of one class"]),
    "no target at all": (rows([""]), ["has no finite 'y' in 40 of 40 rows"]),
    "a gap and a blank line": (rows() + "\n1,2,\n3,4,1\n", ["take them out of the"]),
    "many gaps": (rows() + "1,2,\n" * 21, ["no finite 'y' in 21 of 61 rows"]),
}


@pytest.mark.parametrize(
    "content, words", MENDED_IN_THE_FILE.values(), ids=list(MENDED_IN_THE_FILE)
)
def test_what_no_constant_cures_is_said_too(tmp_path, content, words):
    table = table_of(tmp_path, content)
    said = refusal(table)
    assert [word for word in words if word not in said] == []
    assert "skiprows" not in said and "a second time" not in said
    # The other cures leave it to be mended.
    assert words[0] in refusal(follow(table, said))


def test_ills_beside_a_wrong_target_are_said_too(tmp_path):
    said = refusal(table_of(tmp_path, EUROPEAN + "?;1,5;0\n", target="num"))
    for words in ("has ';' between", "like 0,5", "'?' among", "one of 'a', 'b', 'y'"):
        assert words in said


@pytest.mark.parametrize(
    "cells, read, value",
    [
        # Read as they stand these would be 94, 940 and 1234.
        ("0,94", {"thousands": ","}, 0.94),
        ("0,940", {"thousands": ","}, 0.94),
        ("1.234,5", {"sep": ";", "thousands": ","}, 1234.5),
        # A column of such numbers alone can be read in both ways.
        ("1,234", {}, 1234),
        ("1234.5", {"sep": ";", "decimal": ","}, 1234.5),
        ("-1,234,567.5", {"sep": ";"}, -1234567.5),
    ],
)
def test_a_number_is_never_another_one(tmp_path, cells, read, value):
    content = rows(header='c;b;"y"', row=f'"{cells}";{{i}};{{y}}')
    if "sep" not in read:
        content = content.replace(";", ",")
    table = table_of(tmp_path, content, read=read)
    said = refusal(table)
    assert set(load(follow(table, said))[0]["c"]) == {value}
    assert ("or, if its comma" in said) == (cells == "1,234")


@pytest.mark.parametrize(
    "key, wrong, right", [("sep", ";", ","), ("encoding", "x", "utf-8")]
)
def test_a_read_that_is_wrong_is_told_the_right_value(tmp_path, key, wrong, right):
    table = table_of(tmp_path, rows(), read={key: wrong})
    said = refusal(table)
    assert f"add the line READ |= {{{key!r}: {right!r}}}" in said
    assert len(load(follow(table, said))[0]) == 40


def test_words_among_numbers_are_text_where_read_says_so(tmp_path):
    table = table_of(tmp_path, rows() + "k.A.,1,0\n")
    assert "if it is text, put 'a' into READ's dtype" in refusal(table)
    X, *_ = load(replace(table, read={"dtype": {"a": "str"}}))
    assert "k.A." in set(X["a"])


READS = [{"seperator": ";"}, {"engine": "fast"}, {"usecols": ["z"]}, ["sep"]]
READS += [{"compression": "gzip"}, {"chunksize": 3}]


@pytest.mark.parametrize("read", READS, ids=str)
def test_a_read_that_does_not_work_is_quoted(tmp_path, read):
    assert f"by READ = {read}" in refusal(table_of(tmp_path, rows(), read=read))


@pytest.mark.parametrize(
    "read, row, words",
    [
        ({"usecols": [*"aby"]}, "{i},{y},{y}", "take 'b' out of READ's usecols"),
        (
            {"na_values": {"b": ["x"]}},
            "{i},?,{y}\n{i},1,{y}",
            "it into READ's na_values",
        ),
    ],
    ids=["usecols", "na_values"],
)
def test_what_can_not_be_added_to_read_is_said_in_words(tmp_path, read, row, words):
    said = refusal(table_of(tmp_path, rows(row=row), read=read))
    assert words in said and not [*cures_in(said)]


def test_a_header_short_of_a_name_is_seen_with_usecols_too(tmp_path):
    read = {"usecols": lambda name: name != "b"}
    told = refusal(table_of(tmp_path, rows(row="{i},{j},{y},3"), read=read))
    assert "has rows longer than its header" in told


def test_columns_without_a_header_have_their_numbers_as_names(tmp_path):
    content = rows().partition("\n")[2]
    settings = {"target": "2", "positive": "`2` == 1", "read": {"header": None}}
    X, _, y = load(table_of(tmp_path, content, **settings))
    assert list(X) == ["0", "1"] and y.sum() == 20


@pytest.mark.parametrize("row", ["1'00{i},{j}.5,{y}", "x{i},z{j},w{y}"])
def test_an_honest_read_is_taken_as_it_is(tmp_path, row):
    table = table_of(tmp_path, rows(row=row), read={"thousands": "'"})
    X, *_ = load(replace(table, positive="y in [1, 'w1']"))
    assert X["a"][0] in (1000, "x0")


HONEST = {
    "as it is": (rows(), "int64 float64"),
    "BOM and CRLF": ("\ufeff" + rows().replace("\n", "\r\n"), "int64 float64"),
    "a comma at each row's end": (rows(row="{i},{j}.5,{y},"), "int64 float64"),
    "row numbers and that comma": (
        rows(header="a,y,b", row="{i},{y},{j},"),
        "int64 int64",
    ),
    "quotes, commas, new lines": (rows(row='{i},"{j}, ""b""\nc",{y}'), "int64 str"),
    "names with brackets": (
        rows(header='a [mm],"größe <b>, ""c""",y'),
        "int64 float64",
    ),
    "an empty column": (rows(row="{i},,{y}"), "int64 float64"),
    "codes and words": (rows(row="{i},K{j},{y}") + "1,3,0\n2,?,1\n", "int64 str"),
    "a name twice": (rows(header="a,a,y"), "int64 float64"),
    "an id in each row": (rows(row="{i},{i}-{j},{y}"), "int64 str"),
    "yes and no": (
        rows(row="{i},False,{y}").replace("7,False", "7,True"),
        "int64 bool",
    ),
    "three decimals": (rows(row="{i},{i}.301,{y}"), "int64 float64"),
}


@pytest.mark.parametrize("content, dtypes", HONEST.values(), ids=list(HONEST))
def test_an_honest_table_is_taken_as_it_is(tmp_path, content, dtypes):
    table = table_of(tmp_path, content)
    X, target, y = load(table)
    assert [str(dtype) for dtype in X.dtypes] == dtypes.split() and len(y) >= 40
    assert y.tolist() == [int(value == 1) for value in target]
    plain = pd.read_csv(table.path, index_col=False)
    pd.testing.assert_frame_equal(X, plain.drop(columns="y"))
    assert sha256_of(table) == hashlib.sha256(table.path.read_bytes()).hexdigest()


# -------------------------------------------------------------- the positive class
@pytest.mark.parametrize(
    "values, positive",
    [
        ("01", "y == 1"),
        ("12", "y == 2"),
        (["-1", "1"], "y == 1"),
        (["No", "Yes"], "y == 'Yes'"),
        (["No", "No", "No", "Aye"], "y == 'Aye'"),
        (["False", "True"], "y == True"),
        (["<=50K", ">50K"], "y == '>50K'"),
        (["it's", "`a` @b"], 'y == "it\'s"'),
        (["No", "No", "No", "Yes", " Yes"], "y.str.strip() == 'Yes'"),
        (["ctrl", "mild", "severe"], "y == 'severe'"),
        ("012", "y == 2"),
        ([f"{k}" for k in range(48)], "y > 23.5"),
        (["0.5", "-0.5", "0.25", "-0.25"], "y > 0"),
        (["0.5", "2.5", "2.5", "2.5"], "y >= 2.5"),
    ],
    ids=str,
)
def test_a_positive_for_another_target_is_asked_for(tmp_path, values, positive):
    table = table_of(tmp_path, rows(values, n=48), positive="num > 0")
    told = refusal(table)
    assert "name 'num' is not defined" in told
    table = follow(table, told)
    assert table.positive == positive
    assert 10 <= load(table)[2].sum() <= 38


@pytest.mark.parametrize(
    "name", ["my y", "class", "a [mm]", "größe", "it's", 'say "q"', "1st", "a\u00a0b"]
)
def test_any_name_can_be_the_targets(tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    content = rows("01", header=f"a,b,{quoted}")
    table = table_of(tmp_path, content, target=name, positive="num > 0")
    assert load(follow(table, refusal(table)))[2].sum() == 20


@pytest.mark.parametrize("name", ["a`b", "a\nb", "a\tb"])
def test_a_name_that_no_expression_can_say_is_refused(tmp_path, name):
    content = rows(header=f'a,b,"{name}"')
    assert "rename" in refusal(table_of(tmp_path, content, target=name))


BROKEN = ["y", "y >", "(y", "y = 1", "y > '1'", "a > 3", "True", "1/0 > y", "", None]


@pytest.mark.parametrize("positive", [*BROKEN, "y[0]"], ids=str)
def test_a_positive_that_does_not_work_is_told_another(tmp_path, positive):
    table = table_of(tmp_path, rows(), positive=positive)
    told = refusal(table)
    assert follow(table, told).positive == "y == 1" and "takes" not in told


def test_a_positive_that_takes_no_row_shows_the_values(tmp_path):
    told = refusal(table_of(tmp_path, rows(), positive="y == '1'"))
    assert "takes 0 of 40 rows" in told and "0 (20), 1 (20)" in told


def test_a_quantity_is_not_cut_by_the_positive_of_heart_disease(tmp_path):
    content = rows(["0.5", "-0.5", "0.25", "-0.25"], header="a,b,num")
    table = table_of(tmp_path, content, target="num", positive="num > 0")
    told = refusal(table)
    assert "is for data/heart.csv" in told
    assert load(follow(table, told))[2].sum() == 20


def test_a_value_with_a_space_is_not_the_other_class_unseen(tmp_path):
    table = table_of(tmp_path, rows(["No", "Yes", " Yes", " No"]))
    told = refusal(replace(table, positive="y == 'Yes'"))
    assert "takes 'Yes' or not by the spaces beside it" in told
    assert load(follow(table, told))[2].sum() == 20
    # Where it is the other values that differ, nothing is in doubt.
    padded = table_of(tmp_path, rows(["No", "Yes", "Yes", " No"]))
    assert load(replace(padded, positive="y == 'Yes'"))[2].sum() == 20


def test_a_twin_of_a_quantity_is_found_by_its_order(tmp_path):
    y = np.random.default_rng(0).normal(size=40)
    frame = pd.DataFrame({"a": y**2, "log": -np.exp(y), "id": range(40), "y": y})
    table = table_of(tmp_path, frame.to_csv(index=False), positive="y > 0")
    told = refusal(table)
    assert "a second time, as 'log':" in told
    assert list(load(follow(table, told))[0]) == ["a", "id"]


def test_the_values_are_shown_with_those_taken_marked(tmp_path):
    _, target, y = load(table_of(tmp_path, rows("0012")))
    assert counted(target, y == 1) == "0 (20), *1 (10), 2 (10)"
    _, target, y = load(
        table_of(tmp_path, rows([f"{k}" for k in range(40)]), positive="y >= 30")
    )
    assert counted(target, y == 1) == "0 to 29 (30), *30 to 39 (10)"


# ------------------------------------------------------------------ the file
@pytest.mark.parametrize(
    "path, said",
    [
        ("data", "is a folder: put the path of your table into DATA"),
        ("data/none.csv", "is missing: put the path of your table into DATA"),
        ("data/heart.csv", "is missing: git restore data/heart.csv"),
    ],
)
def test_a_path_that_is_no_file_is_refused(tmp_path, path, said):
    (tmp_path / "data").mkdir()
    table = replace(table_of(tmp_path, rows()), path=tmp_path / path)
    for function in (load, sha256_of):
        with pytest.raises(Refused, match=f"{path} {said}"):
            function(table)


def ucis_file():
    """The bytes of UCI's processed.cleveland.data, worked out from heart.csv."""
    lines = (ROOT / "data" / "heart.csv").read_text().splitlines()[1:]
    table = [line.split(",") for line in lines]
    cells = [[str(float(c)) if c else "?" for c in row[:-1]] for row in table]
    texts = [",".join([*c, row[-1]]) for c, row in zip(cells, table, strict=True)]
    return "".join(text + "\n" for text in texts).encode()


def test_data_readmes_lines_make_heart_csv_again_byte_for_byte(tmp_path):
    readme = (ROOT / "data" / "README.md").read_text()
    digests = dict(re.findall(r"^    (\S+) +([0-9a-f]{64})$", readme, re.M))
    assert (
        hashlib.sha256(ucis_file()).hexdigest() == digests["processed.cleveland.data"]
    )
    (tmp_path / "processed.cleveland.data").write_bytes(ucis_file())
    lines = "".join(re.findall(r"^    (?:echo|sed) .*\n", readme, re.M))
    subprocess.run(lines, shell=True, cwd=tmp_path, check=True)
    made = (tmp_path / "heart.csv").read_bytes()
    assert hashlib.sha256(made).hexdigest() == digests["heart.csv"]
    assert made == (ROOT / "data" / "heart.csv").read_bytes()


# ------------------------------------------------------------------ by prepare.py
def set_constant(project, name, source, equals="="):
    """Write a constant of prepare.py, or add to READ below it."""
    file, line = project.path / "prepare.py", f"{name} {equals} {source}"
    text = file.read_text()
    whole = rf"^{name} = .*$"
    new = (lambda old: f"{old[0]}\n{line}") if equals == "|=" else (lambda old: line)
    text, n = re.subn(whole, new, text, count=1, flags=re.M)
    assert n == 1
    file.write_text(text)


def own_table(project, content, target):
    """The steps 1 to 3 of README's Your own data; (cures, the finished check)."""
    (project.path / "data" / "own.csv").write_text(content)
    set_constant(project, "DATA", 'HERE / "data" / "own.csv"')
    set_constant(project, "TARGET", f'"{target}"')
    said = []
    if (done := project.run()).returncode == 3:
        assert done.stderr.startswith("refused: ") and done.stderr.count("\n") == 1
        said = [*cures_in(done.stderr)]
        for name, equals, source in said:
            set_constant(project, name, source, equals)
        done = project.run()
    return said, done


def every_kind(n=120):
    """A frame with columns of every kind, and a text target that they tell of."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "a [mm]<>": z + rng.normal(size=n),
            "größe, in {cm}": rng.integers(1, 9, n),
            "all missing": np.nan,
            "once": [3.5] + [None] * (n - 1),
            "yes": rng.random(n) < 0.5,
            "yes, with gaps": rng.choice([True, False, None], n),
            "mixed": rng.choice(["1", "2", "K"], n),
            "date": pd.date_range("2020", periods=n).astype(str),
            "note": [f'free text {i}, "q"' for i in range(n)],
            "city": rng.choice([*"ABCDEFGHIJKLMNOPQR", None], n),
            "constant": 7,
        }
    )
    good = z + 0.3 * rng.normal(size=n) > 0.2
    return frame.assign(outcome=np.where(good, "it's good", "bad"))


@pytest.fixture(scope="module")
def own_project(tmp_path_factory):
    """A project with every_kind as its own table, as own_table leaves it."""
    from conftest import Project

    project = Project(tmp_path_factory.mktemp("own") / "project")
    project.said, project.done = own_table(
        project, every_kind().to_csv(index=False), "outcome"
    )
    return project


def test_readmes_six_steps_lead_from_a_table_to_a_run(own_project):
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## Your own data\n")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d)\. ", section, re.M) == [*"123456"]
    for word in ["`data/own.csv`", '`DATA = HERE / "data" / "own.csv"`', "`TARGET`"]:
        assert word in section
    assert [name for name, _, _ in own_project.said] == ["POSITIVE"]
    assert own_project.done.stdout.count("ok   ") == 9
    assert """'bad' (""" in own_project.done.stdout
    assert """*"it's good" (""" in own_project.done.stdout
    commands = re.findall(r"`(uv run prepare.py \w+|git commit [^`]*)`", section)
    assert [c.split()[-1] for c in commands[:2]] == ["describe", "evaluate"]
    block, done = own_project.evaluate()
    assert block["status"] == "ok", done.stderr
    assert float(block["val_auc"]) > 0.65
    assert own_project.run("describe").returncode == 0
    run = own_project.copy(own_project.path.with_name("run"))
    run.git(*[word.strip('"') for word in re.findall(r'"[^"]*"|\S+', commands[2])[1:]])
    run.git("checkout", "-qb", "autoresearch/own-1")
    (run.path / "run.log").write_text(run.run("evaluate").stdout)
    assert "KEPT" in run.run("log").stdout


def baseline():
    """The baseline's estimator, in this process."""
    return runpy.run_path(str(ROOT / "train.py"))["build_pipeline"]()


def test_columns_without_a_value_to_learn_from_do_no_harm():
    X = pd.DataFrame(
        {"number": [np.nan] * 40, "text": pd.Series([None] * 40, dtype=str)}
    )
    with warnings.catch_warnings(action="error"):
        model = baseline().fit(X, np.array([0, 1] * 20))
        scores = model.predict_proba(X.assign(number=1.0, text="new"))[:, 1]
    assert scores == pytest.approx(0.5)


@pytest.mark.parametrize(
    "values",
    [
        [False, True],
        [False, True, None],
        pd.to_datetime(["2020-01-01", "2021-01-01"]),
        pd.Categorical(["a", "b"]),
        ["a", "b", None],
        pd.array([1, 2, None], dtype="Int64"),
    ],
    ids=lambda values: str(pd.Series(values).dtype),
)
def test_a_column_of_any_type_is_learned_from_alone(values):
    X = pd.DataFrame({"x": pd.Series(values).repeat(20).reset_index(drop=True)})
    y = (X["x"] == values[1]).fillna(False).to_numpy(dtype=int)
    assert baseline().fit(X, y).predict(X).tolist() == y.tolist()


def test_the_last_step_gets_a_dense_array_however_many_values_there_are():
    letters = [*"ABCDEFGHIJKLMNOPQRST"]
    X = pd.DataFrame({"a": letters * 2, "b": letters[::-1] * 2, "c": letters * 2})
    steps = baseline()[:-1]
    assert isinstance(steps.fit_transform(X, np.array([0, 1] * 20)), np.ndarray)


LAST_STEP = "LogisticRegression(max_iter=1000)"
MODELS = {
    "from lightgbm import LGBMClassifier": "LGBMClassifier(verbose=-1)",
    "from xgboost import XGBClassifier": "XGBClassifier(n_estimators=20)",
    "from sklearn.ensemble import HistGradientBoostingClassifier": (
        "HistGradientBoostingClassifier(max_iter=20)"
    ),
    "from flaml import AutoML": (
        "AutoML(task='classification', metric='roc_auc', time_budget=1, verbose=0)"
    ),
}


@pytest.mark.parametrize("imports", MODELS)
def test_another_last_step_works_on_every_kind_of_column(own_project, imports):
    baseline = (ROOT / "train.py").read_text()
    assert LAST_STEP in baseline
    model = f"{imports}\n\nHYPOTHESIS"
    source = baseline.replace(LAST_STEP, MODELS[imports])
    block, done = own_project.evaluate(source.replace("HYPOTHESIS", model, 1))
    (own_project.path / "train.py").write_text(baseline)
    assert block["status"] == "ok", done.stderr
    assert float(block["val_auc"]) > 0.6


CATEGORIES = """
from sklearn.ensemble import HistGradientBoostingClassifier

HYPOTHESIS = "category columns"

def feature_fn(X):
    X = X.drop(columns=["all missing", "once"])
    return X.astype(dict.fromkeys(X.select_dtypes(exclude="number"), "category"))

def build_pipeline():
    return HistGradientBoostingClassifier(categorical_features="from_dtype")
"""


def test_category_columns_reach_a_model(own_project):
    baseline = (ROOT / "train.py").read_text()
    block, done = own_project.evaluate(CATEGORIES)
    (own_project.path / "train.py").write_text(baseline)
    assert block["status"] == "ok", done.stderr


def test_types_that_read_asks_for_reach_a_model(own_project):
    project = own_project.copy(own_project.path.with_name("types"))
    types = '{"dtype": {"city": "category", "mixed": "string", "constant": "Int64"}, '
    set_constant(project, "READ", types + '"parse_dates": ["date"]}')
    block, done = project.evaluate()
    assert block["status"] == "ok", done.stderr
    assert "datetim" in project.run("describe").stdout


def test_a_table_where_candidates_may_read_is_refused(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    open_to_all = project.path.parent / "open"
    open_to_all.mkdir()
    put(sandbox, "READABLE = (", f"READABLE = ({str(open_to_all)!r},")
    (open_to_all / "own.csv").write_text(rows())
    # A link to it opens it as well.
    (project.path / "data" / "own.csv").symlink_to(open_to_all / "own.csv")
    set_constant(project, "DATA", '"data/own.csv"')
    done = project.run()
    assert done.returncode == 3 and f"candidates may read {open_to_all}" in done.stderr


# -------------------------------------------------------------------- describe
def described(X, y, monkeypatch, capsys):
    """What `prepare.py describe` prints of such a table."""
    monkeypatch.setattr(prepare, "load_data", lambda: (X, y))
    assert prepare.describe()
    return capsys.readouterr().out


def test_describe_says_what_each_column_is(monkeypatch, capsys):
    frame = every_kind()
    y = (frame.pop("outcome") == "bad").to_numpy(dtype=int)
    said = described(frame, y, monkeypatch, capsys)
    assert f"96 rows, {y[prepare.split(y)[-1][0]].sum()} of them positive" in said
    lines = {
        name: line
        for name in frame
        for line in said.splitlines()
        if line.startswith(name)
    }
    assert set(lines) == set(frame)
    assert re.search(r"float64 +0 +96 +0\.[012]\d\d  -?\d", lines["a [mm]<>"])
    assert re.search(r" 96 +0 +0\.500", lines["all missing"])
    assert re.search(r" 0 +1 +0\.500  7 \(96\)$", lines["constant"])
    # A name of its own a row tells nothing of other rows.
    assert " 0.500 " in lines["note"] and " 0.500 " in lines["date"]


def test_describe_never_looks_at_a_test_row(monkeypatch, capsys):
    frame = every_kind()
    y = (frame.pop("outcome") == "bad").to_numpy(dtype=int)
    said = described(frame, y, monkeypatch, capsys)
    test = prepare.split(y)[-1][1]
    frame.loc[test, "a [mm]<>"] = 1e9
    frame.loc[test, ["mixed", "city", "note"]] = "SECRET"
    frame.loc[test, "all missing"] = 1.0
    assert described(frame, y, monkeypatch, capsys) == said


def test_describe_fits_a_screen_whatever_the_table(monkeypatch, capsys):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(100, 500))).rename(columns="x\n{}".format)
    y = (X["x\n321"] > 0).to_numpy(dtype=int)
    lines = described(X, y, monkeypatch, capsys).splitlines()
    assert len(lines) == LINES == 60 and max(map(len, lines)) <= 120
    assert lines[5].startswith("x 321 ") and "1.000" in lines[5]
    assert lines[-1].startswith("and 446 more, auc ")
