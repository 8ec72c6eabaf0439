"""What an agent may see at night: the gain beside its noise, what was tried, limits."""

import json
import math
import re
import threading
import time

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Project, replace
from sklearn.model_selection import (
    RepeatedStratifiedKFold,
    cross_val_score,
    train_test_split,
)

from harness.records import standard_error

BASELINE = (ROOT / "train.py").read_text()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A project on the branch of a run whose baseline is logged."""
    project = Project(tmp_path_factory.mktemp("started") / "project")
    project.git("checkout", "-qb", "autoresearch/trial")
    project.evaluate_and_log()
    return project


@pytest.fixture
def run(started, tmp_path):
    """A copy of it."""
    return started.copy(tmp_path / "project")


def with_C(C, more=""):
    """The baseline with another penalty, and more lines."""
    return re.sub(r"max_iter=1000[^)]*", f"max_iter=1000, C={C}", BASELINE) + more


def record_of(project, commit="HEAD"):
    """The arrays of a commit's record."""
    name = f"{project.git('rev-parse', commit)}.npz"
    with np.load(project.path / ".git" / "autoresearch" / name) as arrays:
        return dict(arrays)


# ------------------------------------------------------------------ the noise
def test_repeats_are_those_of_scikit_learn(project):
    replace(project.path / "prepare.py", "N_REPEATS = 1\n", "N_REPEATS = 10\n")
    block, _ = project.evaluate()
    table = pd.read_csv(project.path / "data" / "heart.csv")
    y = (table.pop("num") > 0).to_numpy(dtype=int)
    scope = {"__name__": "train"}
    exec(BASELINE, scope)
    rows, _ = train_test_split(
        range(len(y)), test_size=0.2, stratify=y, random_state=42
    )
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=10, random_state=42)
    model, X = scope["build_pipeline"](), table.iloc[rows]
    aucs = cross_val_score(model, X, y[rows], cv=cv, scoring="roc_auc")
    assert block["val_auc"] == f"{aucs.mean():.6f}"
    assert block["test_auc"] == "0.951299"


def test_a_keep_must_be_above_the_bar_by_min_gain(project):
    replace(project.path / "prepare.py", "MIN_GAIN = 0.0\n", "MIN_GAIN = 0.005\n")
    project.git("commit", "-qam", "careful")
    project.git("checkout", "-qb", "autoresearch/trial")
    project.evaluate_and_log()
    assert "(Δ +0.0041) | DISCARDED" in project.iterate(with_C(0.1)).stdout
    project.git("reset", "-q", "--keep", "HEAD~1")
    assert "(Δ +0.0059) | KEPT" in project.iterate(with_C(0.3)).stdout
    # What the run was to ask for, whatever is asked for now.
    project.git("checkout", "-q", "trunk")
    replace(project.path / "prepare.py", "MIN_GAIN = 0.005\n", "MIN_GAIN = 0.009\n")
    assert "rows, git and frozen files agree" in project.run("progress", "trial").stdout


