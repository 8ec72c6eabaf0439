"""The one log of a run: whatever happens, no row is lost, doubled or made up."""

import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import BASELINE, IDENTITY, Project, cure_in, replace

from harness.ratchet import COPIED

TRIVIAL = """
from sklearn.dummy import DummyClassifier as build_pipeline
HYPOTHESIS = "an idea"
def feature_fn(X):
    return X
"""


def state(project):
    """What the state command prints."""
    return project.run("state").stdout


# --------------------------------------------------------------------- the ratchet
def test_log_appends_keeps_and_takes_back_and_says_what_is_next(run):
    base = run.git("rev-parse", "HEAD")
    kept = run.next_idea(1)
    said = run.pretend_and_log("0.910000").stdout
    assert said.startswith("iter 1 | val_auc=0.9100 (Δ +0.0100) | KEPT — an idea\n")
    assert "autoresearch/night · iter 1 · 1 kept · best 0.9100\nnext: propose" in said
    discarded = run.next_idea(2)
    said = run.pretend_and_log("0.905000").stdout
    assert said.startswith("iter 2 | val_auc=0.9050 (Δ -0.0050) | DISCARDED — an idea")
    assert run.git("rev-parse", "HEAD") == kept
    crashed = run.next_idea(3)
    said = run.pretend_and_log(status="crashed (fold 1: ValueError: no)").stdout
    line = "iter 3 | val_auc=none (Δ none) | CRASHED — an idea [fold 1: ValueError: no]"
    assert said.startswith(line)
    assert run.git("rev-parse", "HEAD") == kept
    rows = [(row["commit"], row["status"]) for row in run.log_of("night")]
    statuses = "keep", "keep", "discard", "crash"
    assert rows == [*zip((base, kept, discarded, crashed), statuses, strict=True)]
    assert run.results()[0] == [*COPIED]
    assert [row[0] for row in run.results()[1:]] == [c[:7] for c, _ in rows]
    row = ["0.905000", "0.905000", "1.00", "discard", "an idea"]
    assert run.results()[3][1:] == row


def test_equal_is_a_discard_and_the_smallest_gain_is_a_keep_that_shows(run):
    run.next_idea(1)
    assert "(Δ +0.0000) | DISCARDED" in run.pretend_and_log("0.900000").stdout
    run.next_idea(2)
    assert "(Δ +0.000002) | KEPT" in run.pretend_and_log("0.900002").stdout


def test_a_discard_for_min_gain_says_so(project):
    replace(project.path / "prepare.py", "MIN_GAIN = 0.0\n", "MIN_GAIN = 0.005\n")
    project.git("commit", "-qam", "careful")
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend_and_log("0.900000")
    project.next_idea(1)
    said = project.pretend_and_log("0.904000").stdout
    assert "(Δ +0.0040) | DISCARDED — an idea [a gain, but not of more than" in said
    assert "MIN_GAIN = 0.005" in project.run("tried").stdout
    project.next_idea(2)
    assert "(Δ +0.0060) | KEPT" in project.pretend_and_log("0.906000").stdout


def test_a_run_whose_baseline_crashed_goes_on(project):
    project.git("checkout", "-qb", "autoresearch/night")
    assert "CRASHED" in project.pretend_and_log(status="crashed (no)").stdout
    assert "next: propose" in state(project)
    project.next_idea(1)
    said = project.pretend_and_log("0.5", hypothesis="another").stdout
    assert "iter 1 | val_auc=0.5000 (Δ none) | KEPT" in said


