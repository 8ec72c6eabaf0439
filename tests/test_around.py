"""What happens around a run: signals, git, the log's file, the data, the disk."""

import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from conftest import BASELINE, block_of, cure_in, replace

SLOW = """
import time
def feature_fn(X):
    time.sleep(60)
def build_pipeline(): pass
"""
linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


def start_run(project):
    """On the branch of a run whose baseline is logged."""
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend_and_log()


# ------------------------------------------------------------------- two at once
def test_two_runs_in_one_folder_and_one_in_a_worktree_agree(project, tmp_path):
    project.git("worktree", "add", "-q", str(tmp_path / "other"), "-b", "other")
    command = [sys.executable, "prepare.py", "evaluate"]
    folders = [project.path, project.path, tmp_path / "other"]
    runs = [
        subprocess.Popen(
            command, cwd=folder, stdout=-1, stderr=subprocess.DEVNULL, text=True
        )
        for folder in folders
    ]
    blocks = [block_of(run.communicate(timeout=120)[0]) for run in runs]
    assert [block["status"] for block in blocks] == ["ok"] * 3
    assert len({(block["val_auc"], block["test_auc"]) for block in blocks}) == 1


# ------------------------------------------------------------------- interrupted
class Midway:
    """An evaluation of SLOW with its candidates asleep, its offspring marked."""

    def __init__(self, project, train=SLOW, **options):
        (project.path / "train.py").write_text(train)
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
        self.wait_for(3, lambda n: n >= 3)  # itself, fork server, a candidate

    def offspring(self):
        """Process ids that carry the token."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.token.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
        return found

    def wait_for(self, seconds, holds):
        """Wait until holds(number of processes); False after some seconds."""
        end = time.monotonic() + seconds + 10
        while not holds(len(self.offspring())) and time.monotonic() < end:
            time.sleep(0.05)
        return holds(len(self.offspring()))

    def end(self):
        """The block it prints, and whether all of its processes are gone."""
        text = self.process.communicate(timeout=20)[0]
        return block_of(text), self.wait_for(2, lambda n: n == 0)


@linux
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)]
)
def test_interrupted_run_says_so_and_leaves_no_orphan(project, number):
    run = Midway(project)
    run.process.send_signal(number)
    block, alone = run.end()
    assert alone and run.process.returncode == 1
    assert block["status"] == "crashed (harness: interrupted)"
    assert block["val_auc"] == block["test_auc"] == ""


@linux
def test_impatient_ctrl_c_of_the_whole_group_leaves_no_orphan(project):
    run = Midway(project)
    for _ in range(3):
        os.killpg(run.process.pid, signal.SIGINT)
        time.sleep(0.03)
    _, alone = run.end()
    assert alone and run.process.returncode != 0


@linux
def test_killed_run_leaves_no_orphan(project):
    run = Midway(project)
    run.process.kill()
    assert run.end() == ({}, True)


@linux
def test_children_that_the_shell_had_before_are_left_alone(project):
    words = "exec {} prepare.py evaluate > >(tee run.log > /dev/null)"
    words = words.format(shlex.quote(sys.executable))
    done = subprocess.run(["bash", "-c", words], cwd=project.path)
    assert done.returncode == 0
    log, end = project.path / "run.log", time.monotonic() + 10
    while "status: ok" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)  # tee outlives what it listens to
    assert "status: ok" in log.read_text()


@linux
def test_a_fork_server_killed_at_its_start_is_told_in_a_block(project):
    candidate = project.path / ".claude" / "harness" / "candidate.py"
    replace(candidate, "    gc.freeze()\n", "    os.kill(os.getpid(), 9)\n")
    block, done = project.evaluate()
    assert "the fork server was killed" in block["status"], done.stderr


@linux
def test_a_lower_limit_of_the_users_is_respected(project):
    lower = lambda: resource.setrlimit(resource.RLIMIT_AS, (2**33,) * 2)  # noqa: E731
    assert project.evaluate(preexec_fn=lower)[0]["status"] == "ok"


@linux
def test_nohup_is_respected(project):
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    run = Midway(project, preexec_fn=ignore)
    run.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    assert run.end()[1]


def test_an_interrupted_evaluation_leaves_no_record(project):
    run = Midway(project)
    run.process.send_signal(signal.SIGINT)
    run.end()
    assert not project.state.exists()


# --------------------------------------------------------------- a strange train.py
def test_missing_train_py_crashes(project):
    (project.path / "train.py").unlink()
    block, done = project.evaluate()
    assert done.returncode == 1 and block["status"].startswith("crashed (")


@pytest.mark.parametrize(
    "make", ["secret", pytest.param("mkdir", marks=pytest.mark.thorough), "fifo"]
)
def test_train_py_that_is_no_file_crashes(project, make):
    train = project.path / "train.py"
    train.unlink()
    targets = {"loop": "train.py", "secret": "data/heart.csv", "endless": "/dev/zero"}
    if make == "mkdir":
        train.mkdir()
    elif make == "fifo":
        os.mkfifo(train)
    else:
        train.symlink_to(targets[make])
    limit = resource.RLIMIT_AS, (2**33, 2**33)  # /dev/zero has no end
    block, done = project.evaluate(
        timeout=30, preexec_fn=lambda: resource.setrlimit(*limit)
    )
    assert done.returncode == 1, done.stderr
    assert block["status"].startswith("crashed ("), done.stderr


def as_user(*command):
    """The command, without root's power to ignore modes if we are root."""
    if os.geteuid() != 0:
        return command
    return "setpriv", "--bounding-set=-all", "--inh-caps=-all", *command


