"""What is promised of tables: any honest one works, any other is told how to."""

import ast
import hashlib
import http.server
import os
import re
import runpy
import threading
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import IDENTITY, ROOT
from conftest import replace as put

import prepare
from harness.describe import LINES
from harness.ratchet import Refused
from harness.table import RAW_SHA256, Table, counted, load

CONSTANTS = {"DATA_SHA256": "sha256", "POSITIVE": "positive", "READ": "read"}
# Where a cure begins; its value ends where Python has one.
CURE = re.compile(r"(?:put|add the line) (DATA_SHA256|POSITIVE|READ|N_SPLITS) (\|?=) ")


def rows(y="01", n=40, header="a,b,y", row="{i},{j}.5,{y}"):
    """A CSV of n rows, whose target goes round the values of y."""
    lines = [row.format(i=i * 7 % 13, j=i * 5 % 11, y=y[i % len(y)]) for i in range(n)]
    return "\n".join([header, *lines]) + "\n"


def table_of(folder, content, **settings):
    """A Table of this CSV, text or bytes, as a user has it who has set its target."""
    path = folder / "own.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    common = {"read": {}, "target": "y", "positive": "y == 1", "least": 10}
    return Table(path, digest, **common | settings)


def cure_in(said):
    """(name of the constant, = or |=, source of the value) that a refusal prints."""
    found = CURE.search(said)
    name, equals = found.groups()
    for end in range(found.end() + 1, len(said) + 1):
        try:
            ast.parse(source := said[found.end() : end], mode="eval")
        except SyntaxError:
            continue
        return name, equals, source


def follow(table, said):
    """The table with what the refusal says to put, word for word."""
    name, equals, source = cure_in(said)
    # The test's own code, a dict, a text or a lambda.
    value = eval(source)
    if name == "N_SPLITS":
        return replace(table, least=2 * value)
    if name == "READ":
        # What is to be added is for a READ that is there, and the other way round.
        assert (equals == "|=") == bool(table.read)
        value = table.read | value
    return replace(table, **{CONSTANTS[name]: value})


def refusal(table):
    """What a table is refused with: a line."""
    with pytest.raises(Refused) as refused:
        load(table)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ------------------------------------------------------------- ills and cures
ILLS = {
    "semicolons": (rows().replace(",", ";"), ['has ";" between']),
    "semicolons and decimal commas": (
        rows(header="a;b;y", row="{i};{j},5;{y}"),
        ['has ";" between', 'numbers like 0,5 in "b"'],
    ),
    "tabs": (rows().replace(",", "\t"), [r'has "\t" between']),
    "bars": (rows().replace(",", "|"), ['has "|" between']),
    "spaces": (rows().replace(",", " "), ["between its columns"]),
    "thousands": (rows(row='"{i},000",{j},{y}').replace('"0,', '"1,'), ["like 1,000"]),
    "UTF-16": (rows().encode("utf-16"), ["is UTF-16"]),
    "Latin-1": (rows(header="größe,b,y").encode("latin-1"), ["is not in UTF-8"]),
    "row names": (rows(row="r{i},{i},{j},{y}"), ["more fields than its header"]),
    "a row too long": (rows() + "1,2,0,1\n", ["Expected 3 fields in line 42, saw 4"]),
    "a column without a name": (rows(header=",b,y"), ["first column without a name"]),
    "spaces after commas": (rows(header="a, b, y"), ["spaces around names"]),
    "question marks": (rows() + "?,1,0\n", ['has "?" among numbers']),
    "blanks and dashes": (rows() + " ,1,0\n2,-,1\n", ['has " ", "-" among']),
    "a word for missing": (rows() + "k.A.,1,0\n", ['"k.A." among numbers in "a"']),
    "dashes and decimal commas": (
        rows(header="a;b;y", row="{i};{j},5;{y}") + "1;-;0\n",
        ['has ";" between', 'numbers like 0,5 in "b"', 'has "-" among'],
    ),
    "points for thousands": (
        rows(header="a;b;y", row="1{i}.301,5;{j};{y}") + "1.301;2;0\n",
        ['has ";" between', "numbers like 10.301,5", "numbers like 10.301,5"],
    ),
    "infinity": (rows() + "inf,1,0\n2,-1e999,1\n", ['an infinite "a" in 1 of 42']),
    "gaps in the target": (rows() + "1,2,\n3,4,NA\n", ['no finite "y" in 2 of 42']),
    "infinite targets": (rows() + "1,2,inf\n", ['no finite "y" in 1 of 41']),
    "few of a class": (rows("000001"), ["takes 6 of 40 rows, and each class needs 10"]),
    "the target twice": (
        rows(header="a,b,y,y", row="{i},{j},{y},{i}"),
        ['has its target "y" twice'],
    ),
    "the target's twin": (
        rows(header="a,sick,y", row="{i},x{y},{y}"),
        ['twin of its target among the features, "sick"'],
    ),
    "a twin of three classes": (
        rows("012", header="a,sick,y", row="{i},x{y},{y}"),
        ['twin of its target among the features, "sick"'],
    ),
    "a date for one class only": (
        re.sub(",\\d+d,0", ",,0", rows(header="a,died,y", row="{i},{j}d,{y}")),
        ['twin of its target among the features, "died"'],
    ),
}


