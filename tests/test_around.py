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
from conftest import ROOT, block_of, replace

from harness.ratchet import FIELDS, FROZEN

BASELINE = (ROOT / "train.py").read_text()
HEADER = "\t".join(FIELDS) + "\n"
SLOW = """
import time
def feature_fn(X):
    time.sleep(60)
def build_pipeline(): pass
"""
FLEE = """
import ctypes, os, time
if ctypes.CDLL(None).fork() == 0:
    os.setsid()
    time.sleep(60)
    os._exit(0)
"""
linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


def with_hypothesis(text):
    """The baseline under another name."""
    return re.sub("HYPOTHESIS = .*", lambda _: f"HYPOTHESIS = {text!r}", BASELINE)


def start_run(project):
    """On a new run branch."""
    project.git("checkout", "-qb", "autoresearch/night")


def fake_block(project, val_auc="0.900000", status="ok"):
    """run.log of HEAD with this val_auc, without a run."""
    lines = [f"commit: {project.git('rev-parse', 'HEAD')}", "hypothesis: an idea"]
    lines += [f"val_auc: {val_auc}", f"test_auc: {val_auc}", f"test_acc: {val_auc}"]
    lines += ["wall_time_s: 1.00", f"status: {status}"]
    (project.path / "run.log").write_text("\n".join(lines) + "\n")


def next_idea(project, number):
    """A commit with another train.py."""
    (project.path / "train.py").write_text(BASELINE + f"# {number}\n")
    project.git("commit", "-qam", f"idea {number}")


