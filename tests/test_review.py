"""The review tells what a run was worth, and can be believed."""

import csv
import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, Project, replace
from scipy import stats
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.svm import SVC

from review import gain

ALPHA = 0.05


# ------------------------------------------------------------- the statistics
def test_corrected_t_test_is_the_one_of_scikit_learns_worked_example():
    # "Statistical comparison of models using grid search", linear against rbf
    X, y = make_moons(noise=0.352, random_state=1, n_samples=100)
    cv = RepeatedStratifiedKFold(n_splits=10, n_repeats=10, random_state=0)
    rbf, linear = (
        cross_val_score(
            SVC(kernel=kernel, random_state=0), X, y, cv=cv, scoring="roc_auc"
        )
        for kernel in ("rbf", "linear")
    )
    found = gain.corrected_t_test(rbf, linear, folds=10)
    assert found["mean"] / found["standard_error"] == pytest.approx(0.750, abs=5e-4)
    assert found["p"] / 2 == pytest.approx(0.227, abs=5e-4)  # theirs is one-sided
    assert found["df"] == 99


def test_corrected_t_test_on_hand_written_scores_agrees_with_scipy():
    new, old = [0.9, 0.8, 0.85, 0.95, 0.7, 0.8], [0.85, 0.8, 0.8, 0.9, 0.75, 0.7]
    t = stats.ttest_rel(new, old).statistic / np.sqrt(1 + 6 / 2)  # 3 folds twice
    found = gain.corrected_t_test(new, old, folds=3)
    assert found["p"] == pytest.approx(2 * stats.t(5).sf(abs(t)))
    assert found["mean"] == pytest.approx(0.2 / 6)
    assert found["mean"] / found["standard_error"] == pytest.approx(t)


@pytest.mark.parametrize("shift, p", [(0.0, 1.0), (0.125, 0.0)])
def test_the_same_difference_on_every_fold_needs_no_division_by_zero(shift, p):
    old = np.array([0.5, 0.75, 0.25, 0.5])
    assert gain.corrected_t_test(old + shift, old, folds=2)["p"] == p


def test_auc_by_ranks_agrees_with_scikit_learn_ties_included():
    random = np.random.default_rng(0)
    for _ in range(20):
        y = np.array([0, 1, *random.integers(0, 2, 40)])
        scores = random.integers(0, 9, 42) / 9
        assert gain.auc(y, scores) == pytest.approx(roc_auc_score(y, scores))


def test_bootstrap_interval_of_accuracy_agrees_with_the_binomial():
    y = np.repeat([0, 1], 100)
    final = np.concatenate([[0.5], np.where(np.arange(200) % 5, y, 1 - y)])
    low, high = gain.on_test(y, {"start": final})["start"]["test_acc_interval"]
    exact = stats.binom(200, 0.8).ppf([0.025, 0.975]) / 200
    assert [low, high] == pytest.approx(list(exact), abs=0.006)


def test_bootstrap_resamples_keep_the_classes_and_pair_the_models():
    y = np.repeat([0, 1], [9, 4])
    assert all(y[rows].sum() == 4 for rows in gain.resamples(y))
    final = np.concatenate([[0.5], np.random.default_rng(1).random(13)])
    found = gain.on_test(y, {"start": final, "chosen": final})
    assert found["gain"]["test_auc_interval"] == [0, 0]
    assert found["start"]["test_auc_interval"][0] < found["start"]["test_auc"]


def lda_scores(X, y, fit, held):
    """Closed-form linear discriminant: scores of the held-out rows."""
    X_fit, y_fit = X[fit], y[fit]
    means = [X_fit[y_fit == k].mean(axis=0) for k in (0, 1)]
    within = np.cov((X_fit - np.array(means)[y_fit]).T)
    return X[held] @ np.linalg.solve(within, means[1] - means[0])


def simulated_reviews(runs, noises):
    """The test of best against start: two noisy views of the same cause."""
    random, found = np.random.default_rng(7), []
    y = np.arange(242) % 2
    folds = gain.fresh_folds(np.arange(242), y)
    for _ in range(runs):
        cause = 1.2 * y + random.normal(size=242)
        shared = random.normal(size=(242, 3)) + 0.4 * y[:, None]
        scores = []
        for noise in noises:
            view = cause[:, None] + noise * random.normal(size=(242, 2))
            X = np.hstack([shared, view])
            scores.append([gain.auc(y[h], lda_scores(X, y, f, h)) for f, h in folds])
        found.append(gain.corrected_t_test(scores[1], scores[0], gain.FOLDS))
    return found


