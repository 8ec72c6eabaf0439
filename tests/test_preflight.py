"""What a user has set is seen before bed, and the cure that is told cures."""

import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
from conftest import IDENTITY, ROOT, Project

from harness import client, preflight
from harness.errors import Refused


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The user's folder of the client's settings, which is empty."""
    for name in ("CONFIG", "MANAGED"):
        monkeypatch.setattr(client, name, tmp_path / name)
        (tmp_path / name).mkdir()
    monkeypatch.setattr(client, "HERE", tmp_path / "project")
    (tmp_path / "project" / ".claude").mkdir(parents=True)
    return tmp_path


def refusal():
    try:
        client.check_settings()
    except Refused as refused:
        return str(refused)
    return ""


RULES = """Bash(git commit:*)  Bash(git commit *)  Bash(git *)  Bash(git:*)  Bash
Bash(*)  Bash(uv run:*)  Bash(*commit*)  Bash(git commit *--no-verify*)
Bash(*prepare.py*)  Bash(grep:*)  Bash(git checkout:*)  Read(./**/*.log)
Read(**/*.log)  Read(*.log)  Read(//**/*.log)  Read(run.log)  Read
Edit(./train.py)  Edit(*.py)  Edit(**)  Edit  Edit(run.log)"""
HARMLESS_RULES = """Bash(git commit)  Bash(git commit -m:*)  Bash(git add:*)
Bash(git commit --no-verify:*)  Bash(git push:*)  Bash(git reset:*)  Bash(rm:*)
Bash(python:*)  Read(/run.log)  Read(~/.ssh/**)  Read(./data/**)  Read(.env)
Write(run.log)  Write(train.py)  WebFetch  mcp__x"""


# As measured with the client itself, 2.1.332: a rule of the user's beats the gate.
@pytest.mark.parametrize("kind", ["ask", "deny"])
def test_a_rule_that_hits_the_loop_is_named_and_no_other(config, kind):
    file = config / "CONFIG" / "settings.json"
    for rule in RULES.replace("\n", "  ").split("  "):
        file.write_text(json.dumps({"permissions": {kind: ["Bash(rm:*)", rule]}}))
        assert f"{file}: permissions.{kind} has {rule}, which hits" in refusal(), rule
        file.write_text(json.dumps({"permissions": {kind: ["Bash(rm:*)"]}}))
        assert refusal() == ""
    harmless = HARMLESS_RULES.replace("\n", "  ").split("  ")
    file.write_text(json.dumps({"permissions": {kind: harmless}}))
    assert refusal() == ""


SWITCHES = [
    ("project/.claude/settings.local.json", {"disableAllHooks": True}),
    ("MANAGED/managed-settings.json", {"allowManagedHooksOnly": True}),
    ("MANAGED/managed-settings.d/10-x.json", {"disableSkillShellExecution": True}),
    ("CONFIG/remote-settings.json", {"strictPluginOnlyCustomization": ["skills"]}),
    ("CONFIG/settings.json", {"disableSkillShellExecution": True}),
    ("CONFIG/settings.json", {"permissions": {"defaultMode": "plan"}}),
]


@pytest.mark.parametrize(("name", "settings"), SWITCHES)
def test_a_switch_that_stops_the_loop_is_named_with_its_file(config, name, settings):
    file = config / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(settings))
    said = refusal()
    assert said.startswith(f"{file}: ")
    assert ("remove it" in said) or ("ask who manages this machine" in said)
    file.write_text("{}")
    assert refusal() == ""


def test_the_projects_settings_undo_those_that_a_user_may_have(config):
    project = config / "project" / ".claude" / "settings.json"
    project.write_text((ROOT / ".claude" / "settings.json").read_text())
    own = {"disableAllHooks": True, "disableSkillShellExecution": True}
    own |= {"allowManagedHooksOnly": True, "env": {"UV_LOCKED": "1"}}
    (config / "CONFIG" / "settings.json").write_text(json.dumps(own))
    assert refusal() == ""
    assert client.environment()["UV_LOCKED"] == "0"


@pytest.mark.parametrize(
    "name",
    [
        "CONFIG/commands/autoresearch.md",
        "CONFIG/skills/autoresearch/SKILL.md",
        "MANAGED/.claude/commands/autoresearch.md",
        "project/.claude/skills/autoresearch/SKILL.md",
    ],
)
def test_another_autoresearch_is_found_and_renamed_it_is_none(config, name):
    file = config / name
    file.parent.mkdir(parents=True)
    file.write_text("another loop")
    assert f"{file}: " in refusal() and refusal().endswith("rename it")
    if file.name == "SKILL.md":
        file.parent.rename(file.parent.with_name("other"))
    else:
        file.rename(file.with_name("other.md"))
    assert refusal() == ""


def test_settings_that_are_no_json_are_named(config):
    file = config / "CONFIG" / "settings.json"
    for text in ('{"env": {', "[]"):
        file.write_text(text)
        assert f"{file}: the client can't read its settings" in refusal()
    file.write_text("{}")
    assert refusal() == ""


def test_names_that_a_library_refuses_are_told_with_the_line_that_cures():
    from lightgbm import LGBMClassifier
    from xgboost import XGBClassifier

    y = [0, 1] * 30
    X = pd.DataFrame(
        {name: range(60) for name in ("a[b", "<c", "d, e", 'f"', "g {h:}")}
    )
    said = preflight.columns(X)
    assert all(repr(name) in said for name in X.columns)
    cured = {"X": X}
    exec(said.partition("write ")[2], cured)
    LGBMClassifier(n_estimators=2, verbose=-1).fit(cured["X"], y)
    XGBClassifier(n_estimators=2).fit(cured["X"], y)
    assert preflight.columns(cured["X"]) == preflight.columns(X[[]])


# ------------------------------------------------------------------ git
@pytest.mark.parametrize("inside", ["nowhere", "another repository"])
def test_an_unpacked_archive_is_told_how_to_become_a_repository(project, inside):
    project.shell("rm -rf .git")
    if inside != "nowhere":
        project.shell(
            "cd .. && git init -q && touch x && git add x && git commit -qm x"
        )
    said = project.check("frozen")
    assert said.startswith("FAIL frozen: git ") and "git init" in said
    project.shell(said.strip()[said.index("git init") :])
    assert project.check("frozen").startswith("ok ")


def test_quotes_and_line_breaks_in_the_path_stop_nothing(tmp_path):
    project = Project(tmp_path / 'it\'s a "test"\nök $x')
    said = project.run("check").stdout
    for item in ("data", "sandbox", "frozen", "commit"):
        assert f"ok   {item}: " in said
    project.git("checkout", "-qb", "autoresearch/night")
    (project.path / "new.md").write_text("x")
    assert "KEPT" in project.pretend_and_log().stdout


def test_what_a_users_git_says_reaches_no_terminal_raw(project):
    hook = project.path / ".git" / "hooks" / "prepare-commit-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nprintf 'no\\033[2Jticket\\n' >&2; exit 1\n")
    hook.chmod(0o755)
    said = project.run(env=os.environ | IDENTITY | {"LANGUAGE": "de"}).stdout
    assert "FAIL commit" in said and "[2Jticket" in said and "\033" not in said


# ------------------------------------------------------- one session in a folder
def call(project, session, client_pid, event="PreToolUse", message=""):
    """What the hook says to a call of a session, whose client has this pid."""
    given = {"hook_event_name": event, "session_id": session, "tool_name": "Bash"}
    given |= {"tool_input": {"command": "git status"}}
    done = subprocess.run(
        [sys.executable, "-I", ".claude/hooks/hooks.py"],
        cwd=project.path,
        env=os.environ | {"AUTORESEARCH_CLIENT": str(client_pid)},
        input=json.dumps(given | {"last_assistant_message": message}),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def dead_pid():
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_second_session_is_told_which_run_is_at_work_and_ends(project):
    project.git("checkout", "-qb", "autoresearch/one")
    assert '"allow"' in call(project, "first", os.getpid())
    said = call(project, "second", os.getppid())
    assert "at work in this folder (autoresearch/one; its last call was 0 min" in said
    assert "git worktree add" in said and "HALT" in said
    assert call(project, "second", os.getppid(), "Stop", "I stop.") == ""
    assert '"allow"' in call(project, "first", os.getpid())
    assert call(project, "first", os.getpid(), "Stop", "HALT: done") == ""
    assert '"allow"' in call(project, "second", os.getppid())


@pytest.mark.parametrize("how", ["its client ended", "it is silent", "/clear"])
def test_a_session_that_is_over_is_no_obstacle(project, how):
    first = dead_pid() if how == "its client ended" else os.getpid()
    assert '"allow"' in call(project, "first", first)
    if how == "it is silent":
        file = project.path / ".git" / "autoresearch-session"
        os.utime(file, (time.time() - 3601,) * 2)
    second = os.getpid() if how == "/clear" else os.getppid()
    assert '"allow"' in call(project, "second", second)


def test_two_work_trees_have_a_session_each(project, tmp_path):
    tree = object.__new__(Project)
    tree.path = tmp_path / "tree"
    project.git("worktree", "add", "-q", "--detach", str(tree.path))
    assert '"allow"' in call(project, "first", os.getpid())
    assert '"allow"' in call(tree, "second", os.getppid())
