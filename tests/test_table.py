"""What is promised of tables: any honest one works, any other is told how to."""

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
from conftest import ROOT, Project
from conftest import replace as put

from harness.describe import date_formats
from harness.errors import Refused
from harness.table import Table, Unusable, counted, load, sha256_of


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
    """What a table is refused with, which says all on one line."""
    with pytest.raises(Unusable) as refused:
        load(table)
    assert "\n" not in str(refused.value)
    return refused.value


def follow(table, faults):
    """The table after all that the refusal says to put, word for word."""
    words = re.findall(r"put (N_SPLITS = \d+)", str(faults))
    constants = {"READ": dict(table.read), "POSITIVE": table.positive, "N_SPLITS": 5}
    # The test's own tables, so their own lines.
    exec("\n".join([*faults.lines, *words]), constants)
    read, positive, n = (constants[name] for name in ("READ", "POSITIVE", "N_SPLITS"))
    return replace(table, read=read, positive=positive, least=2 * n)


# ------------------------------------------------------------- ills and cures
EUROPEAN = rows(header="a;b;y", row="{i};{j},5;{y}")
ILLS = {
    "semicolons": (rows().replace(",", ";"), ["has ';' between"]),
    "tabs": (rows().replace(",", "\t"), [r"has '\t' between"]),
    "bars": (rows().replace(",", "|"), ["has '|' between"]),
    "spaces": (rows().replace(",", "  "), [r"has '\\s+' between"]),
    "a name with commas": (
        rows(header='"a, b, c";y', row="{i};{y}"),
        ["has ';' between"],
    ),
    "semicolons, commas": (EUROPEAN, ["has ';' between", "numbers like 0,5"]),
    "UTF-16": (rows().encode("utf-16"), ["encoding, perhaps 'utf-16'"]),
    "Latin-1": (
        rows(header="a,größe,y").encode("latin-1"),
        ["encoding, perhaps 'cp1252'"],
    ),
    "a title": ("Our table\n\n" + rows(), ["has lines above its header"]),
    "Excel's mark": ("sep=;\n" + EUROPEAN, ["has lines above", "has ';'", "like 0,5"]),
    "row names": (rows(row="r{i},{i},{j}.5,{y}"), ["has rows longer than its header"]),
    "a row too long": (rows() + "1,2,0,1\n", ["Expected 3 fields in line 42, saw 4"]),
    "a column without a name": (
        rows(header=",a,b,y", row="9,{i},{j}.5,{y}"),
        ["first column without a name"],
    ),
    "spaces after commas": (rows(header="a, b, y"), ["spaces around its names"]),
    "question marks": (rows() + "?,1,0\n", ["has '?' among the numbers of 'a'"]),
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
        ["has ';' between", "numbers like"],
    ),
    "infinity": (rows() + "inf,1,0\n2,-1e999,1\n", ["'inf' among the numbers of 'a'"]),
    "? in the target": (
        rows(["No", "Yes"]) + "1,2,?\n",
        ["needs another POSITIVE", "'No' (20), 'Yes' (20)"],
    ),
    "few of a class": (rows("000001"), ["has 6 rows of one class, which needs 10"]),
    "nearly everything": (
        rows(
            ["No", "Yes"],
            header=";größe;a;b;y",
            row="{i};1{i}.301;{i};{j},5;{y}",
        ).encode("latin-1")
        + b"9;?;k.A.;2,5;\n",
        [
            *("has ';' between", "another encoding", "first column without a name"),
            *("numbers like", "'?', 'k.A.' among", "needs another POSITIVE"),
        ],
    ),
}


HONEST_X = pd.read_csv(io.StringIO(rows()))