def test_a_slip_and_the_try_that_mends_it_are_one_iteration(run):
    run.run("limit", "night", "2")
    for number, status in [(1, "crashed (no)"), (2, "crashed (no [x])"), (3, "ok")]:
        run.next_idea(number)
        said = run.pretend_and_log("0.5", status=status, hypothesis="slippery").stdout
        assert said.startswith("iter 1 | ") and "next: propose" in said
    run.next_idea(4)
    said = run.pretend_and_log(status="crashed (no)", hypothesis="another").stdout
    assert said.startswith("iter 2 | ") and "halt: the limit of 2 iterations" in said
    assert len(run.log_of("night")) == 5
    said = run.run("progress").stdout
    assert "2 iterations in 0 min: 0 kept, 1 discarded, 1 crashed" in said


def test_a_commit_is_logged_by_what_its_evaluation_found(run):
    run.next_idea(1)
    forged = f"commit: {run.git('rev-parse', 'HEAD')}\nval_auc: 0.99\nstatus: ok\n"
    (run.path / "run.log").write_text(forged)
    done = run.run("log")
    assert done.returncode == 3 and "is not evaluated" in done.stderr
    assert "next: run the evaluation" in done.stdout
    assert len(run.log_of("night")) == 1


def test_a_record_that_is_damaged_or_of_an_older_harness_is_none(run):
    head = run.next_idea(1)
    for make in (
        lambda path: path.write_bytes(b"PK"),
        lambda path: np.savez(path, block=np.array("{}")),
    ):
        run.pretend("0.95")
        make(run.state / f"{head}.npz")
        assert "next: run the evaluation" in state(run)
        assert "is not evaluated" in run.run("log").stderr


def test_an_edit_after_the_evaluation_is_refused_and_stays(run):
    run.next_idea(1)
    run.pretend("0.95")
    (run.path / "train.py").write_text(BASELINE + "# an edit\n")
    done = run.run("log")
    assert done.returncode == 3 and "not as committed" in done.stderr
    assert "# an edit" in (run.path / "train.py").read_text()


def test_what_is_logged_is_not_logged_again(run):
    done = run.run("log")
    assert done.returncode == 3 and "logged already (keep)" in done.stderr
    assert "next: propose" in done.stdout
    assert len(run.log_of("night")) == 1 and len(run.results()) == 2


def test_a_row_is_one_line_of_printable_characters(run):
    run.next_idea(1)
    run.pretend("0.95", hypothesis="a\tb\nc\r\nd\x1b[2K\u2028e")
    assert "KEPT — a b c d [2K e" in run.run("log").stdout
    assert [len(cells) for cells in run.results()] == [6, 6, 6]


@pytest.mark.parametrize("checkout", [["trunk"], ["--detach"]])
def test_outside_of_a_run_nothing_is_logged_and_the_setup_is_next(project, checkout):
    project.git("checkout", "-q", *checkout)
    project.pretend()
    done = project.run("log")
    assert done.returncode == 3 and "is not a run" in done.stderr
    assert done.stderr.count("\n") == 1
    asked = project.run("state")
    assert asked.returncode == 0 and asked.stdout == done.stdout
    assert "is not a run" in asked.stdout and "\nnext: the Setup of" in asked.stdout


# ------------------------------------------------------------ results.tsv is a copy
@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "",
        lambda text: text.replace("0.900000", "0.999999"),
        lambda text: text.replace("\tkeep", "\tdiscard"),
        lambda text: "\n".join(sorted(text.splitlines(), reverse=True)),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "1234567\t0.9",
    ],
)
def test_whatever_a_user_makes_of_results_the_run_goes_on(run, edit):
    results = run.path / "results.tsv"
    results.write_text(edit(results.read_text()))
    run.next_idea(1)
    assert "(Δ +0.0100) | KEPT" in run.pretend_and_log("0.910000").stdout
    assert "iter 1 · 1 kept" in state(run)
    assert run.results()[-1][0] == run.git("rev-parse", "--short=7", "HEAD")
    results.unlink()
    run.next_idea(2)
    assert "iter 2 " in run.pretend_and_log("0.920000").stdout
    head = run.git("rev-parse", "--short=7", "HEAD")
    assert [row[0] for row in run.results()] == ["commit", head]