def test_equal_pipelines_are_called_different_in_about_5_percent_of_runs_at_most():
    found = simulated_reviews(200, noises=(1.0, 1.0))
    called = sum(numbers["p"] < ALPHA for numbers in found)
    assert called <= 200 * ALPHA, f"{called} of 200"


def test_a_better_pipeline_is_found():
    found = simulated_reviews(20, noises=(5.0, 0.2))
    called = sum(numbers["p"] < ALPHA and numbers["mean"] > 0 for numbers in found)
    assert called >= 19, f"{called} of 20"


def test_fresh_folds_count_by_whole_repeats_that_both_models_have():
    y, random = np.arange(100) % 2, np.random.default_rng(0)
    pairs = gain.fresh_folds(np.arange(100), y)
    full, short = gain.Fits(), gain.Fits()
    for i, (_, held) in enumerate(pairs):
        full.answers[i] = np.r_[0.5, y[held] + random.normal(size=len(held))]
    # One fold of the third repeat is missing.
    short.answers = {i: full.answers[i] for i in range(14)}
    found = gain.on_fresh_folds(y, pairs, {"start": full, "chosen": short})
    assert found["start"]["repeats"] == gain.REPEATS
    assert found["chosen"]["repeats"] == 2
    assert found["chosen"]["gain"]["df"] == 9 and found["chosen"]["gain"]["mean"] == 0
    assert gain.on_fresh_folds(y, pairs, {"start": gain.Fits()}) == {}


# --------------------------------------------------------------- whole reviews
def start_run(path):
    """A project on branch autoresearch/demo whose reviews fit less, to be quick."""
    project = Project(path)
    gain_py = path / ".claude" / "review" / "gain.py"
    replace(gain_py, "REPEATS, FOLDS = 10, 5", "REPEATS, FOLDS = 2, 5")
    replace(
        gain_py, "RESAMPLES, RESAMPLE_SEED = 2000,", "RESAMPLES, RESAMPLE_SEED = 200,"
    )
    project.git("commit", "-qam", "quick reviews")
    project.git("checkout", "-qb", "autoresearch/demo")
    return project


def score_start(project):
    """Score and log the commit where the run starts."""
    (project.path / "run.log").write_text(project.run("evaluate").stdout)
    return project.run("log")


def undo(project):
    """What the loop does after a discard or a crash."""
    project.git("reset", "-q", "--hard", "HEAD~1")


def edit_results(project, old, new):
    """Replace old by new, which occurs once, in results.tsv."""
    results = project.path / "results.tsv"
    text = results.read_text()
    assert text.count(old) == 1, text
    results.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A run with a start, a keep, a discard and a crash; don't change it."""
    project = start_run(tmp_path_factory.mktemp("night") / "project")
    train = (project.path / "train.py").read_text()
    better = train.replace("max_iter=1000", "C=0.1").replace("baseline:", "C=0.1,")
    assert "KEPT" in score_start(project).stdout
    assert "KEPT" in project.iterate(better).stdout
    assert "DISCARDED" in project.iterate(better.replace("C=0.1,", "again,")).stdout
    undo(project)
    assert "CRASHED" in project.iterate("1 / 0\n" + train).stdout
    undo(project)
    return project


@pytest.fixture(scope="module")
def reviewed(night):
    """(state before, the review as text, as JSON, state after) of the night."""

    def state():
        commands = ["status --porcelain", "rev-parse HEAD", "reflog", "worktree list"]
        return [night.git(*c.split()) for c in commands] + [night.git("show-ref")]

    before = state()
    return before, night.run("review"), night.run("review", "--json"), state()


def test_a_true_record_is_told_and_exits_0(reviewed):
    _, text, _, _ = reviewed
    assert text.returncode == 0, text.stdout + text.stderr
    counts = "3 iterations in 0.0 h: 1 kept, 1 discarded, 1 crashed"
    assert f"autoresearch/demo: {counts}" in text.stdout
    assert "record: true, scored again alike: start" in text.stdout
    assert "start: 10 of 11 fits, about" in text.stderr  # progress
    assert "s to the end" in text.stderr


def test_review_changes_neither_head_nor_index_nor_work_tree(reviewed):
    before, _, _, after = reviewed
    assert before == after