@pytest.mark.parametrize("content, words", ILLS.values(), ids=list(ILLS))
def test_all_ills_are_said_at_once_with_the_cures_that_cure(tmp_path, content, words):
    table = table_of(tmp_path, content)
    faults = refusal(table)
    assert [word for word in words if word not in str(faults)] == []
    cured = load(follow(table, faults))
    X, y = cured.X, cured.y
    assert len(X) == len(cured.target) == len(y) >= 39 and 5 < y.sum() < 25
    assert X.index.equals(pd.RangeIndex(len(X))) and "y" not in X
    # Numbers are numbers again, and the same ones.
    assert 1 <= X.shape[1] <= 4 and all(d.kind in "if" for d in X.dtypes)
    for name in {"a", "b"} & {*X}:
        assert X[name][:40].tolist() == HONEST_X[name].tolist()


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
    "a spreadsheet": (b"PK\x03\x04,\x00\xff\xfe" * 9, ["save it as CSV in UTF-8"]),
    "an open quote": (rows() + '1,"2,1\n', ["EOF inside string starting at row 41"]),
    "too few": (rows(n=6), ["add rows"]),
    "one class": (rows("1"), ["has 0 rows of one class"]),
    "no target at all": (rows([""]), ["has a target that can't be used, 'y'"]),
}


@pytest.mark.parametrize(
    "content, words", MENDED_IN_THE_FILE.values(), ids=list(MENDED_IN_THE_FILE)
)
def test_what_no_constant_cures_is_said_too(tmp_path, content, words):
    table = table_of(tmp_path, content)
    faults = refusal(table)
    assert [word for word in words if word not in str(faults)] == []
    # The other cures leave it to be mended.
    assert words[0] in str(refusal(follow(table, faults)))


def test_ills_beside_a_wrong_target_are_said_too(tmp_path):
    said = str(refusal(table_of(tmp_path, EUROPEAN + "?;1,5;0\n", target="num")))
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
    faults = refusal(table)
    assert set(load(follow(table, faults)).X["c"]) == {value}
    assert ("if the comma begins" in str(faults)) == (cells == "1,234")


@pytest.mark.parametrize(
    "key, wrong, right", [("sep", ";", ","), ("encoding", "x", "utf-8")]
)
def test_a_read_that_is_wrong_is_told_the_right_value(tmp_path, key, wrong, right):
    table = table_of(tmp_path, rows(), read={key: wrong})
    faults = refusal(table)
    assert faults.lines == [f"READ |= {{{key!r}: {right!r}}}"]
    assert len(load(follow(table, faults)).X) == 40


def test_words_among_numbers_are_text_where_read_says_so(tmp_path):
    table = table_of(tmp_path, rows() + "k.A.,1,0\n")
    assert "if that is text, put it into READ's dtype" in str(refusal(table))
    X = load(replace(table, read={"dtype": {"a": "str"}})).X
    assert "k.A." in set(X["a"])
    known = replace(table, read={"na_values": "x"})
    assert "add it to READ's na_values" in str(refusal(known))


READS = [{"seperator": ";"}, {"engine": "fast"}, {"usecols": ["z"]}, ["sep"]]


@pytest.mark.parametrize("read", READS, ids=str)
def test_a_read_that_does_not_work_is_quoted(tmp_path, read):
    assert f"by READ = {read}" in str(refusal(table_of(tmp_path, rows(), read=read)))


def test_a_header_short_of_a_name_is_seen_with_usecols_too(tmp_path):
    read = {"usecols": lambda name: name != "b"}
    faults = refusal(table_of(tmp_path, rows(row="{i},{j},{y},3"), read=read))
    assert "has rows longer than its header" in str(faults)


def test_columns_without_a_header_have_their_numbers_as_names(tmp_path):
    content = rows().partition("\n")[2]
    settings = {"target": "2", "positive": "`2` == 1", "read": {"header": None}}
    loaded = load(table_of(tmp_path, content, **settings))
    assert [*loaded.X] == ["0", "1"] and loaded.y.sum() == 20


def test_an_honest_read_is_taken_as_it_is(tmp_path):
    table = table_of(tmp_path, rows(row="1'00{i},{j}.5,{y}"), read={"thousands": "'"})
    assert load(table).X["a"][0] == 1000


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
    loaded = load(table)
    X, y = loaded.X, loaded.y
    assert [str(dtype) for dtype in X.dtypes] == dtypes.split() and len(y) >= 40
    assert y.tolist() == [int(value == 1) for value in loaded.target]
    assert (loaded.dates, loaded.n_left_out) == ([], 0)
    plain = pd.read_csv(table.path, index_col=False)
    pd.testing.assert_frame_equal(X, plain.drop(columns="y"))
    assert sha256_of(table) == hashlib.sha256(table.path.read_bytes()).hexdigest()