def rows(project):
    """Lines of results.tsv, split into cells."""
    lines = (project.path / "results.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines]


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
        environ["TMPDIR"] = str(project.path.parent)  # SIGKILL leaves files there
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
def test_run_killed_with_a_fled_process_leaves_no_orphan(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    replace(sandbox, "    if landlock_version():\n", "    if False:\n")  # it may flee
    run = Midway(project, FLEE + SLOW)
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
    replace(candidate, "    alive = set()\n", "    os.kill(os.getpid(), 9)\n")
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


def test_interrupted_run_is_not_logged(project):
    start_run(project)
    fake_block(project, "", "crashed (harness: interrupted)")
    done = project.run("log")
    assert done.returncode == 3 and "no measurement" in done.stderr
    assert not (project.path / "results.tsv").exists()


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
    start_run(project)
    fake_block(project)
    project.path.chmod(0o500)
    done = run_as_user(project, "log")
    assert done.returncode == 3 and "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert block_of(run_as_user(project, "evaluate").stdout)["status"] == "ok"
    (project.path / "train.py").chmod(0)
    done = run_as_user(project, "evaluate")
    assert done.returncode == 1
    assert "Permission denied" in block_of(done.stdout)["status"]


def run_as_user(project, command):
    """prepare.py without the power to ignore modes."""
    words = as_user(sys.executable, "prepare.py", command)
    return subprocess.run(words, cwd=project.path, capture_output=True, text=True)


# ----------------------------------------------------------------- results.tsv
def test_full_disk_logs_nothing_and_says_so(project):
    start_run(project)
    fake_block(project)
    full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # noqa: E731
    done = project.run("log", preexec_fn=full)
    assert done.returncode == 3 and "nothing was logged" in done.stderr
    assert not (project.path / "results.tsv").exists()
    assert "KEPT" in project.run("log").stdout
    assert len(rows(project)) == 2


def test_half_full_disk_leaves_no_half_row(project):
    start_run(project)
    old = HEADER + "abcdef0\t0.5\t0.5\t1.0\tkeep\tof another run\n"
    (project.path / "results.tsv").write_text(old)
    fake_block(project)
    size = len(old) + 9
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
    done = project.run("log", preexec_fn=limit)
    assert done.returncode == 3 and "nothing was logged" in done.stderr
    assert (project.path / "results.tsv").read_text() == old


@pytest.mark.parametrize("rest", ["1234567\t0.9", "\0\0\0"])
def test_damaged_last_line_is_named_and_costs_no_row(project, rest):
    start_run(project)
    (project.path / "results.tsv").write_text(HEADER + rest)
    fake_block(project)
    done = project.run("log")
    assert "KEPT" in done.stdout and "line 2 is damaged" in done.stderr
    assert rows(project)[-1][0] == project.git("rev-parse", "HEAD")[:7]


def test_results_with_crlf_are_read(project):
    start_run(project)
    fake_block(project)
    project.run("log")
    results = project.path / "results.tsv"
    results.write_bytes(results.read_bytes().replace(b"\n", b"\r\n"))
    next_idea(project, 1)
    fake_block(project)
    done = project.run("log")
    assert "Δ +0.0000) | DISCARDED" in done.stdout and done.stderr == ""


def test_rows_of_two_runs_never_mix_in_bar_or_number(project):
    start_run(project)
    fake_block(project, "0.950000")
    project.run("log")
    project.git("checkout", "-q", "trunk")
    next_idea(project, 0)
    project.git("checkout", "-qb", "autoresearch/second")
    fake_block(project, "0.800000")
    first = project.run("log").stdout
    next_idea(project, 1)
    fake_block(project, "0.810000")
    second = project.run("log").stdout
    assert "iter 0 | val_auc=0.8000 (Δ none) | KEPT" in first
    assert "iter 1 | val_auc=0.8100 (Δ +0.0100) | KEPT" in second
    assert "best 0.8100" in project.run("state").stdout


def test_tabs_and_newlines_in_hypothesis_make_one_row(project):
    start_run(project)
    train = with_hypothesis("a\tb\nc\r\nd\x1b[2K\u2028e")
    done = project.iterate(train)
    assert "KEPT — a b c d [2K e" in done.stdout
    assert [len(cells) for cells in rows(project)] == [6, 6]


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
    start_run(project)
    environ = os.environ | {"HOME": "/nowhere", "GIT_CONFIG_NOSYSTEM": "1"}
    environ |= {"GIT_CONFIG_GLOBAL": "/dev/null", "EMAIL": ""}
    block, done = project.evaluate(env=environ)
    assert block["status"] == "ok"
    (project.path / "run.log").write_text(done.stdout)
    assert "KEPT" in project.run("log", env=environ).stdout


@pytest.mark.parametrize(
    "trick",
    [
        "--assume-unchanged",
        pytest.param("", marks=pytest.mark.thorough),
        pytest.param("--skip-worktree", marks=pytest.mark.thorough),
    ],
)
@pytest.mark.parametrize("name", [*FROZEN[:4], ".claude/harness/judge.py"])
def test_changed_frozen_file_gets_no_score_and_is_named(project, name, trick):
    start_run(project)
    fake_block(project)
    if trick:
        project.git("update-index", trick, name)
    with (project.path / name).open("a") as file:
        file.write("\n")
    for command in ("evaluate", "log"):
        done = project.run(command)
        assert name in done.stdout + done.stderr and done.returncode != 0
        assert "frozen" in done.stdout + done.stderr
        assert not re.search(r"val_auc: ?\d|KEPT", done.stdout)
    assert not (project.path / "results.tsv").exists()


def test_frozen_file_changed_in_a_commit_gets_no_score(project):
    start_run(project)
    with (project.path / "program.md").open("a") as file:
        file.write("\n")
    project.git("commit", "-qam", "sly")
    block, _ = project.evaluate()
    assert "program.md" in block["status"] and block["val_auc"] == ""


def test_damaged_data_is_refused(project):
    with (project.path / "data" / "heart.csv").open("a") as file:
        file.write("63,1,1,145,233,1,2,150,0,2.3,3,0,6,0\n")
    block, done = project.evaluate()
    assert "damaged" in block["status"] and "git restore" in block["status"]
    assert done.returncode == 1 and block["val_auc"] == ""


@pytest.mark.parametrize(
    "name", ["sklearn", pytest.param("pickle", marks=pytest.mark.thorough)]
)
def test_module_dropped_beside_the_harness_is_not_imported(project, name):
    start_run(project)
    rooms = project.path / ".claude"
    for folder in (project.path, rooms, rooms / "harness"):
        (folder / f"{name}.py").write_text("print('val_auc: 1.0'); 1 / 0\n")
    _, done = project.evaluate()
    assert "val_auc: 1.0" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_poisoned_bytecode_is_not_run(project):
    harness = project.path / ".claude" / "harness"
    evil = project.path / "evil.py"
    evil.write_text("print('val_auc: 1.0')\nraise SystemExit(0)\n")
    compiled = "import py_compile, sys; py_compile.compile(*sys.argv[1:3], "
    compiled += "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
    for name in ("candidate", "judge", "ratchet"):
        tag = sys.implementation.cache_tag
        target = harness / "__pycache__" / f"{name}.{tag}.pyc"
        command = [sys.executable, "-c", compiled, str(evil), str(target)]
        subprocess.run(command, check=True)
    block, done = project.evaluate()
    assert block["status"] == "ok" and "val_auc: 1.0\n" not in done.stdout


def test_folder_within_the_readable_system_is_refused(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    replace(sandbox, 'SYSTEM = "/usr', f'SYSTEM = "{project.path.parent} /usr')
    peek = BASELINE + f"\nopen({str(project.path / 'data' / 'heart.csv')!r}).read()\n"
    block, _ = project.evaluate(peek)
    assert block["status"] != "ok"


def test_a_short_disk_is_the_harnesss_fault_not_the_ideas(project):
    replace(project.path / "prepare.py", "DISK_BYTES = 2**28", "DISK_BYTES = 2**58")
    block, _ = project.evaluate()
    assert block["status"].startswith("crashed (harness: ")
    assert "is on a disk with less than" in block["status"]
    assert project.run().returncode == 3


def test_a_sandbox_that_does_not_stand_is_told_with_its_reason(project):
    sandbox = project.path / ".claude" / "harness" / "sandbox.py"
    replace(sandbox, "    os.chdir(folder)\n", "    raise OSError('no sandbox')\n")
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


# --------------------------------------------------------------- log and state
def test_stale_or_foreign_run_log_is_refused(project):
    start_run(project)
    fake_block(project)
    next_idea(project, 1)
    done = project.run("log")
    assert done.returncode == 3 and "not of HEAD" in done.stderr
    (project.path / "run.log").write_text("val_auc: 0.99\nstatus: ok\n")
    assert "of no commit" in project.run("log").stderr
    (project.path / "run.log").unlink()
    assert project.run("log").returncode == 3
    assert not (project.path / "results.tsv").exists()


def test_uncommitted_train_py_is_refused(project):
    start_run(project)
    fake_block(project)
    (project.path / "train.py").write_text(BASELINE + "# more\n")
    done = project.run("log")
    assert done.returncode == 3 and "not as committed" in done.stderr


def test_head_with_a_row_gets_no_second(project):
    start_run(project)
    fake_block(project)
    project.run("log")
    done = project.run("log")
    assert done.returncode == 3 and "has its row already: keep" in done.stderr
    assert len(rows(project)) == 2


@pytest.mark.parametrize("checkout", [["trunk"], ["--detach"]])
def test_outside_of_a_run_nothing_is_logged(project, checkout):
    project.git("checkout", "-q", *checkout)
    fake_block(project)
    for command in ("log", "state"):
        done = project.run(command)
        assert done.returncode == 3 and "is not a run" in done.stderr
        assert done.stderr.count("\n") == 1
