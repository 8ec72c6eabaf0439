"""The hooks alone: the client's JSON on stdin, real git repositories."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT, Project

LOOP = (ROOT / "program.md").read_text()


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A project on the branch of a run whose baseline is logged."""
    project = Project(tmp_path_factory.mktemp("started") / "project")
    project.git("checkout", "-qb", "autoresearch/trial")
    project.iterate((project.path / "train.py").read_text() + "\n# start\n")
    return project


@pytest.fixture
def run(started, tmp_path):
    """A copy of it."""
    return started.copy(tmp_path / "project")


def hook(project, script, event, tool="Bash", said=None, more=None, **given):
    """What a hook answers to one call, as an object; {} if it says nothing."""
    call = {"hook_event_name": event, "tool_name": tool, "tool_input": given}
    call |= more or {}
    command = [sys.executable, "-I", f".claude/hooks/{script}.py"]
    done = subprocess.run(
        command,
        cwd=project.path,
        input=json.dumps(call | {"last_assistant_message": said}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout or "{}")


def gate(project, tool="Bash", **given):
    """The gate's decision and reason on a call."""
    answer = hook(project, "gate", "PreToolUse", tool, **given)["hookSpecificOutput"]
    return answer["permissionDecision"], answer.get("permissionDecisionReason", "")


def allowed(project, command):
    return gate(project, command=command)[0] == "allow"


# ------------------------------------------------------------------- the gate
@pytest.mark.parametrize(
    "command",
    [
        "uv run prepare.py state",
        "cut -f2,5,6 results.tsv",
        'git commit -qm "age squared: risk grows faster" train.py',
        "git status --short",
        "git diff train.py",
        "git log --oneline -n 20",
        "git restore train.py",
        'grep -v "^test_" run.log | tail -c 2000',
    ],
)
def test_the_gate_grants_what_the_loop_needs(project, command):
    assert allowed(project, command)


# What a model writes without being told, and what gives nothing away.
HARMLESS = r"""
git branch
git branch -a
git branch --list
git log --oneline -5
git diff --stat
git show --stat HEAD
git rev-parse --abbrev-ref HEAD
git config --get branch.autoresearch/trial.limit
cat train.py
cat ./train.py program.md
head -50 train.py
head -n 50 prepare.py
tail -n 5 data/README.md
sed -n '1,40p' train.py
sed -n 1,40p prepare.py
wc -l train.py
ls
ls -la
ls data
pwd
date
grep "^status:" run.log
grep '^val_auc:\|^wall_time_s:\|^status:' run.log
grep -E "^val_auc:|^status:" run.log
grep -v "^test_" run.log
grep -v "^test_" run.log | tail -n 40
grep -v '^test_' run.log | head -20 | tail -5
cut -f2,5,6 results.tsv | tail -20
uv run prepare.py describe
uv run prepare.py leak
uv run prepare.py tried | tail -n 30
uv run prepare.py state 2>&1
uv run prepare.py log 2>&1
uv run prepare.py evaluate >run.log 2>&1
uv run prepare.py evaluate > run.log 2>&1
uv run prepare.py evaluate &> run.log
timeout 200 uv run prepare.py evaluate >| run.log 2>&1
git commit -q -m "x" train.py
git commit -qm "x" -m "because of y" train.py
git commit -qm "x" ./train.py
git commit --no-verify -qm "x\n\nwhy: y\nSigned-off-by: me" train.py
git status --short &&\n git diff train.py
git status --short ; pwd
git status --short || true
# where are we\ngit status
"""


def test_the_gate_grants_what_protects_nothing(started):
    for line in HARMLESS.strip().splitlines():
        assert allowed(started, line.replace("\\n", "\n")), line


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("uv run prepare.py evaluate", ">| run.log 2>&1"),
        ("uv run train.py", ">| run.log 2>&1"),
        ("cat run.log", 'grep -v "^test_" run.log'),
        ("cat results.tsv", "cut -f2,5,6 results.tsv"),
        ('git commit -am "x"', '" train.py'),
        ("git reset --hard HEAD~2", "uv run prepare.py state"),
        ("git config branch.autoresearch/trial.limit 9", "/autoresearch <tag>"),
        ("git checkout -b 'autoresearch/a b'", "letters, digits"),
        ("git log -p", "git show HEAD~1:train.py"),
        ("python3 -c 'print(1)'", "train.py"),
        ("grep -r ca .", "the Read tool"),
        ("grep -n HYPOTHESIS train.py", "cat train.py"),
    ],
)
def test_a_refusal_says_what_to_write_instead(started, command, instead):
    decision, reason = gate(started, command=command)
    assert decision == "deny" and instead in reason