def test_rows_without_a_target_are_left_out_and_counted(tmp_path):
    content = rows() + "8,8,\n8,8,NA\n8,8,inf\n" + rows().partition("\n")[2]
    loaded = load(table_of(tmp_path, content))
    assert loaded.n_left_out == 3 and loaded.y.tolist() == [0, 1] * 40
    assert 8 not in set(loaded.X["b"]) and loaded.X.index.equals(pd.RangeIndex(80))


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_dates_are_days_since_1970(tmp_path, zone):
    content = rows(row="{i},1970-01-{j} 12:00" + zone + ",{y}").replace("-0 ", "-11 ")
    loaded = load(table_of(tmp_path, content, read={"parse_dates": ["b"]}))
    assert loaded.dates == ["b"] and loaded.X["b"].dtype == float
    assert loaded.X["b"][:3].tolist() == [10.5, 4.5, 9.5]


def test_dates_stay_dates_where_points_group_thousands(tmp_path):
    row = "1{i}.301,5;1{j}.10.2021;{j},5;{y}"
    content = rows(header="c;d;b;y", row=row).replace(";110.10", ";21.10")
    table = table_of(tmp_path, content)
    faults = refusal(table)
    assert "has '10.10.2021' in 'd', which is no number" in str(faults)
    cured = follow(table, faults)
    assert load(cured).X.iloc[0].tolist() == [10301.5, "10.10.2021", 0.5]
    options = {"parse_dates": ["d"], "date_format": date_formats(load(cured).X)}
    dated = load(replace(cured, read=cured.read | options))
    assert dated.dates == ["d"] and dated.X["d"][0] == 18910


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
        (["it's", "`a` @b"], 'y == "it\'s"'),
        (["No", "No", "No ", "Yes", " Yes"], "y == 'Yes'"),
        ("012", "y == 1"),
        ([f"{k}" for k in range(48)], "y > 23.5"),
        ([f"{min(k, 24)}" for k in range(48)], "y > 23.5"),
        ([f"{max(k, 24)}" for k in range(48)], "y > 24"),
    ],
    ids=str,
)
def test_a_positive_for_another_target_is_asked_for(tmp_path, values, positive):
    table = table_of(tmp_path, rows(values, n=48), positive="num > 0")
    faults = refusal(table)
    assert "name 'num' is not defined" in str(faults)
    table = follow(table, faults)
    assert table.positive == positive
    assert 10 <= load(table).y.sum() <= 38


