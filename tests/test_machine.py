"""The user's machine and configuration: nothing of it breaks the night, cures cure."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Project, replace

from harness import machine, preflight
from harness.ratchet import CALL_S, Refused

SECOND = re.search(r"^   (git commit .*)", (ROOT / "program.md").read_text(), re.M)[1]
THIRD = re.search(r"^   (uv run .*)", (ROOT / "program.md").read_text(), re.M)[1]
BASELINE = (ROOT / "train.py").read_text()
root_only = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="makes namespaces or cgroups: Linux, root",
)
needs_uv = pytest.mark.skipif(not shutil.which("uv"), reason="no uv")


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A project on the branch of a run whose baseline is logged."""
    project = Project(tmp_path_factory.mktemp("started") / "project")
    project.git("config", "user.name", "Ada")
    project.git("config", "user.email", "ada@example.org")
    project.git("checkout", "-qb", "autoresearch/t")
    project.evaluate_and_log()
    return project


@pytest.fixture
def run(started, tmp_path):
    """A copy of it."""
    return started.copy(tmp_path / "a folder, ä" / "project")


def by_hand(command):
    """A command of program.md for this interpreter: uv is not needed."""
    return command.replace("uv run ", "python ").replace("<hypothesis>", "an idea")


def cure_in(text):
    """The command that a refusal prints: its last words."""
    return re.search(r".*(?:: |, )((?:git|export|rm|sed) .*)$", text.strip(), re.M)[1]


def state(project):
    return project.run("state").stdout


def weaker(project, C=0.1):
    """An idea, written into train.py."""
    text = re.sub(r"max_iter=1000[^)]*", f"max_iter=1000, C={C}", BASELINE)
    (project.path / "train.py").write_text(text)


# ------------------------------------------------------------- git and the shell
@pytest.mark.parametrize(
    "settings",
    [
        "commit.gpgsign=true gpg.format=ssh user.signingkey=/none.pub "
        "log.showSignature=true core.autocrlf=true "
        "diff.external=false diff.noprefix=true diff.relative=true",
        "core.hooksPath=hooks core.quotePath=true core.pager=false status.short=true "
        "core.autocrlf=input core.fsmonitor=true core.attributesFile=hooks/binary",
    ],
)
def test_the_loops_commands_work_whatever_the_users_settings(run, settings):
    hooks = run.path / "hooks"
    hooks.mkdir()
    (hooks / "binary").write_text("*.py binary\n")
    for name in ("pre-commit", "post-checkout"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    for setting in settings.split():
        run.git("config", *setting.split("=", 1))
    run.git("tag", "autoresearch/t", "trunk")
    for C, word in [(0.1, "KEPT"), (0.00001, "DISCARDED"), (0.3, "KEPT")]:
        weaker(run, C)
        said = run.shell(f"set -C; {by_hand(SECOND)}; {by_hand(THIRD)}")
        assert "status: ok" in said and word in said and "next: propose" in said
    assert "3 iterations in 0.0 h: 2 kept, 1 discarded" in run.run("progress").stdout
    assert "ok   commit" in run.run().stdout


def test_the_variables_of_a_git_hook_do_not_reach_the_harness(run, tmp_path):
    other = Project(tmp_path / "other")
    exported = {"GIT_DIR": f"{other.path}/.git", "GIT_WORK_TREE": str(other.path)}
    done = run.run("state", env=os.environ | exported)
    assert "autoresearch/t · iter 0" in done.stdout
    call = {"hook_event_name": "PreToolUse", "tool_name": "Bash"}
    answer = subprocess.run(
        [sys.executable, "-I", ".claude/hooks/gate.py"],
        cwd=run.path,
        env=os.environ | exported,
        input=json.dumps(call | {"tool_input": {"command": "git status"}}),
        capture_output=True,
        text=True,
    )
    assert "unset GIT_DIR GIT_WORK_TREE" in answer.stdout


def test_a_failed_commit_shows_no_old_numbers(run):
    hook = run.path / ".git" / "hooks" / "prepare-commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no ticket >&2; exit 1\n")
    hook.chmod(0o755)
    weaker(run)
    said = run.shell(f"({by_hand(SECOND)}) 2>&1")
    assert "no ticket" in said and "val_auc: 0" not in said
    assert "hook" in run.run().stdout


