"""What happens around an evaluation: signals, git, frozen files, the folder."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from conftest import BASELINE, block_of, cure_in, needs_proc, processes_with, replace

# A train.py that gives its process a name (PR_SET_NAME), and sleeps.
SLOW = """
import ctypes, time
def feature_fn(X):
    ctypes.CDLL(None).prctl(15, b"asleep", 0, 0, 0)
    time.sleep(60)
def build_pipeline(): pass
"""
# A train.py whose answer is there soonest, where the score is not what is promised.
CRASH = "import nil"
CRASHED = r"crashed \(fold \d: ModuleNotFoundError: No module named 'nil'\)"


# ------------------------------------------------------------------- two at once
def test_evaluations_at_once_in_two_work_trees_agree(project, tmp_path):
    project.git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    command = [sys.executable, "prepare.py", "evaluate"]
    runs = [
        subprocess.Popen(
            command, cwd=folder, stdout=-1, stderr=subprocess.DEVNULL, text=True
        )
        for folder in (project.path, tmp_path / "other")
    ]
    blocks = [block_of(run.communicate(timeout=120)[0]) for run in runs]
    assert [block["status"] for block in blocks] == ["ok"] * 2
    assert len({(block["val_auc"], block["test_auc"]) for block in blocks}) == 1


# ------------------------------------------------------------------- interrupted
class Midway:
    """An evaluation of SLOW with its candidates asleep, its offspring marked."""

    def __init__(self, project, **options):
        (project.path / "train.py").write_text(SLOW)
        self.token = f"/midway-{uuid.uuid4().hex}"
        environ = os.environ | {"PATH": os.environ["PATH"] + os.pathsep + self.token}
        self.process = subprocess.Popen(
            [sys.executable, "prepare.py", "evaluate"],
            cwd=project.path,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            **options,
        )
        assert self.has(lambda names: "asleep" in names), f"{self.process.poll()}"

    def has(self, holds, seconds=30):
        """Whether holds(names of the processes), at some time within the seconds."""
        end = time.monotonic() + seconds
        while not (held := holds(self.names())) and time.monotonic() < end:
            time.sleep(0.05)
        return held

    def names(self):
        """What the processes that live are called."""
        found = []
        for pid in processes_with(self.token):
            # It may end meanwhile.
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{pid}/comm").read_text().strip())
        return found

    def end(self):
        """The block it prints, and whether all of its processes are gone."""
        text = self.process.communicate(timeout=50)[0]
        return block_of(text), self.has(lambda names: not names)


@needs_proc
def test_nohup_is_respected_and_an_interruption_leaves_no_orphan_and_no_record(project):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    run = Midway(project, preexec_fn=ignore)
    run.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    block, alone = run.end()
    assert alone and run.process.returncode == 1
    assert block["status"] == "crashed (harness: interrupted)"
    assert block["val_auc"] == block["test_auc"] == ""
    assert not project.state.exists()


@needs_proc
def test_a_termination_says_so_too(project):
    run = Midway(project)
    run.process.terminate()
    block, alone = run.end()
    assert alone and block["status"] == "crashed (harness: interrupted)"


@needs_proc
def test_impatient_ctrl_c_of_the_whole_group_leaves_no_orphan(project):
    run = Midway(project)
    for _ in range(3):
        os.killpg(run.process.pid, signal.SIGINT)
        time.sleep(0.03)
    _, alone = run.end()
    assert alone and run.process.returncode != 0


@needs_proc
def test_killed_run_leaves_no_orphan(project):
    run = Midway(project)
    run.process.kill()
    assert run.end() == ({}, True)


@needs_proc
def test_a_killed_fork_server_is_told_and_leaves_no_orphan(project):
    run = Midway(project)
    server = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children")
    os.kill(int(server.read_text().split()[0]), signal.SIGKILL)
    block, alone = run.end()
    assert alone and "the fork server was killed" in block["status"]


def test_children_that_the_shell_had_before_are_left_alone(project):
    (project.path / "train.py").write_text(CRASH)
    words = "exec {} prepare.py evaluate > >(tee run.log > /dev/null)"
    subprocess.run(
        ["bash", "-c", words.format(shlex.quote(sys.executable))], cwd=project.path
    )
    log, end = project.path / "run.log", time.monotonic() + 30
    while "status: " not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)  # tee outlives what it listens to
    assert re.search(f"status: {CRASHED}", log.read_text())


# --------------------------------------------------------------- a strange train.py
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda train: None, "missing, or no regular file"),
        (lambda train: train.symlink_to("data/heart.csv"), "no regular file"),
        (lambda train: train.mkdir(), "no regular file"),
        (os.mkfifo, "no regular file"),
        (lambda train: train.write_text("#" * 200_000), "more than 100000"),
    ],
    ids=["missing", "a link", "a folder", "a pipe", "200 kB"],
)
def test_train_py_that_is_no_file_of_sensible_size_crashes(project, make, reason):
    (project.path / "train.py").unlink()
    make(project.path / "train.py")
    block, done = project.evaluate(timeout=60)
    assert done.returncode == 1, done.stderr
    assert re.match(rf"crashed \(.*{reason}", block["status"]), done.stderr


def run_as_user(project, command, redirected=""):
    """prepare.py without root's power to ignore modes, if we are root."""
    words = [sys.executable, "prepare.py", command]
    if os.geteuid() == 0:
        words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *words]
    command = f"exec {shlex.join(words)} {redirected}"
    return subprocess.run(
        command, shell=True, cwd=project.path, capture_output=True, text=True
    )


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"),
    reason="modes do not bind root, and there is no setpriv",
)
def test_a_read_only_folder_scores_and_what_it_can_not_do_is_told_in_a_line(project):
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend()
    project.path.chmod(0o500)
    done = run_as_user(project, "log")
    assert done.returncode == 3 and "Permission denied" in done.stderr
    assert "nothing was logged" in done.stderr and "Traceback" not in done.stderr
    without_streams = run_as_user(project, "evaluate", "<&- 2>&-")
    assert block_of(without_streams.stdout)["status"] == "ok"
    (project.path / "train.py").chmod(0)
    done = run_as_user(project, "evaluate")
    assert done.returncode == 1
    assert "Permission denied" in block_of(done.stdout)["status"]


