"""What is promised of what is said of a table: describe, weak, the notes of check."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

import prepare
from harness import describe, preflight, weak
from harness.records import Block, Record
from harness.table import Rows, Table, load
from hooks.hooks import check_command


def visits(n=400):
    """A frame with a column of each kind, and classes that some of them tell of."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, n)
    names = [f"{title} {i}" for i, title in enumerate(rng.choice(["Mr", "Mrs"], n))]
    X = pd.DataFrame(
        {
            "name": names,
            "ward": rng.choice(["east wing", "west wing"], n),
            "code": np.where(rng.random(n) < 0.8, y, 2),
            "dose": rng.integers(0, 30, n).astype(float),
            "seen": pd.Series(pd.date_range("2020-01-31", periods=n)).astype(str),
            "site": "A",
            "id": rng.permutation(n),
        }
    )
    X.loc[y[:50].nonzero()[0], "dose"] = np.nan
    X.loc[[5, 6], "ward"] = "an odd ward"
    return X, y


def said_of(X, y, dates=()):
    return describe.describe(X, y, prepare.split(y)[: prepare.N_SPLITS], dates)


# -------------------------------------------------------------------- describe
def test_describe_has_all_columns_in_their_order_with_their_auc():
    X, y = visits()
    said = said_of(X, y)
    train = prepare.split(y)[-1][0]
    assert (
        f"train part: 320 rows, {y[train].sum()} of them positive, 7 features" in said
    )
    found = re.findall(r"^(\S+) +\S+ +\d+ +\d+ +([01]\.\d{3})", said, re.M)
    assert [name for name, _ in found] == [*X]
    aucs = [
        roc_auc_score(y[held], X["id"].iloc[held])
        for _, held in prepare.split(y)[: prepare.N_SPLITS]
    ]
    assert dict(found)["id"] == f"{np.mean(aucs):.3f}"


def test_describe_shows_whole_levels_with_their_positive_rates():
    X, y = visits()
    X["zip"] = np.where(X["id"] % 2, 1234567.0, 1234568.0)
    said, train = said_of(X, y), prepare.split(y)[-1][0]
    assert "1234567 (" in said and "1234568 (" in said
    for level, rows in X.iloc[train].groupby("ward"):
        rate = y[rows.index].mean()
        small = len(rows) < describe.LEAST_ROWS
        assert f"'{level}' ({len(rows)}{'' if small else f', {rate:.0%}'})" in said
    # Of few rows a rate would be a label.
    assert re.search(r"'an odd ward' \(\d\)", said)
    both = X["ward"].iloc[train].eq("west wing") & X["code"].iloc[train].eq(1)
    rate = y[train][both].mean()
    assert f"1 & 'west wing' ({both.sum()}, {rate:.0%})" in said


def test_the_same_column_under_another_name_makes_no_pair():
    X, y = visits()
    pairs = re.findall(r"^(.* & .*?): ", said_of(X, y), re.M)
    again = said_of(X.assign(again=X["code"].map("code {}".format)), y)
    assert len(pairs) > 0
    assert len(re.findall(r"^(.* & .*?): ", again, re.M)) == len(pairs)


def test_describe_shows_examples_words_gaps_zeros_and_dates():
    X, y = visits()
    X["day"] = pd.to_datetime(X["seen"]).sub(pd.Timestamp(0)) / pd.Timedelta(days=1)
    said, train = said_of(X, y, ["day"]), prepare.split(y)[-1][0]
    part = X.iloc[train]
    assert sum(f"'{name}'" in said for name in part["name"]) == describe.EXAMPLES
    assert f"mrs {part['name'].str.startswith('Mrs').sum()}x" in said
    present = y[train][part["dose"].notna()].mean()
    assert f"missing: 100% positive, present: {present:.0%}" in said
    assert f"0 in {(part['dose'] == 0).sum()} rows" in said
    first, last = part["seen"].min(), part["seen"].max()
    assert re.search(f"^day +date .*{first}, .*, {last}$", said, re.M)
    assert "note dates, in X the number of days since 1970-01-01: 'day'\n" in said


def test_describe_notes_what_is_odd_in_a_table():
    X, y = visits()
    said = said_of(X, y)
    assert "note text that is dates: 'seen'\n" in said
    assert "note text of rare values: 'name'\n" in said
    assert "note the same in all rows: 'site'\n" in said
    assert "note a number of its own in each row: 'id'\n" in said
    assert "as another" not in said
    train = prepare.split(y)[-1][0]
    positive, negative = (train[y[train] == label][0] for label in (1, 0))
    X.loc[positive] = X.loc[negative]
    note = "note rows with the same features as another: 2, 2 of them with both classes"
    assert note in said_of(X, y)


