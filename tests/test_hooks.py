"""The hooks alone: the client's JSON on stdin, real git repositories, real shells."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from harness.errors import Refused
from hooks.hooks import WITH_ERRORS, check_command, simple_commands

RUN = "autoresearch/trial"


def hook(project, event, tool="Bash", more=None, environ=None, **tool_input):
    """What the hook prints on one call of the client, as an object; {} for nothing."""
    call = {"hook_event_name": event, "tool_name": tool, "tool_input": tool_input}
    done = subprocess.run(
        [sys.executable, "-I", ".claude/hooks/hooks.py"],
        cwd=project.path,
        env=os.environ | (environ or {}),
        input=json.dumps(call | (more or {})),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout or "{}")


def gate(project, tool="Bash", **given):
    """The decision on a call, and its reason."""
    answer = hook(project, "PreToolUse", tool, **given)["hookSpecificOutput"]
    return answer["permissionDecision"], answer.get("permissionDecisionReason", "")


def at_stop(project, message, **more):
    """Why the turn may not end; "" if it may."""
    more["last_assistant_message"] = message
    return hook(project, "Stop", more=more).get("reason", "")


def refusal(command, branch=RUN):
    """Why a command is refused; "" if it is granted."""
    try:
        check_command(command, branch)
    except Refused as refused:
        return str(refused)
    return ""


# ------------------------------------------------------- what is granted
# Two blanks stand between two commands, \n for the end of a line.
GRANTED = r"""
uv run prepare.py  uv run prepare.py check  uv run prepare.py describe
uv run prepare.py state 2>&1  uv run prepare.py log
uv run prepare.py tried | tail -n 30  uv run prepare.py log 2>&1 | tail -n 5
timeout 200 uv run prepare.py evaluate &> run.log
uv run prepare.py evaluate >| run.log 2>&1  uv run prepare.py evaluate >run.log 2>&1
grep "^val_auc:\|^wall_time_s:\|^status:" run.log  grep '^val_auc:\|^status:' run.log
grep -E "^val_auc:|^status:" run.log  grep "^status:" run.log  grep -v "^test_" run.log
grep -v '^test_' run.log | head -20 | tail -5  grep -v "^test_" run.log | tail -c 2000
git commit --no-gpg-sign --no-verify -qm "x > y, at last; it's it" train.py
git commit -q -m "x" -m "because of y" ./train.py  git commit -qm "grün, χ²" -- train.py
git commit train.py -m 'a "quoted" $5 `x` \ !'  git add train.py  git restore train.py
git commit -qm "x\n\nwhy: y & z\nSigned-off-by: me" train.py  git checkout -- train.py
git checkout autoresearch/trial  git checkout -b autoresearch/trial
git switch -c autoresearch/trial  git config --get branch.autoresearch/trial.limit
git config user.name autoresearch  git config user.email autoresearch@localhost
git status  git status --short  git log -5  git log --oneline -n 20
git log --oneline -5 -- train.py  git diff train.py  git diff --stat
git diff --stat HEAD~1  git diff HEAD~1 -- train.py  git diff abc1234 def5678 train.py
git show HEAD~1:train.py  git show abc1234:./train.py  git show --stat HEAD  git branch
git branch -a  git branch --show-current  git branch --list 'autoresearch/*'
git rev-parse --short HEAD  git branch --list autoresearch/trial
git rev-parse --abbrev-ref HEAD  cat train.py  cat -n ./train.py program.md
head -50 train.py  head -n 50 prepare.py  tail -n +20 data/README.md
sed -n '1,40p' train.py  sed -n 1,40p prepare.py  wc -l train.py
sed -n '40,$p' train.py  grep -n "def feature_fn" train.py
grep -in 'a\|b' train.py prepare.py  ls  ls -la data  pwd  date
git status --short &&\n git diff train.py  git status ; pwd;  git status || true
# where are we\ngit status # now
"""


def commands_in(text):
    """The commands of such a list."""
    return [c.replace(r"\n", "\n") for c in re.split(r"\n|  +", text.strip())]


def test_what_the_loop_needs_and_what_models_write_beside_it_is_granted():
    assert {c: refusal(c) for c in commands_in(GRANTED) if refusal(c)} == {}


def test_every_command_in_program_md_is_granted():
    text = (ROOT / "program.md").read_text()
    calls = re.findall(r"^ +((?:git commit|uv run) .*)$", text, re.MULTILINE)
    assert len(calls) == 2
    for call in calls:
        assert not refusal(call.replace("<reason>", "x > y, at last; it's it"))


STEERING = ["git add program.md", 'git commit -qm "steer" program.md data']


def test_edits_of_frozen_files_are_committed_before_a_run_and_never_in_it():
    for command in STEERING:
        assert not refusal(command, branch="") and refusal(command)
        assert not refusal(f"{command} && git checkout -b {RUN}", branch="")
        assert refusal(f"git checkout -b {RUN} && {command}", branch="")


# ------------------------------------------------------- what is refused
REFUSED = r"""
git checkout -b autoresearch/other  git checkout autoresearch/other
git switch autoresearch/other 2>&1  git checkout trunk  git checkout HEAD~1  git diff
git diff HEAD  git diff HEAD~1 README.md  git diff HEAD~1 -- train.py README.md
git show HEAD  git show HEAD:README.md  git show HEAD:train.py HEAD:README.md
git log -p  git log -c -5  git commit train.py  git commit -qm "x"  git commit -am "x"
git commit -qm "x" train.py prepare.py  git commit -qm "x" -- train.py -m y
git commit -m 2>&1 train.py  git commit -qm "cost is $HOME" train.py
git commit -qm "x `id`" train.py  git commit -qm "x\" ; id ; \"" train.py
git commit -qm x' ; id ; ' train.py  git commit --amend -qm "x" train.py
git reset -q --keep HEAD~1  git branch -D autoresearch/trial  git branch autoresearch/x
git config branch.autoresearch/trial.limit 25  uv run prepare.py limit trial 25
uv run prepare.py review  uv run prepare.py evaluate
uv run prepare.py evaluate > run.log  uv run prepare.py evaluate >| run.log 2>&1 | cat
uv run prepare.py evaluate >> run.log 2>&1  uv run prepare.py evaluate > prepare.py 2>&1
uv run prepare.py state > run.log  uv run prepare.py state &
uv run prepare.py state & rm prepare.py  uv run prepare.py $(id)
uv run train.py > run.log 2>&1  PATH=. uv run prepare.py  cat run.log  cat results.tsv
cat data/heart.csv  cat train.py results.tsv  cat ~/train.py  cat =train.py  cat *.md
cat {train,prepare}.py  cat < run.log  cat train.py > prepare.py
cut -f2,5,6 results.tsv  tail -n 1 results.tsv | cut -f5
head -n 3 train.py > prepare.py  sed -n '1,5p' results.tsv
sed -n '1,5w prepare.py' train.py  sed -i s/1/2/ train.py  sed -n '1,5p train.py
grep "test" run.log  grep "^test_auc:\|^status:" run.log  grep "status\|." run.log
grep -v "^x" run.log  grep -v "^test_" results.tsv  grep -f results.tsv train.py
grep "-fresults.tsv" train.py  grep -r ca .  ls tests  date -s 1  ; git status
git status ;; pwd  git status &&  git status | grep x  git status | git add train.py
git status |& cat  (git status)  ! git status
rm -rf data .claude  : > uv.lock  sed --in-place=.b s/42/7/ prepare.py  uv add requests
python3 - <<< "open('prepare.py','a').write('#')"  uv run python -c "1"  uv sync
dd if=/dev/zero of=prepare.py  cp train.py prepare.py  ln -sf /dev/null prepare.py
ls *.md | xargs rm  find . -name prepare.py -delete  eval "rm x"  env rm x  command rm x
git restore --source=HEAD~1 .  git checkout HEAD~1 -- prepare.py  git rm prepare.py
git checkout --orphan autoresearch/other  git stash -u  git clean -fdx  git push --force
git reset --hard HEAD~2  git branch -f autoresearch/trial HEAD~1  git apply evil.patch
git update-index --assume-unchanged prepare.py  git config core.hooksPath tests
git -c alias.x="!rm prepare.py" x  chmod 000 prepare.py  sleep 1000  touch STOP
"""
# What one shell takes for a blank, another not; quotes and comments that hide a line.
ODD = ["pwd;#\rid", "pwd; #\x0bid", "git status\t", "git status\r", "g\u0131t status"]
ODD += [f"pwd;{blank}#; id" for blank in "\r\x0b\x0c\x1c\x85\xa0\u2003\u2028"]
ODD += ["pwd # it's", 'pwd # "a"', "pwd # $x", "pwd # `x`", "pwd # \\", "pwd # \xe9"]
ODD += ["# it's\nid #'", "# a \\\nid", 'pwd # "\nid\n"', "pwd \\\n id", "pwd\x00"]
ODD += [
    f'git commit -qm "{c}" train.py' for c in ("\x1b[2K", "\x07", "\u2028", "\ud800")
]


def test_what_shows_labels_or_test_scores_or_changes_anything_else_is_refused():
    commands = [*commands_in(REFUSED), *ODD]
    assert [c for c in commands if not refusal(c)] == []


def test_in_a_run_no_other_run_is_begun_or_entered():
    enter, begin = "git checkout autoresearch/b", "git switch -c autoresearch/b"
    for command in (enter, begin):
        assert not refusal(f"{command} || {enter}", branch="")
        assert "no other run" in refusal(command)
        assert "no other run" in refusal(f"git checkout {RUN}; {command}", branch="")


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        ("uv run prepare.py evaluate", ">| run.log 2>&1"),
        ("uv run train.py", ">| run.log 2>&1"),
        ("git status; cat run.log", 'grep -v "^test_" run.log'),
        ("cut -f2,5,6 results.tsv", "uv run prepare.py tried"),
        ("head data/own.csv", "uv run prepare.py describe"),
        ('git commit -am "x"', '" train.py'),
        ("git reset --hard HEAD~2", "uv run prepare.py log"),
        ("git config branch.autoresearch/trial.limit 9", "/autoresearch <tag>"),
        ("uv run prepare.py progress", "the user's"),
        ("git checkout -b 'autoresearch/a b'", "letters, digits"),
        ("git log -p", "git show <commit>:train.py"),
        ("python3 -c 'print(1)'", "train.py"),
        ("grep -r ca .", "the tools: Read"),
        ("sed -i s/a/b/ train.py", "Edit"),
        ("make coffee", "program.md"),
    ],
)
def test_a_refusal_says_what_to_write_instead(command, instead):
    assert instead in refusal(command).partition("Use instead: ")[2]


# ------------------------------------------- the shell reads what the gate read
STUBS = ("git", "uv", "grep", "head", "tail", "cat", "sed", "wc", "ls", "date")
STUBS += ("timeout",)
STUB = """#!/bin/sh
printf '%s\\001' "${0##*/}" "$@" "\x02" >> ../argv
exit $STATUS
"""
NASTY = [*"""'"#;&|><\\$`!~=*?(){}[]^%@,-é \n\t"""]
NASTY += ["&&", "||", ">|", "&>", "2>&1", "''"]
NASTY += [" ", " git ", " cat ", "x", " -m ", " 'a b' ", ' "a|b" ', "\n#"]
NASTY += [" train.py", "2"]