def test_unreadable_train_py_and_read_only_folder_are_told_in_a_line(project):
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend()
    project.path.chmod(0o500)
    done = run_as_user(project, "log")
    assert done.returncode == 3 and "Permission denied" in done.stderr
    assert "nothing was logged" in done.stderr and "Traceback" not in done.stderr
    assert block_of(run_as_user(project, "evaluate").stdout)["status"] == "ok"
    (project.path / "train.py").chmod(0)
    done = run_as_user(project, "evaluate")
    assert done.returncode == 1
    assert "Permission denied" in block_of(done.stdout)["status"]


def run_as_user(project, command):
    """prepare.py without the power to ignore modes."""
    words = as_user(sys.executable, "prepare.py", command)
    return subprocess.run(words, cwd=project.path, capture_output=True, text=True)


# --------------------------------------------------------------------------- git
def test_no_git_still_scores_and_refuses_to_log(project):
    shutil.rmtree(project.path / ".git")
    environ = os.environ | {"GIT_CEILING_DIRECTORIES": str(project.path.parent)}
    block, _ = project.evaluate(env=environ)
    assert block["status"] == "ok" and block["commit"] == "none"
    done = project.run("log", env=environ)
    assert done.returncode == 3 and done.stderr.count("\n") == 1


def test_without_the_git_program_it_scores_and_refuses_to_log(project):
    environ = os.environ | {"PATH": "/nowhere"}
    block, _ = project.evaluate(env=environ)
    assert block["status"] == "ok" and block["commit"] == "none"
    done = project.run("log", env=environ)
    assert done.returncode == 3 and "git is not installed" in done.stderr


def test_no_git_identity_is_needed(project):
    project.git("checkout", "-qb", "autoresearch/night")
    environ = os.environ | {"HOME": "/nowhere", "GIT_CONFIG_NOSYSTEM": "1"}
    environ |= {"GIT_CONFIG_GLOBAL": "/dev/null", "EMAIL": ""}
    block, _ = project.evaluate(env=environ)
    assert block["status"] == "ok"
    assert "KEPT" in project.run("log", env=environ).stdout


# ------------------------------------------------------------------------ frozen
FROZEN_FILES = ["prepare.py", "uv.lock", "data/heart.csv", ".claude/harness/judge.py"]


@pytest.mark.parametrize("name", FROZEN_FILES)
def test_a_changed_frozen_file_gets_no_score_and_the_cure_keeps_the_edit(project, name):
    start_run(project)
    project.next_idea(1)
    project.pretend("0.95")
    with (project.path / name).open("a") as file:
        file.write("\n")
    for command in ("evaluate", "log", "state"):
        done = project.run(command)
        assert f"frozen: {name} changed" in done.stdout + done.stderr
        assert not re.search(r"val_auc: ?\d|KEPT", done.stdout)
    project.shell(cure_in(project.run("state").stdout))
    assert "KEPT" in project.run("log").stdout
    assert "+" in project.git("stash", "show", "-p")


def test_a_frozen_file_that_is_deleted_gets_no_score_and_comes_back(project):
    start_run(project)
    (project.path / "program.md").unlink()
    assert "frozen: program.md" in project.evaluate()[0]["status"]
    project.shell(cure_in(project.run("state").stdout))
    assert (project.path / "program.md").exists()
    assert "next: propose" in project.run("state").stdout