def test_describe_never_looks_at_a_test_row():
    X, y = visits()
    said, test = said_of(X, y), prepare.split(y)[-1][1]
    X.loc[test, "dose"] = 1e9
    X.loc[test, ["name", "ward", "seen", "site"]] = "SECRET"
    assert said_of(X, y) == said


def test_describe_fits_a_screen_whatever_the_table():
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(100, 500))).rename(columns="x\n{}".format)
    y = (wide["x\n321"] > 0).to_numpy(dtype=int)
    long = pd.DataFrame(
        {
            f"{k}": rng.permutation([f"{i} {'some words ' * 20}" for i in range(100)])
            for k in range(20)
        }
    )
    for X in (wide, long):
        lines = said_of(X, y).splitlines()
        assert len(lines) <= 60 and max(map(len, lines)) <= 120
    lines = said_of(wide, y).splitlines()
    assert re.search(r"^x 321 .* 1\.000 ", "\n".join(lines), re.M)
    assert re.search(r"^and \d+ more, auc 0", "\n".join(lines), re.M)


# ------------------------------------------------------------------------ weak
def record_of(y, n_repeats=3, n_splits=4):
    """A record of scores at random, and the train rows."""
    rng = np.random.default_rng(1)
    folds = np.array([rng.integers(0, n_splits, len(y)) for _ in range(n_repeats)])
    folds[:, ::5] = -1
    ranks = rng.integers(1, 30, folds.shape) + 8.0 * y
    return Record(Block(), "", {}, None, ranks, folds), np.flatnonzero(folds[0] >= 0)


def auc_by_scikit_learn(part, y, record):
    """The mean AUC over the folds of these rows, weighted by their numbers of pairs."""
    aucs, pairs = [], []
    for ranks, folds in zip(record.ranks, record.folds, strict=True):
        for fold in set(folds) - {-1}:
            rows = part & (folds == fold)
            n, n_positive = rows.sum(), y[rows].sum()
            if 0 < n_positive < n:
                aucs.append(roc_auc_score(y[rows], ranks[rows]))
                pairs.append(n_positive * (n - n_positive))
    return f"{np.average(aucs, weights=pairs):.2f}"


def test_weak_agrees_with_roc_auc_score_on_each_part():
    X, y = visits()
    # A number of eight digits is shown with all of them.
    X["id"] += 20_190_000
    record, train = record_of(y)
    parts = {"all rows": np.ones(len(y), dtype=bool)}
    parts |= {f"code: {k}": (X["code"] == k).to_numpy() for k in (0, 1, 2)}
    parts["ward: 'east wing'"] = (X["ward"] == "east wing").to_numpy()
    low = X["id"][train].quantile(1 / 3)
    third = X["id"][train][X["id"][train] <= low]
    parts[f"id: {third.min()} to {third.max()}"] = (X["id"] <= low).to_numpy()
    lines = weak.weak(X, y, record).splitlines()
    found = {line[29:]: line.split() for line in lines[1:]}
    for part, rows in parts.items():
        inside = y[train[rows[train]]]
        n, n_positive = len(inside), inside.sum()
        if min(n_positive, n - n_positive) < describe.LEAST_ROWS:
            assert part not in found
        else:
            cells = [auc_by_scikit_learn(rows, y, record), str(n), str(n_positive)]
            auc, _, _, *numbers = found[part][:5]
            assert [auc, *numbers] == cells
    assert len(found.keys() & parts.keys()) >= 4


def test_weak_is_a_short_list_with_the_worst_first():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(400, 30)))
    y = rng.integers(0, 2, 400)
    lines = weak.weak(X, y, record_of(y)[0]).splitlines()
    cells = [line.split() for line in lines[2:]]
    ends = [float(auc) + float(half) for auc, _, half, *_ in cells]
    # Both have two digits.
    assert len(lines) == 20 and (np.diff(ends) > -0.021).all()
    assert "all rows" in lines[1]


def test_a_part_that_is_weak_comes_before_a_few_rows_that_are_low_by_chance():
    y, rows = np.tile([0, 1], 600), np.arange(1200)
    few, half = rows < 24, rows >= 600
    scores = np.random.default_rng(0).normal(size=1200) + y * np.where(half, 0.4, 1.5)
    scores[few] = rows[few]
    ranks, folds = rankdata(scores)[None], np.zeros((1, 1200), dtype=int)
    record = Record(Block(), "", {}, None, ranks, folds)
    lines = weak.weak(pd.DataFrame({"few": few, "half": half}), y, record).splitlines()
    places = {line[29:]: n for n, line in enumerate(lines)}
    first, later = places["half: True"], places["few: True"]
    assert 1 < first < later and float(lines[later][:4]) < float(lines[first][:4])