@pytest.fixture(params=["bash", "zsh"])
def shell(request, tmp_path):
    """Runs a command with stubs: the argv of each program, the files made."""
    program = shutil.which(request.param) or pytest.skip(f"no {request.param}")
    (tmp_path / "bin").mkdir()
    for name in STUBS:
        (tmp_path / "bin" / name).write_text(STUB)
        (tmp_path / "bin" / name).chmod(0o755)

    def execute(command, status):
        shutil.rmtree(tmp_path / "here", ignore_errors=True)
        (tmp_path / "here").mkdir()
        (tmp_path / "argv").write_text("")
        words = [program, *(["-f"] if request.param == "zsh" else []), "-c", command]
        environ = {"PATH": str(tmp_path / "bin"), "STATUS": str(status)}
        options = {"cwd": tmp_path / "here", "env": environ, "capture_output": True}
        subprocess.run(words, stdin=subprocess.DEVNULL, timeout=20, **options)
        records = (tmp_path / "argv").read_text().split("\x01\x02\x01")[:-1]
        argvs = sorted(record.split("\x01") for record in records)
        return argvs, {path.name for path in (tmp_path / "here").iterdir()}

    return execute


def predicted(commands, status):
    """What a shell does with the commands if each program ends with the status."""
    argvs, files, runs = [], set(), True
    for before, words in commands:
        if before != "|":
            runs = {"&&": status == 0, "||": status != 0}.get(before, True)
        words = [word for word in words if word != WITH_ERRORS]
        marks = [i for i, word in enumerate(words) if word.startswith("\0")]
        argv = [w for i, w in enumerate(words) if i not in marks and i - 1 not in marks]
        if runs:
            files |= {words[i + 1] for i in marks}
            argvs += [argv] if argv[0] in STUBS else []
    return sorted(argvs), files


