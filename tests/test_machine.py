"""The user's machine and configuration: nothing of it breaks the night, cures cure."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BASELINE, ROOT, Project, cure_in, scores_of

import prepare
from harness import judge, preflight
from harness.errors import Crash, Refused
from harness.ratchet import CALL_S

SECOND = re.search(r"^   (git commit .*)", (ROOT / "program.md").read_text(), re.M)[1]
THIRD = "uv run prepare.py log"
root_only = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="makes namespaces or cgroups: Linux, root",
)
needs_uv = pytest.mark.skipif(not shutil.which("uv"), reason="no uv")


def by_hand(command):
    """A command of program.md for this interpreter: uv is not needed."""
    return command.replace("uv run ", "python ").replace("<reason>", "an idea")


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
    run.git("tag", "autoresearch/night", "trunk")
    weaker(run)
    said = run.shell(f"set -C; {by_hand(SECOND)}; {by_hand(THIRD)}")
    assert "status: ok" in said and "KEPT" in said and "next: propose" in said
    weaker(run, 0.00001)
    run.shell(by_hand(SECOND.partition(" && ")[0]))
    run.pretend("0.1")
    said = run.shell(by_hand(THIRD))
    assert "DISCARDED" in said and "next: propose" in said
    assert "ok   commit" in run.check("commit")


def test_the_variables_of_a_git_hook_do_not_reach_the_harness(run, tmp_path):
    other = Project(tmp_path / "other")
    exported = {"GIT_DIR": f"{other.path}/.git", "GIT_WORK_TREE": str(other.path)}
    done = run.run("state", env=os.environ | exported)
    assert "autoresearch/night · iter 0" in done.stdout


def test_a_failed_commit_shows_no_old_numbers(run):
    hook = run.path / ".git" / "hooks" / "prepare-commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no ticket >&2; exit 1\n")
    hook.chmod(0o755)
    weaker(run)
    said = run.shell(f"({by_hand(SECOND)}) 2>&1")
    assert "no ticket" in said and "val_auc: 0" not in said
    assert "if a hook of yours says so" in run.check("commit")


def test_files_with_the_line_ends_of_windows_are_the_same_files(run):
    weaker(run)
    for name in ("train.py", "program.md", "prepare.py", ".claude/harness/judge.py"):
        file = run.path / name
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    run.git("commit", "-qm", "an idea", "train.py")
    run.pretend("0.95")
    said = run.run("log").stdout
    assert "KEPT" in said and "next: propose" in said


def test_a_lock_that_a_killed_git_left_is_told_with_its_cure(run):
    run.next_idea(1)
    run.pretend("0.1")
    (run.path / ".git" / "index.lock").touch()
    done = run.run("log")
    assert done.returncode == 3 and "Traceback" not in done.stderr
    run.shell(re.search(r"rm .*", done.stderr)[0])
    assert "DISCARDED" in run.run("log").stdout and "next: propose" in state(run)


def test_inside_a_larger_repository_nothing_else_is_touched(tmp_path):
    big = Project(tmp_path / "big")
    whole = tmp_path / "whole"
    shutil.copytree(big.path, whole / "inside", ignore=shutil.ignore_patterns(".git"))
    project = object.__new__(Project)
    project.path = whole / "inside"
    (whole / "notes.txt").write_text("notes\n")
    for words in ["init -q -b trunk ..", "add -A ..", "commit -qm root"]:
        project.git(*words.split())
    project.git("checkout", "-qb", "autoresearch/t")
    project.pretend_and_log()
    (whole / "notes.txt").write_text("a thought\n")
    project.next_idea(1)
    assert "DISCARDED" in project.pretend_and_log("0.1").stdout
    assert (whole / "notes.txt").read_text() == "a thought\n"
    (project.path / "program.md").write_text("changed\n")
    assert "frozen: program.md changed" in state(project)


def test_without_a_reflog_the_bar_and_the_count_stay(run):
    run.shell("git config core.logAllRefUpdates false && rm -r .git/logs")
    run.next_idea(1)
    assert "DISCARDED" in run.pretend_and_log("0.1").stdout
    assert "iter 1 · 0 kept · best 0.9000" in state(run)


# ------------------------------------------------------------------ the check
@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("git config user.useConfigOnly true", "commit"),
        ("git config core.hooksPath $PWD/hooks", "commit"),
        ("echo '# more' >> uv.lock", "frozen"),
    ],
)
def test_the_check_finds_what_would_stop_the_night_and_cures_it(project, fault, word):
    (project.path / "hooks").mkdir()
    hook = project.path / "hooks" / "prepare-commit-msg"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    if "useConfigOnly" not in fault:
        project.git("config", "user.name", "Ada")
        project.git("config", "user.email", "ada@example.org")
    project.shell(fault)
    items = "frozen", "commit"
    said = project.check(*items).splitlines()
    assert [line.split(":")[0] for line in said if "FAIL" in line] == [f"FAIL {word}"]
    project.shell(cure_in("\n".join(line for line in said if "FAIL" in line)))
    assert "FAIL" not in project.check(*items)
    assert project.git("worktree", "list").count("\n") == 0


def test_a_budget_longer_than_a_call_is_found_before_the_night():
    with pytest.raises(Refused, match="BUDGET_S = 3600: more than 0, less than 3540"):
        preflight.budget(3600)
    env = json.loads((ROOT / ".claude" / "settings.json").read_text())["env"]
    limits = {env["BASH_DEFAULT_TIMEOUT_MS"], env["BASH_MAX_TIMEOUT_MS"]}
    assert limits == {str(1000 * CALL_S)}


def test_a_library_that_does_not_fit_is_found_before_the_night(server, monkeypatch):
    broken = preflight.PROBE.replace("import numpy", "import xgboost.missing, numpy")
    monkeypatch.setattr(preflight, "PROBE", broken)
    with pytest.raises(Crash, match=r"fold \d: ModuleNotFoundError: .*xgboost"):
        preflight.sandbox(lambda s: scores_of(server, s.decode()), prepare.TABLE)


@needs_uv
def test_the_gate_answers_where_the_environment_is_elsewhere(project, monkeypatch):
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", sys.prefix)
    assert "ok   gate" in project.check("gate")
    assert not (project.path / ".venv").exists()


# ---------------------------------------------------------------- the machine
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="no cores are given to a process here"
)
def test_a_containers_quota_of_cpu_time_counts(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(judge, "CPU_QUOTA", quota)
    cores = judge.n_cores()
    quotas = {"50000 100000": 1, "150000 100000": min(2, cores), "max 100000": cores}
    for text, n in quotas.items():
        quota.write_text(text)
        assert judge.n_cores() == n
    quota.unlink()
    assert judge.n_cores() == cores


@root_only
def test_proc_of_another_pid_namespace_is_no_obstacle(project):
    command = "unshare --pid --fork --kill-child python prepare.py evaluate 2>&1"
    assert "status: ok" in project.shell(command)


def test_the_users_variables_and_the_limit_of_threads_reach_candidates(
    monkeypatch, capsys
):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    names = "OPENBLAS_CORETYPE", "PYTHONHASHSEED", "OMP_THREAD_LIMIT"
    source = f"import os; print([os.environ.get(name) for name in {names}]); 1 / 0"
    with prepare.server_of(source.encode()) as server, pytest.raises(Crash):
        scores_of(server, source)
    n_threads = judge.n_cores() // min(judge.n_cores(), len(prepare.JOBS))
    assert f"['Haswell', '42', '{n_threads}']" in capsys.readouterr().err


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