def test_the_error_of_an_auc_is_its_spread_over_samples():
    rng, errors, aucs = np.random.default_rng(0), [], []
    y = np.repeat([0, 1], [90, 30])
    for _ in range(2000):
        aucs.append(roc_auc_score(y, rng.normal(size=len(y)) + y))
        errors.append(weak.error_of_auc(aucs[-1], 30, 90))
    assert np.std(aucs) == pytest.approx(np.mean(errors), rel=0.1)


def test_weak_never_looks_at_a_test_row():
    X, y = visits()
    record, train = record_of(y)
    said, test = weak.weak(X, y, record), np.setdiff1d(np.arange(len(y)), train)
    X.loc[test, "dose"], X.loc[test, "ward"], y[test] = 1e9, "SECRET", 1 - y[test]
    record.ranks[:, test] = 0
    assert weak.weak(X, y, record) == said


def test_weak_reads_the_record_of_the_bar_and_the_gate_grants_it(project):
    check_command("uv run prepare.py weak", "autoresearch/trial")
    assert "is not a run" in project.run("weak").stderr
    project.git("checkout", "-qb", "autoresearch/trial")
    refused = project.run("weak")
    assert refused.returncode == 3 and "uv run prepare.py evaluate" in refused.stderr
    project.evaluate_and_log()
    lines = project.run("weak").stdout.splitlines()
    assert lines[1].split() == ["0.90", "±", "0.04", "242", "111", "all", "rows"]
    assert len(lines) == 20 and any("thal: 3" in line for line in lines)


# ------------------------------------------------------------- the check's notes
def notes_on(X, y, read=(), name="own.csv", **settings):
    """The notes of the check on such a table, by their first word."""
    loaded = Rows(X, None, y, [], settings.get("n_left_out", 0))
    table = Table(ROOT / "data" / name, dict(read), "y", "y == 1", 10)
    folds = prepare.split(y)[: prepare.N_SPLITS]
    return dict(note.split(": ", 1) for note in preflight.notes(loaded, table, folds))


def test_heart_csv_has_no_notes():
    X, y = prepare.load_data()
    assert notes_on(X, y, name="heart.csv") == {}


def test_a_table_of_ones_own_wants_a_sentence_on_each_column(monkeypatch, tmp_path):
    X, y = prepare.load_data()
    assert "a sentence on each" in notes_on(X, y)["steering"]
    written = (ROOT / "program.md").read_text().replace(preflight.TEMPLATE, "- x")
    (tmp_path / "program.md").write_text(written)
    monkeypatch.setattr(preflight, "PROGRAM", tmp_path / "program.md")
    assert notes_on(X, y) == {}


def test_copies_of_rows_are_noted_since_folds_and_test_part_would_share_them():
    X, y = prepare.load_data()
    X.iloc[5:8] = X.iloc[4].to_numpy()
    assert notes_on(X, y)["equal rows"].startswith("4 of 303 have the same ")


def test_what_the_baseline_loses_is_noted():
    X, y = visits()
    X["price"] = [f"$1,{i}.50" for i in range(len(y))]
    X["sure"] = np.where(y == 1, "yes", "no")
    X["died"] = np.where(y == 1, X["id"], np.nan)
    X["mark"] = np.where(y == 1, 2, X["id"] % 2 * 2 + 1)
    found = notes_on(X, y, n_left_out=7)
    assert found["rows"].startswith("7 have no target and are left out")
    assert "'price', whose values are rare, such as '$1,0.50'" in found["text"]
    cure = "READ |= {'usecols': lambda name: name not in ['sure', 'died', 'mark']}"
    assert found["leak"].startswith("'sure', 'died', 'mark' (each) tells ")
    assert cure in found["leak"]
    assert "out of READ's usecols" in notes_on(X, y, {"usecols": None})["leak"]


@pytest.mark.parametrize(
    "style", ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", *describe.DATE_FORMATS[1:]]
)
def test_dates_in_text_are_noted_with_the_line_that_reads_them(tmp_path, style):
    dates = pd.Series(pd.date_range("1999-12-01", periods=40))
    y = np.array([0, 1] * 20)
    X = pd.DataFrame({"a": range(40), "on": dates.dt.strftime(style), "y": y})
    X.to_csv(tmp_path / "own.csv", index=False)
    table = Table(tmp_path / "own.csv", {}, "y", "y == 1", 10)
    note = notes_on(load(table).X, y)["dates"]
    constants = {"READ": table.read}
    exec(re.search(r"READ \|= .*", note)[0], constants)
    loaded = load(table)
    assert loaded.dates == ["on"] and "dates" not in notes_on(loaded.X, y)
    days = (dates - pd.Timestamp(0)) / pd.Timedelta(days=1)
    assert loaded.X["on"].tolist() == days.tolist()