def random_commands(count):
    """Random commands that the gate can read, and that only start stubs."""
    rng, found = random.Random(0), {}
    pool = commands_in(GRANTED)
    while len(found) < count:
        parts = ["git", *rng.choices(NASTY, k=rng.randint(1, 9))]
        if rng.random() < 0.5:
            parts = list(
                rng.choice(["; ", " || ", " && ", "\n"]).join(rng.sample(pool, 2))
            )
            for place in rng.choices(range(len(parts)), k=rng.randint(1, 3)):
                parts[place] = rng.choice(["", parts[place] * 2, rng.choice(NASTY)])
        try:
            commands = simple_commands("".join(parts))
            files = set().union(*(predicted([("\n", w)], 0)[1] for _, w in commands))
        except (Refused, IndexError):
            continue
        # A redirection into a folder is an error of the shell's.
        if all(w[0] in STUBS for _, w in commands) and all(map(str.isalnum, files)):
            found["".join(parts)] = commands
    return found


def test_bash_and_zsh_run_what_the_gate_read_and_nothing_else(shell):
    commands = {line: simple_commands(line) for line in commands_in(GRANTED)}
    commands |= random_commands(300)
    for number, (text, simple) in enumerate(commands.items()):
        # "true" is a builtin, and it never fails.
        status = 0 if "true" in text else number % 2
        assert shell(text, status) == predicted(simple, status), text