@pytest.mark.parametrize("content, said", ILLS.values(), ids=list(ILLS))
def test_an_ill_is_said_with_the_cure_that_cures(tmp_path, content, said):
    table = table_of(tmp_path, content)
    for words in said:
        told = refusal(table)
        assert words in told
        table = follow(table, told)
    X, _, y = load(table)
    assert X.shape[1] in (1, 2) and len(X) == len(y) >= 39 and 5 < y.sum() < 25
    assert X.index.equals(pd.RangeIndex(len(X)))
    # Numbers are numbers again.
    assert "y" not in X and not {"object", "str"} & {str(d) for d in X.dtypes}


def test_words_among_numbers_are_text_where_read_says_so(tmp_path):
    table = table_of(tmp_path, rows() + "k.A.,1,0\n")
    X, *_ = load(replace(table, read={"dtype": {"a": str}}))
    assert "k.A." in set(X["a"])
    said = refusal(replace(table, read={"dtype": {"b": str}}))
    assert said.endswith('if all are text, READ["dtype"] |= {"a": "str"}')


HOPELESS = {
    "empty": (b"", "is empty"),
    "a header alone": (b"a,b,y\n", "has no rows"),
    "the target alone": (rows(header="y", row="{y}"), "no column but its target"),
    "another name": (rows(header="a,b,Y"), 'TARGET = "y": put one of "a", "b", "Y"'),
    "a space after the name": (rows(header="a,b,y "), 'put one of "a", "b", "y "'),
    "commas and points": (rows(row='{i},"{j},5",{y}') + "1.5,2,1\n", "write points"),
    "a spreadsheet": (b"PK\x03\x04\x00\xff\xfe" * 9, "is no text (a spreadsheet"),
    "an open quote": (rows() + '1,"2,1\n', "EOF inside string"),
    "too few": (rows(n=6), "more rows are needed"),
    "a gap and a blank line": (rows() + "\n1,2,\n3,4,1\n", "take them out of the file"),
}


@pytest.mark.parametrize("content, said", HOPELESS.values(), ids=list(HOPELESS))
def test_what_no_constant_cures_is_said_too(tmp_path, content, said):
    told = refusal(table_of(tmp_path, content))
    assert said in told and "READ" not in told


@pytest.mark.parametrize(
    "read",
    [
        {"seperator": ";"},
        {"encoding": "latin99"},
        {"usecols": ["z"]},
        {"compression": "gzip"},
        {"chunksize": 3},
        ["sep"],
    ],
    ids=str,
)
def test_a_read_that_does_not_work_is_quoted(tmp_path, read):
    told = refusal(table_of(tmp_path, rows(), read=read))
    assert f"READ = {read}" in told


def test_a_header_short_of_a_name_is_seen_with_usecols_too(tmp_path):
    read = {"usecols": lambda name: name != "b"}
    told = refusal(table_of(tmp_path, rows(row="{i},{j},{y},3"), read=read))
    assert "more fields than its header" in told


def test_columns_without_a_header_have_their_numbers_as_names(tmp_path):
    content = rows().partition("\n")[2]
    settings = {"target": "2", "positive": "`2` == 1", "read": {"header": None}}
    X, _, y = load(table_of(tmp_path, content, **settings))
    assert list(X) == ["0", "1"] and y.sum() == 20


HONEST = {
    "as it is": rows(),
    "a byte-order mark and CRLF": "\ufeff" + rows().replace("\n", "\r\n"),
    "a comma at the end of each row": rows(row="{i},{j},{y},"),
    "row numbers and that comma": rows(header="a,y,b", row="{i},{y},{j},"),
    "quotes, commas, new lines": rows(row='{i},"a, ""b""\nc{j}",{y}'),
    "names with brackets": rows(header='a [mm],"größe <b>, ""c""",y'),
    "an empty column": rows(row="{i},,{y}"),
    "codes and words": rows(row="{i},K{j},{y}") + "1,3,0\n2,?,1\n",
    "a name twice": rows(header="a,a,y"),
    "an id a row": rows(row="{i},{i}-{j},{y}"),
}