@pytest.mark.parametrize("name", ["train.py", "program.md", "prepare.py"])
def test_a_file_with_the_line_ends_of_windows_is_the_same_file(run, name):
    weaker(run)
    file = run.path / name
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    said = run.shell(f"{by_hand(SECOND)}; {by_hand(THIRD)}")
    assert "KEPT" in said and "next: propose" in said


def test_a_lock_that_a_killed_git_left_halts_with_its_cure(run):
    (run.path / ".git" / "index.lock").touch()
    assert "next: halt" in state(run)
    run.shell(cure_in(state(run)))
    assert "next: propose" in state(run)


def test_a_reset_is_judged_as_wide_as_it_reaches(tmp_path):
    big = Project(tmp_path / "big")
    whole = tmp_path / "whole"
    shutil.copytree(big.path, whole / "inside", ignore=shutil.ignore_patterns(".git"))
    project = object.__new__(Project)
    project.path = whole / "inside"
    (whole / "notes.txt").write_text("notes\n")
    for words in ["init -q -b trunk ..", "add -A ..", "commit -qm root"]:
        project.git(*words.split())
    project.git("checkout", "-qb", "autoresearch/t")
    project.evaluate_and_log()
    weaker(project, 0.00001)
    project.git("commit", "-qm", "too strong", "train.py")
    assert "DISCARDED" in project.evaluate_and_log().stdout
    (whole / "notes.txt").write_text("a thought\n")
    call = {"hook_event_name": "PreToolUse", "tool_name": "Bash"}
    answers = {}
    for kind in ("--hard", "--keep"):
        command = {"command": f"git reset -q {kind} HEAD~1"}
        answers[kind] = subprocess.run(
            [sys.executable, "-I", ".claude/hooks/gate.py"],
            cwd=project.path,
            input=json.dumps(call | {"tool_input": command}),
            capture_output=True,
            text=True,
        ).stdout
    assert '"allow"' in answers["--keep"] and '"deny"' in answers["--hard"]


# ----------------------------------------------- nothing loosens the ratchet
@pytest.mark.parametrize(
    "loss",
    [
        "git reflog expire --expire=now --all",
        "rm -r .git/logs",
        "git config core.logAllRefUpdates false && rm -r .git/logs",
    ],
)
def test_without_a_reflog_the_bar_and_the_count_stay(run, loss):
    weaker(run, 0.00001)
    run.shell(f"{by_hand(SECOND)}; {by_hand(THIRD)}")
    run.shell(loss)
    assert "iter 1 · 0 kept · best 0.8960" in state(run)
    weaker(run, 0.00002)
    assert "DISCARDED" in run.shell(f"{by_hand(SECOND)}; {by_hand(THIRD)}")
    assert "2 iterations in 0.0 h: 0 kept, 2 discarded" in run.run("progress").stdout
    replace(run.path / "prepare.py", "BUDGET_S = 180", "BUDGET_S = 181")
    assert "frozen: prepare.py" in run.evaluate()[0]["status"]


def test_a_run_whose_beginning_git_does_not_know_is_refused_with_a_cure(run):
    run.git("checkout", "-qb", "autoresearch/unknown", "trunk")
    run.shell("rm -r .git/logs")
    assert run.evaluate()[0]["status"].startswith("crashed (harness: git does not know")
    run.shell(cure_in(state(run)))
    assert "next: propose" in state(run) and run.evaluate()[0]["status"] == "ok"


def test_a_base_that_contradicts_the_reflog_is_refused_with_a_cure(run):
    weaker(run)
    run.shell(f"{by_hand(SECOND)}; {by_hand(THIRD)}")
    run.git("config", "branch.autoresearch/t.base", run.git("rev-parse", "HEAD"))
    assert "by its reflog" in run.evaluate()[0]["status"]
    run.shell(cure_in(state(run)))
    assert "iter 1 · 1 kept" in state(run)


def test_a_branch_that_has_left_its_base_is_refused_with_a_cure(run):
    run.git("commit", "--amend", "-qm", "another start")
    assert "has left it" in state(run)
    run.shell(cure_in(state(run)))
    assert "autoresearch/t-2 · not started" in state(run)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("\t0.895971", "\t0,895971"),
        lambda text: text.replace("\t0.895971", "\t0.895"),
        lambda text: text.replace("\tkeep", "\tdiscard"),
        lambda text: text.splitlines()[0] + "\n",
        lambda text: "",
    ],
)
def test_a_row_that_is_not_as_it_was_logged_stops_the_log_with_a_cure(run, damage):
    results = run.path / "results.tsv"
    results.write_text(damage(results.read_text()))
    weaker(run, 0.00001)
    said = run.shell(f"({by_hand(SECOND)}; {by_hand(THIRD)}) 2>&1")
    assert "refused: results.tsv has" in said and "next: halt" in said
    assert "too" not in results.read_text()
    run.shell(cure_in(state(run)))
    assert "KEPT" in run.evaluate_and_log().stdout