def test_rows_of_two_runs_never_mix_in_bar_or_number(run):
    run.git("checkout", "-q", "trunk")
    run.next_idea(0)
    run.git("checkout", "-qb", "autoresearch/second")
    first = run.pretend_and_log("0.800000").stdout
    run.next_idea(1)
    second = run.pretend_and_log("0.810000").stdout
    assert "iter 0 | val_auc=0.8000 (Δ none) | KEPT" in first
    assert "iter 1 | val_auc=0.8100 (Δ +0.0100) | KEPT" in second
    assert "best 0.8100" in state(run) and len(run.results()) == 4


# ------------------------------------------------------------- a kill at any instant
# Runs prepare.py, and kills it at the n-th of these events: it is about to open a file
# for writing, to rename or to remove one, or to start a program.
KILLED = """
import os, runpy, signal, sys
n, events, *sys.argv = int(sys.argv[1]), sys.argv[2].split(), *sys.argv[3:]
def hook(event, args):
    global n
    writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)
    if writes or event in events:
        n -= 1
        if n == 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
sys.path.insert(0, os.getcwd())
runpy.run_path("prepare.py", run_name="__main__")
"""


def killed(project, n, command, events):
    """Whether the command was killed at its n-th step; False once it has fewer."""
    words = [sys.executable, "-c", KILLED, str(n), events, "prepare.py", command]
    environ = {**IDENTITY, "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nowhere"}
    done = subprocess.run(words, cwd=project.path, env=environ, capture_output=True)
    return done.returncode == -signal.SIGKILL


def test_a_log_killed_at_any_step_loses_and_doubles_nothing(run, tmp_path):
    bar, idea = run.git("rev-parse", "HEAD"), run.next_idea(1)
    # A keep ends one step earlier, with nothing to take back.
    run.pretend("0.890000")
    for n in range(1, 99):
        twin = run.copy(tmp_path / f"killed-{n}")
        was_killed = killed(twin, n, "log", "os.rename os.remove subprocess.Popen")
        assert "next: propose" in twin.run("log").stdout
        assert [r["commit"] for r in twin.log_of("night")] == [bar, idea]
        assert [row[0] for row in twin.results()[1:]] == [bar[:7], idea[:7]]
        assert twin.git("rev-parse", "HEAD") == bar
        shutil.rmtree(twin.path)
        if not was_killed:
            break
    # It reads git several times, writes log and copy, and resets.
    assert n > 8


def test_an_evaluation_killed_at_any_write_is_done_again(run, tmp_path):
    (run.path / "train.py").write_text(TRIVIAL)
    run.git("commit", "-qm", "an idea", "train.py")
    idea = run.git("rev-parse", "HEAD")
    for n in range(1, 99):
        twin = run.copy(tmp_path / f"killed-{n}")
        was_killed = killed(twin, n, "evaluate", "os.rename os.remove")
        is_kept = (twin.state / f"{idea}.npz").exists()
        # Either there is no record, or a whole one.
        assert ("next: log" if is_kept else "next: run the evaluation") in state(twin)
        if is_kept:
            assert "DISCARDED" in twin.run("log").stdout
        shutil.rmtree(twin.path)
        if not was_killed:
            break
    assert n > 2 and is_kept


def test_a_discard_that_is_not_taken_back_yet_is_taken_back_by_log(run):
    bar = run.git("rev-parse", "HEAD")
    idea = run.next_idea(1)
    run.pretend_and_log("0.890000")
    run.git("reset", "-q", "--hard", idea)
    assert "next: log: HEAD" in state(run)
    assert "DISCARDED" in run.run("log").stdout
    assert run.git("rev-parse", "HEAD") == bar and len(run.log_of("night")) == 2