@pytest.mark.parametrize("content", HONEST.values(), ids=list(HONEST))
def test_an_honest_table_is_taken_as_it_is(tmp_path, content):
    X, target, y = load(table_of(tmp_path, content))
    assert X.shape[1] == 2 and len(y) >= 40
    assert y.tolist() == [int(value == 1) for value in target]


# -------------------------------------------------------------- the positive class
@pytest.mark.parametrize(
    "values, positive",
    [
        ("01", "y == 1"),
        ("12", "y == 2"),
        (["-1", "1"], "y == 1"),
        (["No", "Yes"], "y == 'Yes'"),
        (["False", "True"], "y == True"),
        (["<=50K", ">50K"], "y == '>50K'"),
        (["it's", "`a` @b"], 'y == "it\'s"'),
        (["a", "b  c\u00a0"], "y == 'b  c\\xa0'"),
        (["No", "Yes", " Yes"], "y in ['Yes', ' Yes']"),
        (["ctrl", "mild", "severe"], "y == 'severe'"),
        ("012", "y == 2"),
        ([f"{k}" for k in range(48)], "y > 23.5"),
        (["0.5", "-0.5", "0.25", "-0.25"], "y > 0"),
    ],
    ids=str,
)
def test_a_positive_for_another_target_is_asked_for(tmp_path, values, positive):
    table = table_of(tmp_path, rows(values, n=48), positive="num > 0")
    told = refusal(table)
    assert "name 'num' is not defined" in told
    table = follow(table, told)
    assert table.positive == positive
    _, _, y = load(table)
    assert 10 <= y.sum() <= 38