def test_the_gain_stands_beside_its_noise(run):
    iteration, noise = run.iterate(with_C(0.1)).stdout.splitlines()
    assert iteration.startswith("iter 1 | val_auc=0.9001 (Δ +0.0041) | KEPT — ")
    pattern = r"± (0\.\d{4}) \(2 standard errors\) over the folds, 3 of 5 up: within .*"
    said = float(re.fullmatch(pattern, noise)[1])
    old, new = (record_of(run, c)["fold_aucs"].ravel() for c in ("HEAD~1", "HEAD"))
    error = np.std(new - old, ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    assert said == round(2 * error, 4) == round(2 * standard_error(new - old, 5), 4)


def test_a_keep_is_told_from_a_tie_in_the_line(run):
    results = run.path / "results.tsv"
    results.write_text(results.read_text().replace("0.895971", "0.895969"))
    was = f"{run.git('rev-parse', 'HEAD')} keep 0.895969"
    run.git("config", "branch.autoresearch/trial.logged", was)
    said = run.iterate(BASELINE + "\n# the same\n").stdout
    assert "(Δ +0.000002) | KEPT" in said
    assert "(Δ +0.0000) | DISCARDED" in run.iterate(BASELINE + "\n# again\n").stdout


def test_a_record_that_a_power_cut_has_emptied_is_no_record(run):
    (record,) = (run.path / ".git" / "autoresearch").glob("*.npz")
    record.write_bytes(b"")
    done = run.iterate(with_C(0.1))
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert run.run("progress").returncode == 0


def test_a_record_holds_ranks_by_fold_and_no_label_or_test_score(run):
    record = record_of(run)
    assert sorted(record) == ["fold_aucs", "folds", "ranks", "versions"]
    assert record["fold_aucs"].mean() == pytest.approx(0.895971, abs=5e-7)
    is_test = record["folds"] == -1
    assert is_test.sum() == 61 and np.isnan(record["ranks"][is_test]).all()
    for fold in range(5):
        ranks = record["ranks"][record["folds"] == fold]
        assert ranks.sum() == len(ranks) * (len(ranks) + 1) / 2
    assert "scikit-learn" in json.loads(str(record["versions"]))


def test_without_a_record_the_line_is_whole(run):
    for record in (run.path / ".git" / "autoresearch").glob("*.npz"):
        record.write_bytes(b"damaged")
    said = run.iterate(with_C(0.1))
    assert said.returncode == 0
    assert said.stdout.count("\n") == 1 and "KEPT" in said.stdout


# ------------------------------------------------------------------- prints
def test_prints_come_back_by_hand_and_not_in_the_loop(project):
    source = with_C(1.0, "\nprint('inner score 0.9')\n")
    _, done = project.evaluate(source)
    assert "inner score" not in done.stdout + done.stderr
    by_hand = project.shell("python train.py 2>&1")
    assert by_hand.count("| inner score 0.9") == 6


def test_a_crash_shows_what_that_job_printed(project):
    source = with_C(1.0) + "\nprint('about to fail')\nraise ValueError('no')\n"
    _, done = project.evaluate(source)
    assert "| about to fail" in done.stderr and "| ValueError: no" in done.stderr


def test_a_crash_after_the_folds_says_so_and_shows_nothing_of_the_test(project):
    fault = "    if len(X) == 61:\n        raise ValueError('12.5')\n    return X"
    block, done = project.evaluate(BASELINE.replace("    return X", fault))
    pattern = r"crashed \(test: ValueError: [\d.]+; the folds were done at [\d.]+ s\)"
    assert re.fullmatch(pattern, block["status"])
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------- what was tried
def test_work_trees_share_what_was_tried_but_no_bar(run, tmp_path):
    run.iterate(with_C(0.1).replace("HYPOTHESIS = ", 'HYPOTHESIS = "weaker"  # '))
    tree = tmp_path / "tree"
    run.git("worktree", "add", "-q", "-b", "autoresearch/other", str(tree), "trunk")
    other = object.__new__(Project)
    other.path = tree
    assert "0.900075\tkeep\tweaker" in other.run("tried").stdout
    assert "(Δ none) | KEPT" in other.iterate(with_C(0.00001)).stdout
    assert "iter 1" in run.run("state").stdout


def test_what_was_tried_on_another_table_is_left_out(run):
    run.git("checkout", "-qb", "other-table", "trunk")
    prepare = run.path / "prepare.py"
    text = prepare.read_text()
    prepare.write_text(re.sub('DATA_SHA256 = "c6', 'DATA_SHA256 = "d7', text))
    run.git("commit", "-qam", "another table")
    assert "0.895971" not in run.run("tried").stdout
    run.git("checkout", "-q", "autoresearch/trial")
    assert "0.895971\tkeep" in run.run("tried").stdout


# ------------------------------------------------------------------- limits
def test_limits_are_in_iterations_and_in_hours(run):
    assert (
        "ends after 1 iterations or at " in run.run("limit", "trial", "1", "2h").stdout
    )
    until = int(run.git("config", "branch.autoresearch/trial.until"))
    assert until == pytest.approx(time.time() + 7200, abs=60)
    assert "next: propose" in run.run("state").stdout
    run.git("config", "branch.autoresearch/trial.until", str(int(time.time()) - 1))
    assert "next: halt: the limit of hours" in run.run("state").stdout
    # Typed again without hours: the old ones are over.
    assert "ends after 1 iterations" in run.run("limit", "trial").stdout
    assert "next: propose" in run.run("state").stdout
    run.iterate(with_C(0.1))
    assert "next: halt: the limit of 1 iterations" in run.run("state").stdout
    run.run("limit", "trial", "2")
    assert "next: propose" in run.run("state").stdout
    assert "'8' is a second limit" in run.run("limit", "trial", "2", "8").stderr


def test_a_lock_that_another_run_holds_for_a_moment_is_waited_for(run):
    lock = run.path / ".git" / "config.lock"
    lock.touch()
    threading.Timer(1, lock.unlink).start()
    assert "ends after 7 iterations" in run.run("limit", "trial", "7").stdout


@pytest.mark.parametrize(
    "tag", ["a b", "a/b", "-x", "ä", "a..b", "a.lock", "a'b", "$x"]
)
def test_an_odd_tag_is_refused_with_what_is_permitted(project, tag):
    done = project.run("limit", "--", tag)
    assert done.returncode == 3
    assert "letters, digits" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("word", ["8x", "0.5h", "h", "-3", "twenty"])
def test_an_odd_limit_is_refused_with_what_is_meant(project, word):
    done = project.run("limit", "--", "trial", word)
    assert done.returncode == 3 and "25 (iterations), 8h (hours)" in done.stderr