# --------------------------------------------------------------------------- git
def test_no_git_still_scores_and_refuses_to_log(project):
    environ = os.environ | {"PATH": "/nowhere"}
    block, _ = project.evaluate(env=environ)
    assert block["status"] == "ok" and block["commit"] == "none"
    done = project.run("log", env=environ)
    assert done.returncode == 3 and "git is not installed" in done.stderr

    shutil.rmtree(project.path / ".git")
    environ = os.environ | {"GIT_CEILING_DIRECTORIES": str(project.path.parent)}
    done = project.run("log", env=environ)
    assert done.returncode == 3 and done.stderr.count("\n") == 1


def test_no_git_identity_is_needed_to_log(project):
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend("0.9")
    nobody = os.environ | {"HOME": "/nowhere", "EMAIL": ""}
    assert "KEPT" in project.run("log", env=nobody).stdout


# ------------------------------------------------------------------------ frozen
def test_changed_frozen_files_get_no_score_and_the_cure_keeps_the_edits(run):
    run.next_idea(1)
    run.pretend("0.95")
    names = [".claude/harness/judge.py", "data/heart.csv", "prepare.py", "uv.lock"]
    for name in names:
        with (run.path / name).open("a") as file:
            file.write("\n")
    (run.path / "program.md").unlink()
    for command in ("evaluate", "log", "state"):
        done = run.run(command)
        listed = re.search("frozen: (.*) changed", done.stdout + done.stderr)[1]
        assert listed.split() == sorted([*names, "program.md"])
        assert not re.search(r"val_auc: ?\d|KEPT", done.stdout)
    run.shell(cure_in(run.run("state").stdout))
    assert "KEPT" in run.run("log").stdout
    assert (run.path / "program.md").exists()
    stashed = run.git("stash", "show", "--name-only").split()
    assert stashed == sorted([*names, "program.md"])