def test_a_frozen_file_changed_by_a_commit_is_refused_with_a_cure(run):
    with (run.path / "program.md").open("a") as program:
        program.write("be generous\n")
    run.git("commit", "-qam", "steer")
    weaker(run)
    run.git("commit", "-qam", "an idea")
    run.shell(re.search(r": (git branch .*?), or,", state(run))[1])
    assert run.git("rev-parse", "HEAD") == run.git("rev-parse", "trunk")
    assert "next: propose" in state(run)
    (kept,) = run.git(
        "for-each-ref", "--format=%(refname)", "refs/heads/edited-*"
    ).split()
    assert "be generous" in run.git("show", f"{kept}:program.md")


def test_a_row_that_was_never_logged_is_refused_with_a_cure(run):
    weaker(run)
    run.git("commit", "-qam", "an idea")
    row = [run.git("rev-parse", "--short=7", "HEAD"), "0.95", "0.95", "1", "keep", "x"]
    with (run.path / "results.tsv").open("a") as results:
        results.write("\t".join(row) + "\n")
    assert "never logged" in state(run)
    run.shell(cure_in(state(run)))
    assert "next: run" in state(run)


def test_a_run_whose_baseline_crashed_goes_on(project):
    (project.path / "train.py").write_text("1 / 0\n")
    project.git("commit", "-qam", "broken")
    project.git("checkout", "-qb", "autoresearch/t")
    assert "CRASHED" in project.evaluate_and_log().stdout
    assert "next: propose" in state(project)
    assert "KEPT" in project.iterate(BASELINE).stdout


def test_another_lock_than_the_bases_is_refused_with_a_cure(run):
    with (run.path / "uv.lock").open("a") as lock:
        lock.write("# by a setting of the user\n")
    said = state(run)
    assert "next: halt: frozen: uv.lock" in said
    run.shell(re.search(r": (export .*?), or,", said)[1])
    assert "next: propose" in state(run)


# ------------------------------------------------------------------ the check
@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("git config user.useConfigOnly true", "commit"),
        ("touch .git/index.lock", "commit"),
        ("git config core.logAllRefUpdates false", "commit"),
        ("git config core.hooksPath $PWD/hooks", "commit"),
        ("echo '# more' >> uv.lock", "lock"),
    ],
)
def test_the_check_finds_what_would_stop_the_night_and_cures_it(project, fault, word):
    # AutoML takes most of the time, and has tests of its own.
    preflight_py = project.path / ".claude" / "harness" / "preflight.py"
    source = preflight_py.read_text()
    preflight_py.write_text(re.sub(r"\n.*AutoML.*", "", source))
    project.git("commit", "-qam", "a quick check")
    (project.path / "hooks").mkdir()
    hook = project.path / "hooks" / "prepare-commit-msg"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    if "useConfigOnly" not in fault:
        project.git("config", "user.name", "Ada")
        project.git("config", "user.email", "ada@example.org")
    project.shell(fault)
    nobody = dict(os.environ)
    said = project.run(env=nobody).stdout.splitlines()
    failed = [line for line in said if line.startswith("FAIL")]
    assert len(failed) == 1 and word in failed[0]
    project.shell(cure_in(failed[0]))
    done = project.run(env=nobody)
    assert done.returncode == 0, done.stdout
    assert project.git("worktree", "list").count("\n") == 0


def test_a_budget_longer_than_a_call_is_found_before_the_night():
    with pytest.raises(Refused, match="BUDGET_S = 3600: more than 0, less than 3540"):
        preflight.budget(3600, 2)
    env = json.loads((ROOT / ".claude" / "settings.json").read_text())["env"]
    limits = {env["BASH_DEFAULT_TIMEOUT_MS"], env["BASH_MAX_TIMEOUT_MS"]}
    assert limits == {str(1000 * CALL_S)}


def test_a_library_that_does_not_fit_is_found_before_the_night(project):
    preflight = project.path / ".claude" / "harness" / "preflight.py"
    replace(preflight, "from xgboost import", "from xgboost.missing import")
    assert "FAIL libraries: fit: ModuleNotFoundError" in project.run().stdout