@pytest.mark.parametrize(
    "text",
    [
        "#;",
        "'",
        '"\\',
        "a ",
        "-m x ",
        "'a' ",
        "| cat",
        "pwd &&\n",
        "status\\|",
        " \n",
        ">",
    ],
)
def test_the_time_to_judge_a_command_grows_with_its_length_alone(text):
    def seconds(count):
        command, times = f"git commit {text * count}", []
        for _ in range(5):
            begin = time.process_time()
            refusal(command)
            times.append(time.process_time() - begin)
        return min(times)

    # Of eight times the length: 8 if linear, 64 if quadratic.
    assert seconds(20_000) < 30 * seconds(2_500) + 0.001


# ------------------------------------------------------------- the whole hook
def test_a_call_is_granted_as_it_stands_in_the_foreground_and_to_its_end(project):
    tool_input = {"command": "uv run prepare.py\n", "description": "a check"}
    more = {"run_in_background": True, "timeout": 9, "dangerouslyDisableSandbox": True}
    answer = hook(project, "PreToolUse", **tool_input, **more)["hookSpecificOutput"]
    assert answer["permissionDecision"] == "allow"
    assert answer["updatedInput"] == {**tool_input, "timeout": 3_600_000}


def test_a_run_is_held_to_its_branch_by_the_whole_hook(run):
    assert gate(run, command="git checkout autoresearch/night")[0] == "allow"
    assert gate(run, command="git checkout -b autoresearch/escape")[0] == "deny"
    run.git("checkout", "-q", "trunk")
    assert gate(run, command="git checkout -b autoresearch/next")[0] == "allow"


def test_only_train_py_is_edited_and_no_label_or_score_is_read(project):
    (project.path / "link.md").symlink_to("data/heart.csv")
    for tool, name, decision in [
        ("Edit", "train.py", "allow"),
        ("Write", "train.py", "allow"),
        ("Edit", "prepare.py", "deny"),
        ("Write", "new.py", "deny"),
        ("Write", ".claude/harness/judge.py", "deny"),
        ("Read", "prepare.py", "allow"),
        ("Read", "data/README.md", "allow"),
        ("Read", ".claude/harness/judge.py", "allow"),
        ("Read", "results.tsv", "deny"),
        ("Read", "run.log", "deny"),
        ("Read", "data/heart.csv", "deny"),
        ("Read", "link.md", "deny"),
        ("Read", "../elsewhere.txt", "deny"),
        ("Read", "README.md", "deny"),
        ("Read", ".git/config", "deny"),
        ("Read", ".claude/settings.local.json", "deny"),
        ("Write", "~/train.py", "deny"),
        ("TodoWrite", "train.py", "allow"),
        ("NotebookEdit", "train.py", "deny"),
        ("AskUserQuestion", "train.py", "deny"),
    ]:
        said, _ = gate(project, tool, file_path=str(project.path / name))
        assert said == decision, (tool, name)
    assert "prepare.py describe" in gate(project, "Read", file_path="/data.csv")[1]