@pytest.mark.parametrize(
    "name", ["my y", "class", "a [mm]", "größe", "it's", 'say "q"', "1st", "a\u00a0b"]
)
def test_any_name_can_be_the_targets(tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    content = rows("01", header=f"a,b,{quoted}")
    table = table_of(tmp_path, content, target=name, positive="num > 0")
    assert load(follow(table, refusal(table)))[2].sum() == 20


@pytest.mark.parametrize("name", ["a`b", "a\nb"])
def test_a_name_that_no_expression_can_say_is_refused(tmp_path, name):
    content = rows(header=f'a,b,"{name}"')
    assert "rename" in refusal(table_of(tmp_path, content, target=name))


@pytest.mark.parametrize(
    "positive",
    [
        "y",
        "y >",
        "(y",
        "y = 1",
        "y > '1'",
        "a > 3",
        "True",
        "1/0 > y",
        "",
        None,
        "y[0]",
    ],
    ids=str,
)
def test_a_positive_that_does_not_work_is_told_another(tmp_path, positive):
    table = table_of(tmp_path, rows(), positive=positive)
    told = refusal(table)
    assert follow(table, told).positive == "y == 1" and "takes" not in told


def test_a_positive_that_takes_no_row_shows_the_values(tmp_path):
    told = refusal(table_of(tmp_path, rows(), positive="y == '1'"))
    assert "takes 0 of 40 rows" in told and "0 (20), 1 (20)" in told


def test_a_quantity_is_not_cut_by_the_positive_of_heart_disease(tmp_path):
    values = ["0.5", "-0.5", "0.25", "-0.25"]
    content = rows(values, header="a,b,num")
    table = table_of(tmp_path, content, target="num", positive="num > 0")
    assert "is for data/heart.csv" in refusal(table)
    assert load(replace(table, positive="num > 0.3"))[2].sum() == 10


def test_a_value_with_a_space_is_not_the_other_class_unseen(tmp_path):
    content = rows(["No", "Yes", " Yes", " No"])
    told = refusal(table_of(tmp_path, content, positive="y == 'Yes'"))
    assert "does not take all of ['Yes', ' Yes']" in told
    table = follow(table_of(tmp_path, content), told)
    assert load(table)[2].sum() == 20


def test_a_twin_of_a_quantity_is_found_by_its_order(tmp_path):
    y = np.random.default_rng(0).normal(size=40)
    frame = pd.DataFrame({"a": y**2, "log": -np.exp(y), "id": range(40), "y": y})
    table = table_of(tmp_path, frame.to_csv(index=False), positive="y > 0")
    told = refusal(table)
    assert 'among the features, "log":' in told
    assert list(load(follow(table, told))[0]) == ["a", "id"]


def test_the_values_are_shown_with_those_taken_marked(tmp_path):
    _, target, y = load(table_of(tmp_path, rows("0012")))
    assert counted(target, y == 1) == "0 (20), *1 (10), 2 (10)"
    _, target, y = load(
        table_of(tmp_path, rows([f"{k}" for k in range(40)]), positive="y >= 30")
    )
    assert counted(target, y == 1) == "0 to 29 (30), *30 to 39 (10)"


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
    """The steps 1 to 3 of README's Your own data; (refusals, the finished check)."""
    (project.path / "data" / "own.csv").write_text(content)
    set_constant(project, "DATA", 'HERE / "data" / "own.csv"')
    set_constant(project, "TARGET", f'"{target}"')
    said = []
    while (done := project.run()).returncode == 3:
        assert done.stderr.startswith("refused: ") and done.stderr.count("\n") == 1
        assert len(said) < 6
        said.append(done.stderr)
        name, equals, source = cure_in(said[-1])
        set_constant(project, name, source, equals)
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
    assert [cure_in(said)[0] for said in own_project.said] == [
        "DATA_SHA256",
        "POSITIVE",
    ]
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
    put(sandbox, 'SYSTEM = "/usr', f'SYSTEM = "{open_to_all} /usr')
    (open_to_all / "own.csv").write_text(rows())
    # A link to it opens it as well.
    (project.path / "data" / "own.csv").symlink_to(open_to_all / "own.csv")
    set_constant(project, "DATA", '"data/own.csv"')
    done = project.run()
    assert done.returncode == 3 and f"candidates may read {open_to_all}" in done.stderr


@pytest.mark.parametrize(
    "path, said", [("data", "is a folder"), ("data/none.csv", "is missing")]
)
def test_a_path_that_is_no_file_is_refused(tmp_path, path, said):
    (tmp_path / "data").mkdir()
    table = replace(table_of(tmp_path, rows()), path=tmp_path / path)
    told = refusal(table)
    assert said in told and "DATA" in told


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


# --------------------------------------------------------------- data from the net
def raw_file():
    """The bytes of UCI's processed.cleveland.data, worked out from heart.csv."""
    lines = (ROOT / "data" / "heart.csv").read_text().splitlines()[1:]
    table = [line.split(",") for line in lines]
    cells = [[str(float(c)) if c else "?" for c in row[:-1]] for row in table]
    texts = [",".join([*c, row[-1]]) for c, row in zip(cells, table, strict=True)]
    return "".join(text + "\n" for text in texts).encode()


@pytest.fixture
def served():
    """(content of a loopback server: a list of one bytes, its URL)."""
    content = [b""]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content[0])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield content, f"http://127.0.0.1:{server.server_port}/data"
    server.shutdown()


def without_data(project, url):
    """The project, its data gone, with this address of the raw file."""
    room = project.path / ".claude" / "harness" / "table.py"
    text = room.read_text()
    put(room, text[text.index("RAW_URL = (") : text.index("RAW_SHA256")], f"{url = }\n")
    put(room, "url = ", "RAW_URL = ")
    (project.path / "data" / "heart.csv").unlink()
    return project


def loopback_only():
    """The environment without a proxy."""
    return {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}


def test_raw_file_worked_out_from_the_table_is_ucis():
    assert hashlib.sha256(raw_file()).hexdigest() == RAW_SHA256


def test_missing_data_is_made_from_ucis_file_byte_for_byte(project, served):
    content, url = served
    content[0] = raw_file()
    done = without_data(project, url).run(env=loopback_only() | IDENTITY)
    assert done.returncode == 0, done.stderr
    made = (project.path / "data" / "heart.csv").read_bytes()
    assert made == (ROOT / "data" / "heart.csv").read_bytes()


def test_another_file_from_the_net_is_refused_and_not_written(project, served):
    content, url = served
    content[0] = raw_file().replace(b"63.0", b"64.0", 1)
    done = without_data(project, url).run(env=loopback_only())
    assert done.returncode == 3 and "git restore data/heart.csv" in done.stderr
    names = os.listdir(project.path / "data")
    assert not [name for name in names if "heart" in name]


def test_missing_data_without_a_network_is_one_line_with_the_cure(project):
    done = without_data(project, "http://127.0.0.1:9/data").run(env=loopback_only())
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "git restore data/heart.csv" in done.stderr
    block, _ = project.evaluate()
    assert "missing" in block["status"] and "git restore" in block["status"]