@needs_uv
def test_the_gate_answers_where_the_environment_is_elsewhere(project):
    environ = os.environ | {"UV_PROJECT_ENVIRONMENT": sys.prefix}
    assert not (project.path / ".venv").exists()
    said = project.run(env=environ).stdout
    assert "ok   gate" in said
    assert not (project.path / ".venv").exists()


# ---------------------------------------------------------------- the machine
GROUPS = {
    "v2": {
        "proc": "0::/a/b\n",
        "a/b/memory.max": "max",
        "a/memory.max": "300000000",
        "a/b/cpu.max": "150000 100000",
        "cpu.max": "max 100000",
    },
    "v2 in a container": {
        "proc": "0::/../..\n",
        "memory.max": "300000000",
        "cpu.max": "150000 100000",
    },
    "v1": {
        "proc": "4:memory:/x\n1:cpu,cpuacct:/x/y\n0::/\n",
        "memory/x/memory.limit_in_bytes": "300000000",
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "cpu/x/cpu.cfs_quota_us": "150000",
        "cpu/x/cpu.cfs_period_us": "100000",
        "cpu/x/y/cpu.cfs_quota_us": "-1",
        "cpu/x/y/cpu.cfs_period_us": "100000",
    },
}


@pytest.mark.parametrize("files", GROUPS.values(), ids=GROUPS)
def test_the_limits_of_a_container_count(tmp_path, monkeypatch, files):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    real = machine.read
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    proc = Path("/proc/self/cgroup")
    monkeypatch.setattr(
        machine, "read", lambda path: real(tmp_path / "proc" if path == proc else path)
    )
    assert machine.memory() == 300_000_000
    assert list(machine.quotas()) == [1.5]
    assert machine.n_cores() == min(2, len(os.sched_getaffinity(0)))


def test_streams_may_be_closed(project):
    evaluate = "exec python prepare.py evaluate <&- 2>&-"
    assert "status: ok" in project.shell(f"bash -c '{evaluate}'")


def test_a_limit_of_files_is_no_fault_of_the_ideas(project):
    evaluate = "ulimit -f 1; exec python prepare.py evaluate"
    assert "status: crashed (harness: " in project.shell(f"bash -c '{evaluate}'")


@root_only
def test_memory_beyond_a_containers_limit_is_told_as_what_it_is(project):
    group = Path("/sys/fs/cgroup/memory/autoresearch-test")
    if not group.parent.is_dir():
        pytest.skip("no cgroup of version 1 for memory")
    hoard = "Z = [b'x' * 2**23 for _ in X.index]"
    greedy = BASELINE.replace("return X", f"{hoard}\n    return X")
    (project.path / "train.py").write_text(greedy)
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(350 << 20))
        inside = f"echo $$ > {group}/cgroup.procs; exec python prepare.py evaluate"
        said = project.shell(f"sh -c '{inside}'")
    finally:
        group.rmdir()
    assert re.search(r"status: crashed \(fold \d: .*out of memory", said)


@root_only
def test_proc_of_another_pid_namespace_is_no_obstacle(project):
    command = "unshare --pid --fork --kill-child python prepare.py evaluate 2>&1"
    assert "status: ok" in project.shell(command)


@root_only
def test_programs_need_not_be_in_usr_bin(project, tmp_path):
    script = (
        "mount --make-rprivate /; cp /usr/bin/env none/; cp $(readlink -f /bin/sh) "
        "none/sh; mount --bind /usr/bin bin; mount --bind none /usr/bin; "
        "PATH=$PWD/bin:$PATH exec python prepare.py evaluate 2>&1"
    )
    for name in ("bin", "none"):
        (project.path / name).mkdir()
    assert "status: ok" in project.shell(f"unshare -m sh -c '{script}'")


def test_links_in_the_environment_are_followed_by_the_sandbox(project, tmp_path):
    real = Path(sys.prefix)
    venv = tmp_path / "venv"
    place = Path(shutil.__file__) and next(real.glob("lib/python*/site-packages"))
    target = venv / place.relative_to(real)
    target.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    shutil.copy(real / "pyvenv.cfg", venv)
    for item in place.iterdir():
        (target / item.name).symlink_to(item)
    done = subprocess.run(
        [venv / "bin" / "python", "prepare.py", "evaluate"],
        cwd=project.path,
        capture_output=True,
        text=True,
    )
    assert "status: ok" in done.stdout, done.stderr
