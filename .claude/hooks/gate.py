"""Before each tool call of a run: grant what the loop needs, refuse all else.

Reads the client's JSON on stdin and prints a decision, so no question waits for a
sleeping user. A command is granted if it is made of PIECES and nothing else: there is
no shell to parse. If this script fails, the caller turns that into a refusal.
"""

import json
import os
import re
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
runpy.run_path(str(HERE / ".claude" / "harness" / "from_source.py"))

from harness.ratchet import (
    CALL_S,
    FROZEN,
    PREFIX,
    TAG,
    Refused,
    check_frozen_files,
    current_run,
    git,
    read_rows,
    row_of,
    run_base,
)

# ---------------------------------------------------------------- constants
# The same call, refused so often in a row, ends the turn.
PATIENCE = 5
# Of a commit: nothing to expand.
MESSAGE = r"""(?:"[^"`$\\!]*"|'[^']*')"""
RUN = PREFIX + TAG
TRAIN = r"(?:-- )?(?:\./)?train\.py"
# A look back, at train.py alone; objection_to_looking says how far.
COMMIT = r"(?:[0-9a-f]{7,40}|HEAD(?:~[0-9]{1,3})?)"
LOOK = rf"git (?:diff|show) (?:--stat )?({COMMIT})"
# What is read: what the agent has to know, and nothing with labels or test scores.
READABLE = {"train.py", "prepare.py", "program.md", "data/README.md"}
FILE = rf"(?:\./)?(?:{'|'.join(map(re.escape, sorted(READABLE)))})"
N = r"(?: -n ?[0-9]+| -[0-9]+| -c ?[0-9]+)?"
# Of a block, test scores apart, in either kind of quotes.
KEYS = r"\^?(?:val_auc|wall_time_s|status|hypothesis|commit):?"
KEYS = rf"(?:\"{KEYS}(?:\\?\|{KEYS})*\"|'{KEYS}(?:\\?\|{KEYS})*')"
NOT_TEST = r"""(?:"\^test_"|'\^test_')"""
INTO_LOG = r"(?: >\|? ?run\.log 2>&1| &> ?run\.log)"
# What a command of the loop may be made of, with a short list of harmless ones beside.
PIECES = [
    r"uv run prepare\.py(?: check| log| state| describe| tried| leak)?(?: 2>&1)?",
    rf"(?:timeout [0-9]+ )?uv run prepare\.py evaluate{INTO_LOG}",
    rf"grep (?:-E )?{KEYS} run\.log|grep -v {NOT_TEST} run\.log",
    r"cut -f2,5,6 results\.tsv",
    rf"git commit(?: -q| --no-gpg-sign| --no-verify)*(?: -q?m {MESSAGE})+ {TRAIN}",
    rf"git (?:add|restore|checkout) {TRAIN}",
    rf"git (?:checkout|switch)(?: -b| -c)? {RUN}",
    r"git config user\.name autoresearch|git config user\.email autoresearch@localhost",
    rf"git config --get branch\.{RUN}\.[a-z]+",
    rf"git status(?: -s| --short)?|git log --oneline{N}|git log{N} --oneline",
    rf"git diff(?: --stat)?(?: {COMMIT})? {TRAIN}|git diff --stat",
    rf"git show (?:{COMMIT}:train\.py|--stat {COMMIT})",
    r"git branch(?: -a| --list| --show-current)?",
    r"git rev-parse (?:--short |--abbrev-ref )?HEAD",
    rf"(?:cat|wc -l|(?:head|tail){N}|sed -n ['\"]?[0-9]+,[0-9]+p['\"]?)(?: {FILE})+",
    r"ls(?: -[al1]+)?(?: \.| data)?|pwd|date|true|#[^\n]*",
]
STEERING = (
    rf"git commit(?: -q| --no-gpg-sign| --no-verify)*(?: -q?m {MESSAGE})+"
    rf"(?: (?:{'|'.join(map(re.escape, FROZEN))}))+"
)
PIPE = rf"(?: ?\| ?(?:head|tail|cat){N})*"
THEN = r"\s*(?:&&|\|\||;|\n)\s*"
RESET = r"git reset(?: -q)? --(?:keep|hard) HEAD~1"
STATE = r"(?:; uv run prepare\.py state)?"
LOG_THEN_RESET = (
    r"uv run prepare\.py log && tail -n 1 results\.tsv \| cut -f5 \| grep -qv keep "
    rf"&& {RESET}{STATE}"
)
# Of the client's environment: by these git would work on another repository.
FOREIGN_GIT = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"}
TOOLS = {"TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet"}
# What to write instead of a refused command that has these words.
INSTEAD = [
    (r"^(?:grep|awk|less|more|find)\b.*train\.py", "cat train.py"),
    (
        r"evaluate|(?:run|python3?) train\.py",
        "uv run prepare.py evaluate >| run.log 2>&1",
    ),
    ("run\\.log", 'grep -v "^test_" run.log | tail -c 2000'),
    ("results", "cut -f2,5,6 results.tsv, or uv run prepare.py tried"),
    ("commit|git add", 'git commit -qm "<one line without $ ` ! \\>" train.py'),
    ("reset|revert|clean|stash", "uv run prepare.py state, and what its next: says"),
    ("limit|until", "the user sets limits: /autoresearch <tag> <iterations> <hours>h"),
    ("git (?:diff|show|log)", "git diff train.py, git show HEAD~1:train.py"),
    ("checkout|switch|branch", f"git checkout -b {PREFIX}<letters, digits . _ ->"),
    ("python|uv |pip|bash|sh ", "put it into train.py: nothing else is run"),
    ("cat|head|sed|ls|find|grep|less", "the Read tool, on train.py or prepare.py"),
]