def test_a_frozen_file_changed_in_a_commit_is_refused_and_begins_a_new_run(run):
    with (run.path / "program.md").open("a") as file:
        file.write("\n")
    run.git("commit", "-qam", "steer")
    said = run.run("state").stdout
    assert "frozen: program.md" in said
    run.shell(cure_in(said))
    assert "autoresearch/night-2 · not started" in run.run("state").stdout


def test_edits_of_frozen_files_before_the_first_score_are_committed(project):
    project.git("checkout", "-qb", "autoresearch/night")
    replace(project.path / "prepare.py", "PLATEAU = 5", "PLATEAU = 3")
    said = project.run("state").stdout
    assert "frozen: prepare.py changed" in said
    project.shell(cure_in(said))
    assert "PLATEAU = 3" in project.git("show", "HEAD:prepare.py")
    assert "next: run the evaluation" in project.run("state").stdout


def test_a_replacement_of_gits_hides_no_change(run):
    with (run.path / "prepare.py").open("a") as file:
        file.write("# x\n")
    old = run.git("rev-parse", "HEAD:prepare.py")
    run.git("replace", "-f", old, run.git("hash-object", "-w", "prepare.py"))
    assert "frozen: prepare.py" in run.run("state").stdout


def test_a_harness_that_git_ignores_is_refused_with_a_cure(project):
    project.git("rm", "-rq", "--cached", ".claude", "uv.lock")
    (project.path / ".gitignore").write_text(".claude/\n*.lock\n")
    project.git("commit", "-qam", "begun by hand")
    said = project.check("frozen")
    assert "FAIL frozen: not in git" in said and ".claude/harness/judge.py" in said
    project.git("checkout", "-qb", "autoresearch/night")
    said = project.run("state").stdout
    assert "not in git" in said
    project.shell(cure_in(said))
    assert "next: run the evaluation" in project.run("state").stdout


def test_files_of_the_users_and_the_clients_are_not_in_the_way(run):
    (run.path / ".claude" / "settings.local.json").write_text("{}\n")
    (run.path / ".claude" / "agents").mkdir()
    (run.path / ".claude" / "agents" / "mine.md").write_text("an agent\n")
    (run.path / "data" / "own.csv").write_text("a,b\n")
    assert "next: propose" in run.run("state").stdout


def test_a_table_that_git_does_not_track_is_pinned_by_the_run(project):
    own, heart = project.path / "data" / "own.csv", project.path / "data" / "heart.csv"
    own.write_text(heart.read_text())
    replace(project.path / "prepare.py", '"heart.csv"', '"own.csv"')
    project.git("commit", "-qam", "own table")
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend_and_log()
    own.write_text(own.read_text() + "50,1,4,130,250,0,2,150,0,1.0,2,0,3,0\n")
    refused = "not the one that autoresearch/night began with"
    assert refused in project.evaluate(CRASH)[0]["status"]
    own.write_text(heart.read_text())
    assert re.fullmatch(CRASHED, project.evaluate()[0]["status"])


# ------------------------------------------------------------------------ modules
def test_modules_dropped_beside_the_harness_are_not_imported(project):
    for folder in (project.path, project.path / ".claude"):
        for name in ("sklearn", "pickle"):
            (folder / f"{name}.py").write_text("print('val_auc: 1.0'); 1 / 0\n")
    _, done = project.evaluate()
    assert "val_auc: 1.0" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_folder_within_the_readable_system_is_refused(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    here = f"READABLE = (\n    {str(project.path.parent)!r},"
    replace(sandbox, "READABLE = (", here)
    block, _ = project.evaluate(BASELINE)
    assert "candidates may read" in block["status"] and block["val_auc"] == ""


def test_a_sandbox_that_does_not_stand_is_told_with_its_reason(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    replace(sandbox, '    os.chdir("/")\n', "    raise OSError('no sandbox')\n")
    block, done = project.evaluate()
    fault = r"crashed \(harness: fold \d: no sandbox \(OSError: no sandbox\): .*\)"
    assert re.fullmatch(fault, block["status"])
    assert "in confine" in done.stderr