def test_the_same_refused_call_again_and_again_ends_the_turn(run):
    for _ in range(4):
        assert gate(run, command="make coffee")[0] == "deny"
    assert gate(run, command="make tea")[0] == "deny"
    for step in range(4):
        assert gate(run, command="make coffee", description=f"{step}")[0] == "deny"
    answer = hook(run, "PreToolUse", command="make coffee")
    assert answer["continue"] is False and "HALT" in answer["stopReason"]


def test_plan_mode_is_told_and_does_not_trap(run):
    mode = {"permission_mode": "plan"}
    decision, reason = gate(run, command="git status", more=mode)
    assert decision == "deny" and "Shift+Tab" in reason
    assert not at_stop(run, "I can't.", **mode)


def test_git_variables_of_another_repository_are_named_with_the_cure(run):
    _, reason = gate(run, command="pwd", environ={"GIT_DIR": "x", "GIT_WORK_TREE": "y"})
    assert "unset GIT_DIR GIT_WORK_TREE" in reason and "HALT" in reason


def test_with_a_frozen_file_changed_all_calls_stop_and_the_edit_stays(run):
    (run.path / "program.md").write_text("the user's own edit\n")
    decision, reason = gate(run, command="uv run prepare.py state")
    assert decision == "deny"
    assert "program.md" in reason and "HALT" in reason
    assert (run.path / "program.md").read_text() == "the user's own edit\n"
    assert not at_stop(run, "I can't.")


def test_a_question_of_the_client_is_answered_no(project):
    answer = hook(project, "PermissionRequest", command="git status")
    assert answer["hookSpecificOutput"]["decision"]["behavior"] == "deny"


def test_nothing_that_a_terminal_acts_on_is_in_a_refusal(project):
    for call in ({"command": "\x1b[2K\x9b"}, {"tool": "\x1b[2K"}):
        decision, reason = gate(project, **call)
        assert decision == "deny" and reason.isprintable()


def test_a_hook_that_breaks_is_an_error_and_never_a_grant(project):
    for text in ("{}", "", '{"hook_event_name": "PreToolUse"}'):
        command = [sys.executable, "-I", ".claude/hooks/hooks.py"]
        options = {"input": text, "capture_output": True, "text": True}
        done = subprocess.run(command, cwd=project.path, **options)
        assert done.stdout == "" and (text == "{}" or done.returncode)


# ----------------------------------------------------------- at a turn's end
def test_the_turn_ends_only_by_an_exit(run):
    assert "next: propose" in at_stop(run, "All done.")
    exits = "HALT: no disk", "**HALT:** x", "HALT — x", "- `HALT:` x", "HALT\n\nx"
    for words in exits:
        assert not at_stop(run, f"So:\n{words}")
    for words in ["HALT_AUC is 0.99", "We halt: never", "HALT:"]:
        assert at_stop(run, words)
    (run.path / "STOP").touch()
    assert not at_stop(run, "All done.")


def test_the_setup_is_not_left_unfinished(project):
    assert "Setup" in at_stop(project, "Shall I?")


# ------------------------------------------------------------------ the status
def test_the_status_says_where_the_run_stands_and_what_it_cost(run):
    def said(call):
        command = [sys.executable, "-I", ".claude/hooks/hooks.py"]
        options = {"input": json.dumps(call), "capture_output": True, "text": True}
        return subprocess.run(command, cwd=run.path, **options).stdout

    assert "· iter 0 · start 0.9000 · $1.20" in said({"cost": {"total_cost_usd": 1.2}})
    assert "next: propose" in said({"hook_event_name": "SessionStart"})
    resumed = {"hook_event_name": "SessionStart", "source": "resume"}
    assert "ask the user to type /autoresearch night" in said(resumed)
    run.git("checkout", "-q", "trunk")
    assert said(resumed) == ""