def test_json_says_what_the_text_says(reviewed):
    _, text, as_json, _ = reviewed
    found, words = json.loads(as_json.stdout), text.stdout
    assert as_json.returncode == 0 and found["record_is_true"] is True
    assert found["verdict"][1:] in words
    assert found["chosen"][:7] in words and found["scored"] == 3
    low, high = found["gain"]["interval"]
    interval = f"{found['gain']['mean']:+.4f}, 95 % [{low:+.4f}, {high:+.4f}]"
    assert interval in words and found["gain"]["corrected"] is True
    assert f"this run climbed {found['luck']['climb']:+.4f}" in words
    for numbers in found["fresh"].values():
        assert f"{numbers['mean']:.4f} (" in words
    for model in found["test"].values():
        low, high = model["test_auc_interval"]
        assert f"{model['test_auc']:.4f} [{low:.4f}, {high:.4f}]" in words
    for keep in found["keeps"]:
        assert f"{keep['commit']:.7}  {keep['val_auc']:.4f}" in words
        assert set(keep["fresh"]) == {"mean", "se"}
    assert set(found["keeps"][1]["corrected"]) == {"mean", "se"}
    assert [keep["removed"] for keep in found["keeps"]] == [None, 2]
    (test,) = found["leak"].values()
    assert not test["found"] and "leak: none (" in words


def test_the_last_words_are_which_commit_to_take(reviewed):
    _, text, _, _ = reviewed
    *_, sentence, picture = text.stdout.strip().split("\n\n")
    assert sentence.startswith(("Take ", "Stay with the start"))
    assert picture == "picture: progress.png"


def test_review_counts_how_often_the_test_set_was_looked_at(reviewed):
    _, text, as_json, _ = reviewed
    assert "looked at 1 time by reviews" in text.stdout
    assert json.loads(as_json.stdout)["test_looks"] == 2


def test_start_and_chosen_stand_in_a_table_of_the_automl_benchmark(reviewed):
    _, text, as_json, _ = reviewed
    found = json.loads(as_json.stdout)
    header, rows = found["amlb"][0], list(csv.DictReader(found["amlb"]))
    assert header in text.stdout
    assert len(rows) == len({found["keeps"][0]["commit"], found["chosen"]})
    for row, name in zip(rows, ("start", "chosen"), strict=False):
        assert (row["task"], row["constraint"]) == ("heart", "180s")
        assert row["framework"] == f"autoresearch_{name}"
        value = found["test"][name]["test_auc"]
        assert float(row["result"]) == pytest.approx(value, abs=1e-6)
        assert float(row["training_duration"]) > 0 and float(row["duration"]) > 0


def test_the_picture_is_drawn(reviewed, night):
    assert "picture: progress.png" in reviewed[1].stdout
    assert (night.path / "progress.png").read_bytes()[:4] == b"\x89PNG"