@pytest.mark.parametrize(
    "name", ["my y", "class", "a [mm]", "größe", "it's", 'say "q"', "1st"]
)
def test_any_name_can_be_the_targets(tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    content = rows("01", header=f"a,b,{quoted}")
    table = table_of(tmp_path, content, target=name, positive="num > 0")
    assert load(follow(table, refusal(table))).y.sum() == 20


@pytest.mark.parametrize("name", ["a`b", "a\nb"])
def test_a_name_that_no_expression_can_say_is_refused(tmp_path, name):
    content = rows(header=f'a,b,"{name}"')
    faults = refusal(table_of(tmp_path, content, target=name))
    assert "a name without a backtick, tab or new line" in str(faults)


BROKEN = ["y", "y >", "(y", "y = 1", "y > '1'", "a > 3", "True", "1/0 > y", "", None]
BROKEN += ["y[0]", "y == '1'"]


@pytest.mark.parametrize("positive", BROKEN, ids=str)
def test_a_positive_that_does_not_work_is_told_another(tmp_path, positive):
    table = table_of(tmp_path, rows(), positive=positive)
    faults = refusal(table)
    assert "the target's values are 0 (20), 1 (20)" in str(faults)
    assert follow(table, faults).positive == "y == 1"


def test_the_values_are_shown_with_those_taken_marked(tmp_path):
    loaded = load(table_of(tmp_path, rows("0012")))
    assert counted(loaded.target, loaded.y == 1) == "0 (20), *1 (10), 2 (10)"
    quantity = rows([f"{k}" for k in range(40)])
    loaded = load(table_of(tmp_path, quantity, positive="y >= 30"))
    assert counted(loaded.target, loaded.y == 1) == "0 to 29 (30), *30 to 39 (10)"


# ------------------------------------------------------------------ the file
@pytest.mark.parametrize("path, what", [("data", "a folder"), ("none.csv", "missing")])
def test_a_path_that_is_no_file_is_refused(tmp_path, path, what):
    (tmp_path / "data").mkdir()
    table = replace(table_of(tmp_path, rows()), path=tmp_path / path)
    for function in (load, sha256_of):
        with pytest.raises(Refused, match=f"{path} is {what}: put its path into DATA"):
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
def set_constant(project, name, source):
    """Write a constant of prepare.py."""
    file = project.path / "prepare.py"
    line = f"{name} = {source}"
    text, n = re.subn(rf"(?m)^{name} = .*$", lambda _: line, file.read_text())
    assert n == 1
    file.write_text(text)


def paste(project, said):
    """Paste what a check prints for it, and the lines of its notes on dates."""
    head, _, lines = said.partition("Paste into prepare.py, below POSITIVE:\n")
    lines = lines.splitlines() + re.findall(r"^note dates: .*: (READ .*)$", head, re.M)
    set_constant(project, "POSITIVE", "\n".join(['"num > 0"', *lines]))
    return lines


def own_table(project, content, target):
    """The steps 1 and 2 of README's Your own data; what each check prints."""
    (project.path / "data" / "own.csv").write_text(content)
    set_constant(project, "DATA", 'HERE / "data" / "own.csv"')
    set_constant(project, "TARGET", f'"{target}"')
    first = project.run().stdout
    project.pasted = paste(project, first)
    return first, project.run().stdout


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
def own(tmp_path_factory):
    """(project, its first check, its second) with every_kind as its own table."""
    project = Project(tmp_path_factory.mktemp("own") / "project")
    content = every_kind().to_csv(index=False)
    return project, *own_table(project, content, "outcome")


@pytest.fixture
def own_project(own):
    """The project alone, as own_table leaves it."""
    return own[0]


def test_one_check_and_one_paste_lead_from_a_table_to_its_score(own):
    own_project, first, second = own
    assert first.count("FAIL table: ") == 1 and "needs another POSITIVE" in first
    assert re.search(r"""'bad' \(\d\d\), "it's good" \(\d\d\)""", first)
    assert "READ |= {'parse_dates': ['date']}" in own_project.pasted
    # What does not depend on the table is checked all the same.
    assert "ok   gate: " in first and "ok   sandbox" not in first
    assert second.count("ok   ") == 9 and "FAIL" not in second
    assert """*"it's good" (""" in second and "note dates" not in second
    block, done = own_project.evaluate()
    assert block["status"] == "ok", done.stderr
    assert float(block["val_auc"]) > 0.65


def test_readmes_steps_lead_from_a_table_to_a_run(own_project):
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## Your own data\n")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d)\. ", section, re.M) == [*"12345"]
    for word in ["`data/own.csv`", '`DATA = HERE / "data" / "own.csv"`', "`TARGET`"]:
        assert word in section
    run = own_project.copy(own_project.path.with_name("run"))
    commit = re.search(r"`git (commit -qam) \"(.*)\"`", section)
    run.git(*commit[1].split(), commit[2])
    run.git("checkout", "-qb", "autoresearch/own-1")
    assert "KEPT" in run.evaluate_and_log().stdout


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


def test_types_that_read_asks_for_reach_a_model(own_project):
    project = own_project.copy(own_project.path.with_name("types"))
    types = '{"dtype": {"city": "category", "mixed": "string", "constant": "Int64"}}'
    set_constant(project, "READ", types)
    block, done = project.evaluate()
    assert block["status"] == "ok", done.stderr


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