def test_the_same_refused_call_again_and_again_ends_the_turn(run):
    for _ in range(4):
        assert not allowed(run, "make coffee")
    assert hook(run, "gate", "PreToolUse", command="make tea")["hookSpecificOutput"]
    for _ in range(4):
        assert not allowed(run, "make coffee")
    answer = hook(run, "gate", "PreToolUse", command="make coffee")
    assert answer["continue"] is False and "HALT" in answer["stopReason"]


def test_plan_mode_is_told_and_does_not_trap(run):
    mode = {"permission_mode": "plan"}
    decision, reason = gate(run, command="git status", more=mode)
    assert decision == "deny" and "Shift+Tab" in reason
    assert hook(run, "keep", "Stop", said="I can't.", more=mode) == {}


def test_the_gate_refuses_what_the_loop_does_not_need(run):
    for command in [
        "git diff",
        "git diff HEAD~1 README.md",
        "git show HEAD",
        "git show HEAD:README.md",
        "git status\x0b",
        "git config branch.autoresearch/trial.limit 25",
        "uv run prepare.py limit trial 25",
        "uv run train.py > run.log 2>&1",
        'grep "test" run.log',
        'grep -v "^test_" results.tsv',
        "cat results.tsv",
        "git log -p",
        "ls tests",
    ]:
        assert not allowed(run, command), command


def test_earlier_versions_are_shown_from_the_runs_base_on(run):
    base = run.git("rev-parse", "HEAD~1")  # the base, where trunk is
    assert allowed(run, f"git show {base}:train.py")
    assert allowed(run, "git diff HEAD~1 train.py")
    run.git("checkout", "-q", "trunk")
    (run.path / "train.py").write_text("another")
    run.git("commit", "-qam", "later")
    run.git("checkout", "-qb", "autoresearch/second")
    assert not allowed(run, f"git show {base}:train.py")
    assert not allowed(run, "git diff HEAD~1 train.py")


def test_every_command_in_program_md_is_granted(run):
    blocks = [line.strip() for line in LOOP.splitlines() if line.startswith("   ")]
    commands = [b for b in blocks if b.startswith(("git commit", "uv run"))]
    assert len(commands) == 2
    run.iterate("no python")  # a crash: now the reset is a safe one
    for command in commands:
        assert allowed(run, command.replace("<hypothesis>", "x > y, at last; it's it"))


def test_the_gate_runs_commands_in_the_foreground_to_their_end(project):
    given = {"command": "uv run prepare.py", "run_in_background": True, "timeout": 9}
    given |= {"dangerouslyDisableSandbox": True, "_anything": 1}
    answer = hook(project, "gate", "PreToolUse", **given)["hookSpecificOutput"]
    assert answer["updatedInput"] == {"command": given["command"], "timeout": 3_600_000}


def test_only_train_py_is_edited_and_no_score_of_the_test_is_read(project):
    path = project.path
    for tool, name, decision in [
        ("Edit", "train.py", "allow"),
        ("Write", "train.py", "allow"),
        ("Edit", "prepare.py", "deny"),
        ("Write", "new.py", "deny"),
        ("Read", "prepare.py", "allow"),
        ("Read", "data/README.md", "allow"),
        ("Read", "results.tsv", "deny"),
        ("Read", "run.log", "deny"),
        ("Read", "data/heart.csv", "deny"),
        ("Read", "../elsewhere.txt", "deny"),
        ("Read", "README.md", "deny"),
        ("Read", "docs/reference-run/train.py", "deny"),
        ("Read", ".git/config", "deny"),
        ("Read", ".env", "deny"),
        ("Read", "data/heart.csv~", "deny"),
        ("Read", "results.tsv.bak", "deny"),
        ("Read", ".claude/settings.local.json", "deny"),
        ("Read", ".claude/harness/judge.py", "allow"),
        ("Write", "~/train.py", "deny"),
        ("NotebookEdit", "train.py", "deny"),
        ("AskUserQuestion", "train.py", "deny"),
    ]:
        assert gate(project, tool, file_path=str(path / name))[0] == decision, name


def test_a_reset_never_loses_a_commit_that_counts(run):
    reset = "git reset -q --keep HEAD~1"
    assert not allowed(run, reset)  # HEAD is kept
    run.git("commit", "-qm", "unscored", "--allow-empty")
    assert not allowed(run, reset)  # HEAD is not scored yet
    run.git("checkout", "-q", "-b", "autoresearch/second")
    assert not allowed(run, reset)  # HEAD is where this run began
    run.iterate("no python")
    assert allowed(run, reset)  # HEAD is a logged crash
    assert not allowed(run, "git reset -q --keep HEAD~2")