def test_a_frozen_file_changed_in_a_commit_gets_no_score_but_a_new_run(project):
    start_run(project)
    with (project.path / "program.md").open("a") as file:
        file.write("\n")
    project.git("commit", "-qam", "steer")
    block, _ = project.evaluate()
    assert "frozen: program.md" in block["status"] and block["val_auc"] == ""
    project.shell(cure_in(project.run("state").stdout))
    assert "autoresearch/night-2 · not started" in project.run("state").stdout


def test_edits_of_frozen_files_before_the_first_score_are_committed(project):
    project.git("checkout", "-qb", "autoresearch/night")
    replace(project.path / "prepare.py", "PLATEAU = 5", "PLATEAU = 3")
    assert "frozen: prepare.py changed" in project.evaluate()[0]["status"]
    project.shell(cure_in(project.run("state").stdout))
    assert "PLATEAU = 3" in project.git("show", "HEAD:prepare.py")
    assert "next: run the evaluation" in project.run("state").stdout


def test_a_replacement_of_gits_hides_no_change(project):
    start_run(project)
    with (project.path / "prepare.py").open("a") as file:
        file.write("# x\n")
    old = project.git("rev-parse", "HEAD:prepare.py")
    project.git("replace", "-f", old, project.git("hash-object", "-w", "prepare.py"))
    assert "frozen: prepare.py" in project.run("state").stdout


def test_a_harness_that_git_ignores_is_refused_with_a_cure(project):
    project.git("rm", "-rq", "--cached", ".claude", "uv.lock")
    (project.path / ".gitignore").write_text(".claude/\n*.lock\n")
    project.git("commit", "-qam", "begun by hand")
    said = project.run().stdout
    assert "FAIL frozen: not in git" in said and ".claude/harness/judge.py" in said
    project.git("checkout", "-qb", "autoresearch/night")
    assert "not in git" in project.evaluate()[0]["status"]
    project.shell(cure_in(project.run("state").stdout))
    assert "next: run the evaluation" in project.run("state").stdout


def test_files_of_the_users_and_the_clients_are_not_in_the_way(project):
    start_run(project)
    (project.path / ".claude" / "settings.local.json").write_text("{}\n")
    (project.path / ".claude" / "agents").mkdir()
    (project.path / ".claude" / "agents" / "mine.md").write_text("an agent\n")
    (project.path / "data" / "own.csv").write_text("a,b\n")
    assert "next: propose" in project.run("state").stdout


def test_a_table_that_git_does_not_track_is_pinned_by_the_run(project):
    own, heart = project.path / "data" / "own.csv", project.path / "data" / "heart.csv"
    own.write_text(heart.read_text())
    replace(project.path / "prepare.py", '"heart.csv"', '"own.csv"')
    project.git("commit", "-qam", "own table")
    project.git("checkout", "-qb", "autoresearch/night")
    project.evaluate_and_log()
    own.write_text(own.read_text() + "50,1,4,130,250,0,2,150,0,1.0,2,0,3,0\n")
    assert (
        "not the one that autoresearch/night began with"
        in (project.evaluate()[0]["status"])
    )
    own.write_text(heart.read_text())
    assert project.evaluate()[0]["status"] == "ok"


# ------------------------------------------------------------------------ modules
@pytest.mark.parametrize(
    "name", ["sklearn", pytest.param("pickle", marks=pytest.mark.thorough)]
)
def test_module_dropped_beside_the_harness_is_not_imported(project, name):
    for folder in (project.path, project.path / ".claude"):
        (folder / f"{name}.py").write_text("print('val_auc: 1.0'); 1 / 0\n")
    _, done = project.evaluate()
    assert "val_auc: 1.0" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_folder_within_the_readable_system_is_refused(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    here = f"READABLE = (\n    {str(project.path.parent)!r},"
    replace(sandbox, "READABLE = (", here)
    peek = BASELINE + f"\nopen({str(project.path / 'data' / 'heart.csv')!r}).read()\n"
    block, _ = project.evaluate(peek)
    assert block["status"] != "ok"


def test_a_sandbox_that_does_not_stand_is_told_with_its_reason(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    replace(sandbox, '    os.chdir("/")\n', "    raise OSError('no sandbox')\n")
    block, done = project.evaluate()
    fault = r"crashed \(harness: fold \d: no sandbox \(OSError: no sandbox\): .*\)"
    assert re.fullmatch(fault, block["status"])
    assert "in confine" in done.stderr
    assert "FAIL sandbox" in project.run().stdout


@linux
def test_a_killed_fork_server_is_told_and_leaves_no_orphan(project):
    run = Midway(project)
    server = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children")
    os.kill(int(server.read_text().split()[0]), signal.SIGKILL)
    block, alone = run.end()
    assert alone and block["status"].startswith("crashed (")