# -------------------------------------------------------------------- rules
def objection(tool, given, mode=""):
    """Why the call is refused, for the agent to act on; None if it is granted.

    mode: the client's permission mode.
    """
    halt = "Touch nothing; end with a line HALT: and this reason."
    if mode == "plan":
        return f"The client is in plan mode: the user leaves it by Shift+Tab. {halt}"
    if found := FOREIGN_GIT & os.environ.keys():
        names = " ".join(sorted(found))
        return f"{names} of the user's shell: unset {names}, claude again. {halt}"
    try:
        check_frozen_files()
    except Refused as refused:
        return f"{refused}. {halt}"
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
    pieces = PIECES if current_run() else [*PIECES, STEERING]
    piece = f"(?:{'|'.join(f'(?:{piece})' for piece in pieces)}){PIPE}"
    if re.fullmatch(rf"{piece}(?:{THEN}{piece})*;?", command):
        return objection_to_looking(re.findall(LOOK, command))
    words = [words for pattern, words in INSTEAD if re.search(pattern, command)]
    instead = words[0] if words else "the commands of program.md, word for word"
    return f"Not a command of the loop. Write instead: {instead}"


def objection_to_looking(commits):
    """None if all commits are of this run: earlier ones tell of other runs' ideas."""
    for commit in commits:
        try:
            git("merge-base", "--is-ancestor", run_base(current_run()), commit)
        except Refused:
            return f"{commit} is not of this run: git log --oneline lists what is."
    return None


def objection_to_reset(command, is_logged):
    """None unless it would lose a kept or unscored commit, or an edit of the user."""
    head = git("rev-parse", "HEAD")
    if head == run_base(current_run()):
        return "HEAD is where the run began, never reset that: leave the reset out."
    row = row_of(head, read_rows())
    if not is_logged and (row is None or row["status"] == "keep"):
        return "HEAD is not a logged discard or crash: uv run prepare.py state"
    # As wide as the reset: all of the repository that this folder may be a part of.
    edited = git("status", "--porcelain", "-uno", "--", ":/", ":(exclude)train.py")
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


# ------------------------------------------------------------------- answer
def command_of(given):
    """The command of a call, as it is judged and as it is run."""
    return given["command"].strip(" \t\n")


def is_stuck(tool, given):
    """Whether this refused call is the last PATIENCE refused ones; counted in .git."""
    path = Path(git("rev-parse", "--absolute-git-dir"), "autoresearch-refused")
    call = json.dumps([tool, given.get("command", given)], sort_keys=True)
    calls = path.read_text().splitlines() if path.exists() else []
    calls = [*calls, call][-PATIENCE:]
    path.write_text("\n".join(calls) + "\n")
    if calls != [call] * PATIENCE:
        return False
    path.unlink()
    return True


def answer(call):
    """The decision in the client's format."""
    event, given = call["hook_event_name"], call["tool_input"]
    reason = objection(call["tool_name"], given, call.get("permission_mode"))
    if event == "PermissionRequest":
        reason = reason or "Not on the list of the loop: use another command."
        decision = {"decision": {"behavior": "deny", "message": reason}}
    elif reason:
        if is_stuck(call["tool_name"], given):
            stop = f"HALT: refused {PATIENCE} times in a row: {reason}"
            return {"continue": False, "stopReason": stop}
        decision = {"permissionDecision": "deny", "permissionDecisionReason": reason}
    else:
        decision = {"permissionDecision": "allow"}
        # In the foreground, and not cut short.
        if call["tool_name"] == "Bash":
            command = {"command": command_of(given), "timeout": 1000 * CALL_S}
            if "description" in given:
                command["description"] = given["description"]
            decision["updatedInput"] = command
    return {"hookSpecificOutput": {"hookEventName": event, **decision}}


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