def test_a_hard_reset_never_loses_an_edit_of_the_user(run):
    run.iterate("no python")
    assert allowed(run, "git reset --hard HEAD~1")
    (run.path / ".gitignore").write_text("mine\n")
    assert not allowed(run, "git reset --hard HEAD~1")
    assert allowed(run, "git reset --keep HEAD~1")


def test_with_a_frozen_file_changed_all_calls_stop_and_the_edit_stays(run):
    (run.path / "program.md").write_text("the user's own edit\n")
    decision, reason = gate(run, command="uv run prepare.py state")
    assert decision == "deny"
    assert "program.md" in reason and "HALT" in reason
    assert (run.path / "program.md").read_text() == "the user's own edit\n"


def test_edits_of_frozen_files_can_be_committed_before_a_run_not_in_it(project):
    commit = 'git commit -qm "steer" program.md'
    assert allowed(project, commit)
    project.git("checkout", "-qb", "autoresearch/trial")
    assert not allowed(project, commit)


def test_a_question_of_the_client_is_answered_no(project):
    answer = hook(project, "gate", "PermissionRequest", command="git status")
    assert answer["hookSpecificOutput"]["decision"]["behavior"] == "deny"


def test_a_gate_that_breaks_is_an_error_not_a_grant(project):
    command = [sys.executable, "-I", ".claude/hooks/gate.py"]
    options = {"input": "{}", "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=project.path, **options)
    assert done.returncode != 0


# ------------------------------------------------------------------ the keeper
def test_a_frozen_file_that_a_call_changed_is_put_back_and_kept_aside(run):
    harness = run.path / "prepare.py"
    before = harness.read_bytes()
    harness.write_text("print('val_auc: 1')")
    (run.path / "uv.lock").unlink()
    run.git("update-index", "--assume-unchanged", "prepare.py")
    told = hook(run, "keep", "PostToolUse")["reason"]
    assert "prepare.py, uv.lock: frozen in a run, put back" in told
    assert harness.read_bytes() == before
    assert (run.path / "uv.lock").exists()
    saved = list((run.path / ".git" / "autoresearch-rescued").rglob("prepare.py"))
    assert [file.read_text() for file in saved] == ["print('val_auc: 1')"]


def test_outside_a_run_nothing_is_put_back(project):
    (project.path / "prepare.py").write_text("my own harness")
    assert hook(project, "keep", "PostToolUse") == {}
    assert (project.path / "prepare.py").read_text() == "my own harness"


def test_the_turn_ends_only_by_an_exit(run):
    assert "next: propose" in hook(run, "keep", "Stop", said="All done.")["reason"]
    for exit in ["HALT: no disk left", "**HALT:** x", "HALT — x", "- `HALT:` x"]:
        assert hook(run, "keep", "Stop", said=f"So:\n{exit}") == {}
    for word in ["HALT_AUC is 0.99", "We halt: never", "HALT:"]:
        assert hook(run, "keep", "Stop", said=word) != {}
    (run.path / "STOP").touch()
    assert hook(run, "keep", "Stop", said="All done.") == {}


def test_a_score_too_good_to_be_true_ends_the_loop(run):
    results = run.path / "results.tsv"
    results.write_text(results.read_text().replace("0.895971", "0.990000"))
    was = f"{run.git('rev-parse', 'HEAD')} keep 0.990000"
    run.git("config", "branch.autoresearch/trial.logged", was)
    assert "look for leakage" in run.run("state").stdout
    assert hook(run, "keep", "Stop", said="0.99!") == {}


def test_the_setup_is_not_left_unfinished(project):
    assert "Setup" in hook(project, "keep", "Stop", said="Shall I?")["reason"]


# ------------------------------------------------------------------ the status
def test_the_status_line_says_where_the_run_stands_and_what_it_cost(run):
    for call, words in [
        ({"cost": {"total_cost_usd": 1.2}}, "· best 0.8960 · $1.20"),
        ({"hook_event_name": "SessionStart"}, "next: propose"),
        (
            {"hook_event_name": "SessionStart", "source": "resume"},
            "ask the user to type /autoresearch trial",
        ),
    ]:
        command = [sys.executable, "-I", ".claude/hooks/status.py"]
        said = subprocess.run(
            command,
            cwd=run.path,
            input=json.dumps(call),
            capture_output=True,
            text=True,
        ).stdout
        assert words in said