# ------------------------------------------------------------------------ the disk
def limited(size):
    """A limit of file sizes, as a full disk has it: for preexec_fn."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_logs_nothing_and_says_so(run):
    run.next_idea(1)
    run.pretend("0.91")
    before = (run.path / "results.tsv").read_text()
    done = run.run("log", preexec_fn=limited(0))
    assert done.returncode == 3 and "nothing was logged" in done.stderr
    assert (run.path / "results.tsv").read_text() == before
    assert len(run.log_of("night")) == 1 and "next: log" in state(run)
    assert "KEPT" in run.run("log").stdout
    assert len(run.log_of("night")) == 2 and len(run.results()) == 3


def test_no_room_for_the_copy_logs_nothing(run):
    run.next_idea(1)
    run.pretend("0.91")
    results = run.path / "results.tsv"
    results.write_text(results.read_text() + "# notes of mine\n" * 1000)
    before = results.read_text()
    size = len(before) + 9
    done = run.run("log", preexec_fn=limited(size))
    assert done.returncode == 3 and "nothing was logged" in done.stderr
    assert results.read_text() == before and len(run.log_of("night")) == 1
    assert "KEPT" in run.run("log").stdout
    assert results.read_text().startswith(before)


def test_an_evaluation_without_room_for_its_record_is_no_fault_of_the_ideas(run):
    # Once without the limit: of a library that is compiled under it, Python keeps the
    # part of the code that there is room for.
    run.evaluate()
    block, _ = run.evaluate(preexec_fn=limited(100))
    assert block["status"].startswith("crashed (harness: ")


# ---------------------------------------------------- what git contradicts is refused
def test_a_kept_commit_that_left_the_branch_is_refused_with_two_cures(run):
    run.next_idea(1)
    run.pretend_and_log("0.91")
    kept = run.git("rev-parse", "HEAD")
    run.git("commit", "--amend", "-qm", "another message")
    said = state(run)
    assert "next: halt" in said and kept[:7] in said
    twin = run.copy(run.path.parent / "twin")
    twin.shell(cure_in(said))
    assert twin.git("rev-parse", "HEAD") == kept and "next: propose" in state(twin)
    run.shell(re.search(r"git checkout -b \S+(?=;)", said)[0])
    assert "autoresearch/night-2 · not started\nnext: run the evaluation" in state(run)


def test_a_tag_that_was_used_before_is_told_from_a_run_to_be_resumed(run):
    run.next_idea(1)
    run.pretend_and_log("0.91")
    assert "ends after 9 iterations" in run.run("limit", "night", "9").stdout
    run.git("checkout", "-q", "trunk")
    run.git("branch", "-D", "autoresearch/night")
    done = run.run("limit", "night", "9")
    assert done.returncode == 3
    assert "was used before, by a run of 1 iterations" in done.stderr
    run.git("checkout", "-qb", "autoresearch/night")
    assert "next: halt" in state(run)
    run.git("checkout", "-q", "trunk")
    run.git("branch", "-D", "autoresearch/night")
    run.shell(cure_in(done.stderr))
    run.git("checkout", "-q", "autoresearch/night")
    assert "iter 1 · 1 kept" in state(run) and "next: propose" in state(run)


def test_a_damaged_log_is_refused_with_a_cure(run):
    log = run.state / "night.tsv"
    log.write_text(log.read_text()[:-40])
    assert "is damaged" in state(run)
    run.shell(cure_in(state(run)))
    assert "autoresearch/night-2 · not started" in state(run)


def test_a_clock_that_runs_backwards_is_no_obstacle(project):
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend_and_log("0.5")
    for i in range(1, 9):
        (project.path / "train.py").write_text(BASELINE + f"# {i}\n")
        dates = {"GIT_AUTHOR_DATE": f"2001-01-01T00:00:0{i}"}
        dates["GIT_COMMITTER_DATE"] = dates["GIT_AUTHOR_DATE"]
        project.shell(
            " ".join(f"{k}={v}" for k, v in (dates | IDENTITY).items())
            + f" git commit -qm {i} train.py"
        )
        assert "KEPT" in project.pretend_and_log(f"0.5{i}0000").stdout


# ------------------------------------------------------------------------- limits
def test_limits_are_in_iterations_and_in_hours(run):
    said = run.run("limit", "night", "1", "2h").stdout
    assert "ends after 1 iterations or at " in said
    until = int(re.search(r'"until": (\d+)', (run.state / "night.tsv").read_text())[1])
    assert until == pytest.approx(time.time() + 7200, abs=60)
    assert "next: propose" in state(run)
    replace(run.state / "night.tsv", f'"until": {until}', '"until": 1')
    assert "next: halt: the limit of hours" in state(run)
    # Typed again without hours: the old ones are over.
    assert "ends after 1 iterations" in run.run("limit", "night").stdout
    assert "next: propose" in state(run)
    run.next_idea(1)
    assert "next: halt: the limit of 1 iterations" in run.pretend_and_log("0.91").stdout
    run.run("limit", "night", "2")
    assert "next: propose" in state(run) and len(run.log_of("night")) == 2


def test_limits_are_set_before_the_branch_is_there(project):
    assert "after 1 iterations" in project.run("limit", "night", "1").stdout
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend_and_log()
    assert "next: propose" in state(project)
    project.next_idea(1)
    assert "halt: the limit of 1 iterations" in project.pretend_and_log("0.8").stdout


@pytest.mark.parametrize(
    "tag", ["a b", "a/b", "-x", "ä", "a..b", "a.lock", "a'b", "$x", "\x1b[2K"]
)
def test_an_odd_tag_is_refused_with_what_is_permitted(project, tag):
    done = project.run("limit", "--", tag)
    assert done.returncode == 3 and "\x1b" not in done.stderr
    assert "letters, digits" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["8x"], ["0.5h"], ["h"], ["-3"], ["2", "8"]])
def test_an_odd_limit_is_refused_with_what_is_meant(project, words):
    done = project.run("limit", "--", "trial", *words)
    assert done.returncode == 3 and "25 (iterations), 8h (hours)" in done.stderr


# ------------------------------------------------------------------------ the rest
def test_a_stop_file_a_score_too_good_and_a_plateau_are_told(run):
    (run.path / "STOP").touch()
    assert "next: halt: there is a STOP file" in state(run)
    (run.path / "STOP").unlink()
    for i in range(5):
        run.next_idea(i)
        said = run.pretend_and_log("0.8").stdout
    assert "5 in a row without a keep: change the kind of idea" in said
    assert "the last to fail: an idea; an idea; " in said
    run.next_idea(9)
    said = run.pretend_and_log("0.995").stdout
    assert "next: halt: val_auc 0.9950 >= 0.99" in said


def test_what_was_tried_is_the_memory_of_all_runs_on_this_table(run, tmp_path):
    idea = run.next_idea(1)
    run.pretend_and_log("0.91", hypothesis="weaker")
    tree = tmp_path / "tree"
    run.git("worktree", "add", "-q", "-b", "autoresearch/other", str(tree), "trunk")
    other = object.__new__(Project)
    other.path = tree
    assert f"{idea[:7]}\t0.91\tkeep\tweaker" in other.run("tried").stdout
    table = tree / "data" / "heart.csv"
    table.write_text(table.read_text() + "50,1,4,130,250,0,2,150,0,1.0,2,0,3,0\n")
    assert "weaker" not in other.run("tried").stdout


def test_a_closed_pipe_is_no_error(run):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} prepare.py state | true"],
        cwd=run.path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_log_of_the_iteration_is_put_away(run):
    run.next_idea(1)
    (run.path / "run.log").write_text("val_auc: 0.5\n")
    run.pretend_and_log("0.91")
    assert not (run.path / "run.log").exists()
    kept = run.state / f"{run.git('rev-parse', 'HEAD')}.log"
    assert kept.read_text() == "val_auc: 0.5\n"
