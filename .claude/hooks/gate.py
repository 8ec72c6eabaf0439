"""Before each tool call of a run: grant what the loop needs, refuse all else.

Reads the client's JSON on stdin and prints a decision, so no question waits for a
sleeping user. A command is granted if it is made of PIECES and nothing else: there is
no shell to parse. If this script fails, the caller turns that into a refusal.
"""

import json
import re
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
runpy.run_path(str(HERE / ".claude" / "harness" / "from_source.py"))

from harness.ratchet import (
    FROZEN,
    PREFIX,
    Refused,
    check_frozen_files,
    git,
    read_rows,
    row_of,
    run_base,
    run_branch,
)

# ---------------------------------------------------------------- constants
# Of a command: the budget of 180 s and some.
TIMEOUT_MS = 300_000
# Of a commit: nothing to expand.
MESSAGE = r"""(?:"[^"`$\\!\n]*"|'[^'\n]*')"""
RUN = PREFIX + r"[A-Za-z0-9][A-Za-z0-9._-]*"
# A look back, at train.py alone; objection_to_looking says how far.
COMMIT = r"(?:[0-9a-f]{7,40}|HEAD(?:~[0-9]{1,3})?)"
LOOK = rf"git (?:diff|show) ({COMMIT})"
LIMIT = rf"git config branch\.{RUN}\.limit [0-9]{{1,6}}"
# What is read: what the agent has to know, and nothing with labels or test scores.
READABLE = {"train.py", "prepare.py", "program.md", "data/README.md"}
PIECES = [
    r"uv run prepare\.py(?: check| log| state)?",
    r"uv run prepare\.py evaluate > run\.log 2>&1",
    r'grep "\^val_auc:\\\|\^wall_time_s:\\\|\^status:" run\.log',
    r'grep -v "\^test_" run\.log \| tail -c [0-9]{1,4}',
    r"cut -f2,5,6 results\.tsv(?: \| tail -n [0-9]+)?",
    rf"git commit -q?m {MESSAGE} (?:-- )?train\.py",
    r"git (?:add|restore|checkout) (?:-- )?train\.py",
    rf"git (?:checkout|switch)(?: -b| -c)? {RUN}",
    r"git config user\.name autoresearch|git config user\.email autoresearch@localhost",
    r"git status(?: -s| --short)?|git log --oneline(?: -n [0-9]+| -[0-9]+)?",
    rf"git diff(?: {COMMIT})? (?:-- )?train\.py",
    rf"git show {COMMIT}:train\.py",
    r"git branch --show-current|git rev-parse (?:--short )?HEAD",
]
STEERING = rf"git commit -q?m {MESSAGE}(?: (?:{'|'.join(map(re.escape, FROZEN))}))+"
RESET = r"git reset(?: -q)? --(?:keep|hard) HEAD~1"
STATE = r"(?:; uv run prepare\.py state)?"
LOG_THEN_RESET = (
    r"uv run prepare\.py log && tail -n 1 results\.tsv \| cut -f5 \| grep -qv keep "
    rf"&& {RESET}{STATE}"
)
TOOLS = {"TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet"}


# -------------------------------------------------------------------- rules
def objection(tool, given):
    """Why the call is refused, for the agent to act on; None if it is granted."""
    try:
        check_frozen_files()
    except Refused as refused:
        return f"{refused}. Touch nothing; end with a line HALT: and this reason."
    if tool == "Bash":
        return objection_to_command(command_of(given))
    path = Path(given.get("file_path", HERE)).resolve()
    if tool in ("Edit", "Write"):
        return None if path == HERE / "train.py" else "In a run only train.py changes."
    if tool == "Read":
        return objection_to_reading(path)
    return None if tool in TOOLS else f"The loop does not need {tool}: go on without."


def objection_to_command(command):
    """None for a sequence of PIECES and for a reset that loses nothing."""
    if re.fullmatch(LOG_THEN_RESET, command):
        return objection_to_reset(command, is_logged=True)
    if re.fullmatch(RESET + STATE, command):
        return objection_to_reset(command, is_logged=False)
    pieces = [*PIECES, LIMIT] if at_setup() else PIECES
    if not on_run():
        pieces = [*pieces, STEERING]
    piece = "|".join(f"(?:{piece})" for piece in pieces)
    if re.fullmatch(rf"(?:{piece})(?:(?: && |; ?|\n)(?:{piece}))*", command):
        return objection_to_looking(re.findall(LOOK, command))
    return (
        "Not a command of the loop: use those of program.md word for word, in the "
        "foreground, and Edit for train.py. Nothing else is needed."
    )


def objection_to_looking(commits):
    """None if all commits are of this run: earlier ones tell of other runs' ideas."""
    for commit in commits:
        try:
            git("merge-base", "--is-ancestor", run_base(), commit)
        except Refused:
            return f"{commit} is not of this run: git log --oneline lists what is."
    return None


def objection_to_reset(command, is_logged):
    """None unless it would lose a kept or unscored commit, or an edit of the user."""
    head = git("rev-parse", "HEAD")
    if head == run_base():
        return "HEAD is where the run began, never reset that: leave the reset out."
    row = row_of(head, read_rows())
    if not is_logged and (row is None or row["status"] == "keep"):
        return "HEAD is not a logged discard or crash: uv run prepare.py state"
    edited = git("status", "--porcelain", "-uno", "--", ".", ":!train.py")
    if "--hard" in command and edited:
        return "Edits of the user would be lost: use git reset -q --keep HEAD~1"
    return None


def objection_to_reading(path):
    """None for a file of READABLE, or of the rooms in .claude."""
    name = path.relative_to(HERE).as_posix() if path.is_relative_to(HERE) else ""
    is_ours = name.startswith(".claude/") and path.suffix in (".py", ".md")
    if name in READABLE or is_ours:
        return None
    readable = ", ".join(sorted(READABLE))
    return f"In a run only {readable} are read; of results: cut -f2,5,6 results.tsv"


def at_setup():
    """Whether nothing after the start has been tried: HEAD is no run, or its base."""
    return not on_run() or git("rev-parse", "HEAD") == run_base()


def on_run():
    """Whether HEAD is on the branch of a run."""
    try:
        return bool(run_branch())
    except Refused:
        return False


# ------------------------------------------------------------------- answer
def command_of(given):
    """The command of a call, as it is judged and as it is run."""
    return given["command"].strip(" \t\n")


def answer(call):
    """The decision in the client's format."""
    event, given = call["hook_event_name"], call["tool_input"]
    reason = objection(call["tool_name"], given)
    if event == "PermissionRequest":
        reason = reason or "Not on the list of the loop: use another command."
        decision = {"decision": {"behavior": "deny", "message": reason}}
    elif reason:
        decision = {"permissionDecision": "deny", "permissionDecisionReason": reason}
    else:
        decision = {"permissionDecision": "allow"}
        # In the foreground, and not cut short.
        if call["tool_name"] == "Bash":
            command = {"command": command_of(given), "timeout": TIMEOUT_MS}
            if "description" in given:
                command["description"] = given["description"]
            decision["updatedInput"] = command
    return {"hookSpecificOutput": {"hookEventName": event, **decision}}


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