def test_falsified_rows_and_a_changed_frozen_file_are_named_and_exit_1(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    _, _, best, discard, _ = (project.path / "results.tsv").read_text().splitlines()
    auc = best.split("\t")[1]
    edit_results(project, best, best.replace(auc, "0.910000"))
    edit_results(project, discard, discard.replace(auc, "0.920000"))
    with open(project.path / "program.md", "a") as file:
        file.write("be generous\n")
    project.git("commit", "-qam", "more freedom")
    done = project.run("review")
    assert done.returncode == 1
    assert "program.md: frozen, but changed in autoresearch/demo" in done.stdout
    assert f"{best[:7]}: val_auc is 0.910000 in its row, {auc} when scored again" in (
        done.stdout
    )
    assert (
        f"{discard[:7]}: a discard with 0.920000, above its bar 0.910000" in done.stdout
    )


def test_a_model_that_crashes_is_told_and_the_other_still_measured(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    project.iterate("1 / 0\n" + (project.path / "train.py").read_text())
    crash = (project.path / "results.tsv").read_text().splitlines()[-1]
    commit, _, _, seconds, _, idea = crash.split("\t")
    kept = "\t".join([commit, "0.950000", "0.950000", seconds, "keep", idea])
    edit_results(project, crash, kept)
    done = project.run("review")
    assert done.returncode == 1, done.stdout
    assert f"! {crash[:7]}: scored again, it is crashed (fold" in done.stdout
    assert "note: last can't be judged: last fit" in done.stdout
    assert "ZeroDivisionError" in done.stdout
    assert "Take nothing: the record is not true" in done.stdout
    assert "\nstart  " in done.stdout and "\nlast  " not in done.stdout


def test_records_that_are_gone_are_made_again_and_the_review_says_the_same(
    night, reviewed, tmp_path
):
    project = night.copy(tmp_path / "copy")
    shutil.rmtree(project.path / ".git" / "autoresearch")
    done = project.run("review")
    assert done.returncode == 0
    assert done.stderr.count("it has no record") == 3

    def gain_of(text):
        return re.findall("^gain: .*|^luck: .*|^chosen: .*", text, re.MULTILINE)

    assert gain_of(done.stdout) == gain_of(reviewed[1].stdout) != []
    assert len([*(project.path / ".git" / "autoresearch").iterdir()]) == 3


def test_without_records_it_is_said_and_fresh_folds_have_to_do(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    shutil.rmtree(project.path / ".git" / "autoresearch")
    # Where they should be nothing can be kept.
    (project.path / ".git" / "autoresearch").write_text("")
    done = project.run("review", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["luck"] is None and found["records"] == 0
    assert found["chosen"] == found["keeps"][-1]["commit"]
    assert found["gain"]["corrected"] is False
    assert found["gain"]["mean"] == found["fresh"]["chosen"]["gain"]["mean"]
    assert "expect less" in found["verdict"]


def test_what_does_not_fit_into_the_time_is_said(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    review = project.path / ".claude" / "review" / "review.py"
    replace(review, "REVIEW_S, RECORDS_S = 15 * 60,", "REVIEW_S, RECORDS_S = 0,")
    project.git("checkout", "-q", "trunk")
    done = project.run("review", "demo")
    assert done.returncode == 0, done.stdout
    assert "note: no time left for: score of start" in done.stdout
    assert "\ngain: " in done.stdout and "picture: progress.png" in done.stdout


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_keeps_what_is_known(night, tmp_path, as_json):
    project = night.copy(tmp_path / "copy")
    command = [sys.executable, "prepare.py", "review", *as_json]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=project.path, **pipes) as review:
        for line in review.stderr:
            if line.startswith("fresh folds of start"):
                review.send_signal(signal.SIGINT)
                break
        said, errors = review.communicate()
    assert review.returncode == 130 and errors.endswith("interrupted\n")
    found = json.loads(said) if as_json else {"notes": [said]}
    assert any("interrupted in the fresh folds of start" in n for n in found["notes"])
    assert as_json or ("\ngain: " in said and "leak: none" in said)
    assert project.git("worktree", "list").count("\n") == 0


# -------------------------------------------------------------------- progress
def test_progress_tells_and_draws_without_a_fit_or_the_test_part(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    values = [row.split("\t")[2] for row in read_results(project) if "keep" in row]
    project.git("checkout", "-q", "trunk")
    # Neither data nor a model is needed.
    (project.path / "data" / "heart.csv").unlink()
    (project.path / "train.py").unlink()
    done = project.run("progress", "demo")
    assert done.returncode == 0 and done.stderr == ""
    assert "1 kept, 1 discarded, 1 crashed" in done.stdout
    assert "the last 4 tries:" in done.stdout and "ZeroDivisionError" in done.stdout
    assert "picture: progress.png" in done.stdout
    assert not any(value in done.stdout for value in values)


def test_progress_reads_the_log_of_the_worktree_that_the_run_is_in(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    project.git("worktree", "add", "-q", "-b", "elsewhere", str(tmp_path / "elsewhere"))
    project.path = tmp_path / "elsewhere"
    done = project.run("progress", "demo")
    assert "1 kept, 1 discarded, 1 crashed" in done.stdout, done.stderr
    assert (project.path / "progress.png").is_file()


def read_results(project):
    """The lines of results.tsv."""
    return (project.path / "results.tsv").read_text().splitlines()


# --------------------------------------------------------------- several runs
def test_several_runs_are_compared_on_the_same_fresh_folds(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    project.git("checkout", "-q", "trunk")
    project.git("checkout", "-qb", "autoresearch/other")
    source = (project.path / "train.py").read_text()
    project.iterate(source.replace("max_iter=1000", "C=0.01"))
    looks = project.git("config", "--default", "0", "--get", "branch.other.reviews")
    done = project.run("review", "demo", "other", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert [run["run"] for run in found["runs"]] == list(found["fresh"])
    for run in found["runs"]:
        assert found["fresh"][run["run"]]["commit"] == run["chosen"]
        assert run["test"] == {} and run["verdict"]
    assert "p" in found["fresh"]["autoresearch/other"]["gain"]
    assert looks == "0"
    words = project.run("review", "demo", "other").stdout
    for name in ("demo", "other"):
        assert f"\nautoresearch/{name}: chosen: " in words
        assert f"\nautoresearch/{name}: luck: " in words


@pytest.mark.thorough
def test_nights_of_other_machines_are_brought_home_as_the_docs_say(night, tmp_path):
    docs = (ROOT / "docs" / "many-nights.md").read_text()
    bring_home = re.search(r"^    for n in .*?^    done$", docs, re.M | re.S)[0]
    home = night.copy(tmp_path / "home")
    home.git("checkout", "-q", "trunk")
    home.git("branch", "-qD", "autoresearch/demo")
    shutil.rmtree(home.path / ".git" / "autoresearch")
    for n in "12":
        there = night.copy(tmp_path / f"night-{n}")
        there.git("branch", "-qm", f"autoresearch/night-{n}")
    home.shell(bring_home)
    words = home.run("review", "night-1", "night-2").stdout
    for n in "12":
        counts = "3 iterations in 0.0 h: 1 kept, 1 discarded, 1 crashed"
        assert f"autoresearch/night-{n}: {counts}" in words
        assert f"autoresearch/night-{n}: record: true" in words
        assert f"autoresearch/night-{n}: gain: " in words
    assert "git has no such commits" not in words


@pytest.mark.thorough
def test_merged_run_with_damaged_line_is_reviewed_from_a_detached_head(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    project.git("checkout", "-q", "trunk")
    project.git("merge", "-q", "--no-ff", "-m", "merge", "autoresearch/demo")
    project.git("checkout", "-q", "--detach")
    with open(project.path / "results.tsv", "a") as file:
        file.write("half a l")
    done = project.run("review", "demo")
    assert done.returncode == 0, done.stdout
    assert "note: results.tsv: line 6 is damaged" in done.stdout
    assert "scored again alike" in done.stdout


@pytest.mark.thorough
def test_interrupted_run_without_a_row_for_its_start_is_reviewed(tmp_path):
    project = start_run(tmp_path / "project")
    train = project.path / "train.py"
    source = train.read_text()
    project.git("rm", "-q", "train.py")
    project.git("commit", "-qm", "no train.py")
    (project.path / "run.log").write_text(project.run("evaluate").stdout)
    assert "CRASHED" in project.run("log").stdout
    undo(project)
    assert "KEPT" in project.iterate(source.replace("1000", "999")).stdout
    train.write_text(source.replace("1000", "998"))
    project.git("commit", "-qam", "its evaluation was interrupted")
    assert "KEPT" in project.iterate(source.replace("1000", "997, C=0.1")).stdout
    train.write_text(source.replace("1000", "998"))
    project.git("commit", "-qam", "not scored yet")
    done = project.run("review")
    assert done.returncode == 0, done.stdout
    assert "is without a row" in done.stdout and "it was never scored" in done.stdout
    assert "never scored by itself" in done.stdout
    assert "tay with the start" in done.stdout


def test_empty_run_and_crashes_only_are_told(tmp_path):
    project = start_run(tmp_path / "project")
    empty = project.run("review")
    assert empty.returncode == 0 and "0 iterations in 0.0 h" in empty.stdout
    assert "no rows of this run" in empty.stdout
    project.iterate("1 / 0\n")
    undo(project)
    done = project.run("review")
    assert done.returncode == 0 and "0 kept, 0 discarded, 1 crashed" in done.stdout
    assert "no commit was kept" in done.stdout and "picture: progress" in done.stdout


@pytest.mark.parametrize("command", ["review", "progress"])
def test_where_nothing_can_be_drawn_the_report_is_whole(tmp_path, command):
    project = Project(tmp_path / "project")
    picture = project.path / ".claude" / "review" / "picture.py"
    replace(picture, "import matplotlib\n", "import matplotlib_gone\n")
    project.git("commit", "-qam", "no matplotlib")
    project.git("checkout", "-qb", "autoresearch/demo")
    project.iterate("1 / 0\n")
    done = project.run(command)
    assert done.returncode == 0
    assert "note: no progress.png: ModuleNotFoundError: No module" in done.stdout


def test_whatever_is_in_the_way_of_the_picture_is_a_note(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    (project.path / "progress.png").unlink(missing_ok=True)
    (project.path / "progress.png").mkdir()
    done = project.run("progress")
    assert done.returncode == 0 and done.stderr == ""
    assert "note: no progress.png: IsADirectoryError" in done.stdout


def test_bad_input_gets_one_line_and_changes_nothing(night, tmp_path):
    project = night.copy(tmp_path / "copy")
    before = project.git("config", "--list")
    for arguments in (["review", "nosuch"], ["review", "trunk"], ["review", "a\nb"]):
        done = project.run(*arguments)
        assert done.returncode == 3 and done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "is not a run; name one: autoresearch/demo" in done.stderr
    project.git("checkout", "-q", "--detach")
    assert "a detached HEAD is not a run; name one" in project.run("review").stderr
    assert project.git("config", "--list") == before
