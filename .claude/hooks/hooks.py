"""The client's hooks: they hold a session to the loop and say where the run stands.

    PreToolUse, PermissionRequest   grant what the loop needs, refuse everything else
    Stop                            let the turn end only if the run has an exit
    SessionStart, the status line   say where the run stands

Each reads one JSON object on stdin. If this script fails, its caller refuses the call.
"""

import json
import os
import re
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
# At the end, so that nothing of the project's shadows a library's module.
sys.path += [str(HERE / ".claude"), str(HERE)]

from harness.errors import LINE_CHARACTERS, Refused, one_line
from harness.git import OTHER_REPOSITORY, git, state_folder
from harness.ratchet import (
    CALL_S,
    FROZEN,
    PREFIX,
    TAG,
    check_frozen_files,
    current_branch,
)

# ---------------------------------------------------------------- constants
# The same call, refused so many times in a row, ends the turn.
PATIENCE = 5
# What the agent has to know: nothing with labels or test scores.
READABLE = ("train.py", "prepare.py", "program.md", "data/README.md")
FILES_OF = {"Read": READABLE, "Edit": ("train.py",), "Write": ("train.py",)}
OTHER_TOOLS = {"TodoWrite", "TaskCreate", "TaskUpdate", "TaskList", "TaskGet"}
HALT = "Touch nothing; end with a line HALT: and this reason."
# No other call that the loop grants comes to a question.
ASKED = (
    "The loop grants this call, but a rule of the user's own (permissions.ask in the "
    "client's settings) asks first, and nobody is there: uv run prepare.py names it."
)
GO_ON = (
    "The user has started this loop by /autoresearch; it never ends by itself. If the "
    "user has asked something, answer; if it was to stop, write HALT: the user asked."
)
# An exit stands at the start of a line: HALT: reason, **HALT** - reason.
EXIT = re.compile(r"^[^\w\n]*(?:HALT|Halt)\b\W+\w", re.MULTILINE)

# ------------------------------------------------------- how a command is read
# One token, with nothing in it that a shell replaces or that bash and zsh read
# differently. A word is quoted as a whole or not at all. What a token is, its first
# characters tell, so the time is linear.
TOKEN = re.compile(
    r"""(?P<blank>[ ]+ | \#[ !#%&(-\[\]-_a-~]*(?=\n|\Z))
    | (?P<redirection>2>&1(?=[ \n;|&]|\Z) | >\| | &> | >)
    | (?P<operator>&& | \|\| | \| | ; | \n)
    | (?:(?P<word>[A-Za-z0-9._/:,+@-][A-Za-z0-9._/:,+@~-]*)
        | '(?P<single>[^']*)'
        | "(?P<double>(?:[^"$`!\\]|\\[^"$`!\\\n])*)")(?=[ \n;|&]|\Z)""",
    re.VERBOSE,
)
# Among the words a redirection begins with NUL, which no word may have.
WITH_ERRORS = "\x002>&1"

# -------------------------------------------------------------- what is granted
# A form is a tuple of words, of patterns of a word, and of lists: of the forms in a
# list any number may follow, in any order.
NUMBER = re.compile(r"\+?[0-9]{1,9}")
LINES = [("-n", NUMBER), (re.compile("-n?[0-9]{1,9}"),)]
COUNT = [*LINES, ("-c", NUMBER), (re.compile("-c[0-9]{1,9}"),)]
FILE = re.compile(rf"(?:\./)?(?:{'|'.join(map(re.escape, READABLE))})")
FILES = (FILE, [(FILE,)])
TRAIN = re.compile(r"(?:\./)?train\.py")
COMMIT = re.compile("[0-9a-f]{4,40}|HEAD(?:~[0-9]{1,3})?")
RUN = re.compile(PREFIX + TAG)
MESSAGE = re.compile(r"[^\x00]+")
FLAGS = [("-q",), ("--no-gpg-sign",), ("--no-verify",)]
SAYING = (re.compile("-q?m"), MESSAGE, [*FLAGS, ("-m", MESSAGE)])
FROZEN_PATH = re.compile("|".join(map(re.escape, FROZEN)))
# Keys of the lines in run.log that do not tell of the test part.
KEY = r"\^?(?:val_auc|wall_time_s|status|hypothesis|commit):?"
EVALUATE = ([("timeout", NUMBER)], "uv", "run", "prepare.py", "evaluate")
ENTER = ("git", re.compile("checkout|switch"), [("-b",), ("-c",)], RUN)
FORMS = (
    ("uv", "run", "prepare.py"),
    ("uv", "run", "prepare.py", re.compile("check|describe|log|state|tried|weak")),
    (*EVALUATE, re.compile(r"\x00>\|?"), "run.log", WITH_ERRORS),
    (*EVALUATE, "\x00&>", "run.log"),
    ("grep", [("-E",), ("-n",)], re.compile(rf"{KEY}(?:\\?\|{KEY})*"), "run.log"),
    ("grep", "-v", "^test_", "run.log"),
    ("git", "commit", FLAGS, *SAYING, [("--",)], TRAIN),
    ("git", "commit", FLAGS, TRAIN, FLAGS, *SAYING),
    ("git", re.compile("add|checkout|restore"), [("--",)], TRAIN),
    ENTER,
    ("git", "config", "user.name", "autoresearch"),
    ("git", "config", "user.email", "autoresearch@localhost"),
    ("git", "config", "--get", re.compile(rf"branch\.{RUN.pattern}\.[a-z]+")),
    ("git", "status", [("-s",), ("--short",)]),
    ("git", "log", [("--oneline",), *LINES], [("--",)], [(TRAIN,)]),
    ("git", "diff", [("--stat",)], [(COMMIT,)], [("--",)], TRAIN),
    ("git", "diff", "--stat", [(COMMIT,)]),
    ("git", "show", re.compile(rf"(?:{COMMIT.pattern}):{TRAIN.pattern}")),
    ("git", "show", "--stat", [(COMMIT,)]),
    ("git", "branch", [("-a",), ("-v",), ("--show-current",)]),
    ("git", "branch", "--list", [(RUN,), (f"{PREFIX}*",)]),
    ("git", "rev-parse", [("--short",), ("--abbrev-ref",)], "HEAD"),
    ("cat", [("-n",)], *FILES),
    (re.compile("head|tail"), COUNT, *FILES),
    ("sed", "-n", re.compile(r"[0-9]{1,9}(?:,(?:[0-9]{1,9}|\$))?p"), *FILES),
    ("wc", "-l", *FILES),
    ("grep", [(re.compile("-[Ein]+"),)], re.compile("[ -,.-~][ -~]*"), *FILES),
    ("ls", [(re.compile("-[al1h]+"),)], [(re.compile(r"\.|(?:\./)?data/?"),)]),
    (re.compile("pwd|date|true"),),
)
AFTER_A_PIPE = ((re.compile("head|tail"), COUNT), ("cat",))
# Outside of a run the user's edits are committed, to become part of its base.
STEERING = (
    ("git", "add", [("--",)], FROZEN_PATH, [(FROZEN_PATH,)]),
    ("git", "commit", FLAGS, *SAYING, [("--",)], FROZEN_PATH, [(FROZEN_PATH,)]),
)
# What to write instead of a command that has one of the words.
INSTEAD = (
    (("commit", "git add"), 'git commit -qm "<one line, no $ ` ! \\>" train.py'),
    (("reset", "revert", "stash"), "uv run prepare.py log, which takes a commit back"),
    (("checkout", "switch", "branch "), f"git checkout -b {PREFIX}<letters, digits>"),
    (("limit", "until"), "nothing: the user sets limits, /autoresearch <tag> 25 8h"),
    (("progress", "review"), "uv run prepare.py state: that one is the user's"),
    (("git ",), "git diff train.py, git show <commit>:train.py, git log --oneline"),
    (("evaluate", "run train"), "uv run prepare.py evaluate >| run.log 2>&1"),
    (("run.log",), 'grep -v "^test_" run.log | tail -c 2000'),
    (("results",), "uv run prepare.py tried"),
    (("data", ".csv"), "uv run prepare.py describe"),
    (("python", "uv ", "pip", "sh "), "train.py: no other code is run"),
    (
        ("cat", "less", "head", "tail", "sed", "awk", "grep"),
        "the tools: Read, and Edit to change train.py",
    ),
    (("",), "the commands of program.md, word for word"),
)


# ----------------------------------------------------------- reading a command
def tokens(command):
    """Yield (kind, text) of each token in one pass, without blanks and comments."""
    start = 0
    while start < len(command):
        token = TOKEN.match(command, start)
        if not token or not token[0].replace("\n", "").isprintable():
            raise Refused(f"the gate can't read {command[start : start + 20]!r}")
        if token.lastgroup != "blank":
            yield token.lastgroup, token[token.lastgroup]
        start = token.end()


def simple_commands(command: str) -> list[tuple[str, list[str]]]:
    """The (operator before it, words) of each simple command, as shells run them.

    Refused if bash and zsh may read it in another way.
    """
    commands, before, words = [], "\n", []
    for kind, text in [*tokens(command), ("operator", "\n")]:
        if kind != "operator":
            words.append(f"\x00{text}" if kind == "redirection" else text)
        elif words:
            # zsh would write into the file and into the pipe.
            if text == "|" and any(w[:1] == "\x00" and w != WITH_ERRORS for w in words):
                raise Refused("a pipe follows a redirection into a file")
            commands.append((before, words))
            before, words = text, []
        elif text != "\n":
            raise Refused(f"no command stands before {text}")
    if before in ("&&", "||", "|"):
        raise Refused(f"no command stands after {before}")
    return commands


def is_granted(words, forms):
    """Whether the words are of one of the forms, whatever becomes of the errors."""
    ends = [end_of_form(form, words, 0) for form in forms]
    return any(end and words[end:] in ([], [WITH_ERRORS]) for end in ends)


def end_of_form(form, words, start):
    """Where a form that begins at words[start] ends, read greedily; 0 if none does."""
    for element in form:
        if isinstance(element, list):
            while end := max(end_of_form(option, words, start) for option in element):
                start = end
        elif start == len(words) or not is_of(element, words[start]):
            return 0
        else:
            start += 1
    return start


def is_of(element, word):
    """Whether the word is this one, or fits this pattern."""
    return word == element if isinstance(element, str) else element.fullmatch(word)


# --------------------------------------------------------------- before a call
def check_command(command: str, branch: str) -> None:
    """Refused unless all of a shell command is granted.

    branch: of the run that HEAD is on, "" on none.
    """
    text = command
    try:
        for before, words in simple_commands(command):
            text = " ".join(words).replace("\x00", "")
            forms = FORMS if branch else FORMS + STEERING
            if not is_granted(words, AFTER_A_PIPE if before == "|" else forms):
                raise Refused(repr(text[:60]))
            if end := end_of_form(ENTER, words, 0):
                if branch not in ("", words[end - 1]):
                    raise Refused(f"in {branch} no other run is begun or entered")
                branch = words[end - 1]
    except Refused as refused:
        ways = (way for words, way in INSTEAD if any(word in text for word in words))
        reason = f"Not a command of the loop: {refused}. Use instead: {next(ways)}"
        raise Refused(reason) from None


def check_call(call: dict) -> None:
    """Refused, for the agent to act on, unless the call is one of the loop."""
    tool, tool_input = call["tool_name"], call["tool_input"]
    if call.get("permission_mode") == "plan":
        raise Refused(f"In plan mode, which the user leaves by Shift+Tab. {HALT}")
    if names := " ".join(sorted(OTHER_REPOSITORY & os.environ.keys())):
        raise Refused(f"The user's shell has {names}: unset {names}. {HALT}")
    try:
        check_frozen_files()
    except Refused as refused:
        raise Refused(f"{refused}. {HALT}") from None
    check_session(call)
    if tool == "Bash":
        check_command(tool_input["command"], current_branch())
    elif tool in FILES_OF:
        check_file(tool, Path(tool_input["file_path"]).resolve())
    elif tool not in OTHER_TOOLS:
        raise Refused(f"The loop does not need {tool}: go on without.")


def check_session(call: dict) -> None:
    """Refused while another session is at work in this folder; else remember this one.

    One that has halted, whose client has ended, or that has made no call for as long as
    a call may take, is no obstacle. Another session of the same client follows it. The
    check's own call belongs to no session.
    """
    if "session_id" not in call:
        return
    file, mine = session_file(), os.environ.get("AUTORESEARCH_CLIENT", "")
    if file.exists():
        session, client = json.loads(file.read_text())
        seconds = time.time() - file.stat().st_mtime
        is_other = session != call["session_id"] and not client == mine != ""
        if is_other and seconds < CALL_S and is_alive(client):
            where = current_branch() or "before its run has begun"
            raise Refused(
                f"Another session is at work in this folder ({where}; its last call "
                f"was {seconds / 60:.0f} min ago, and {CALL_S // 60} min after it or "
                "at its HALT the folder is free). A second run needs a folder of its "
                f"own: git worktree add --detach ../night-2. {HALT}"
            )
    # Parallel calls must never read half of it.
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps([call["session_id"], mine]))
    part.replace(file)


def session_file() -> Path:
    """The file of this work tree that names the session at work and its client."""
    return HERE / git("rev-parse", "--git-dir") / "autoresearch-session"


def is_alive(client: str) -> bool:
    """Whether the process of a client runs, as far as is known."""
    try:
        os.kill(int(client or os.getpid()), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It runs as another user.
        pass
    return True


def check_file(tool, path):
    """Refused unless the tool may have the file; to be read, also the harness's."""
    name = path.relative_to(HERE).as_posix() if path.is_relative_to(HERE) else ""
    is_harness = name.startswith(".claude/") and path.suffix in (".py", ".md")
    if name not in FILES_OF[tool] and not (tool == "Read" and is_harness):
        ways = "the data: uv run prepare.py describe; results: uv run prepare.py tried"
        raise Refused(f"{tool} is for {', '.join(FILES_OF[tool])}; for {ways}")


def is_stuck(tool, tool_input):
    """Whether the last PATIENCE refused calls were this one, descriptions apart."""
    call = json.dumps([tool, tool_input.get("command", tool_input)], sort_keys=True)
    path = state_folder() / "refused"
    path.parent.mkdir(exist_ok=True)
    calls = path.read_text().splitlines() if path.exists() else []
    calls = [*calls, call][-PATIENCE:]
    path.write_text("" if calls == [call] * PATIENCE else "\n".join(calls))
    return calls == [call] * PATIENCE


def before_call(call: dict) -> str:
    """The decision on a call, in the client's format."""
    event, tool_input, reason = call["hook_event_name"], call["tool_input"], ""
    try:
        check_call(call)
    except Refused as refused:
        reason = one_line(str(refused), LINE_CHARACTERS)
    if event == "PermissionRequest":
        reason = reason or f"{ASKED} {HALT}"
        decision = {"decision": {"behavior": "deny", "message": reason}}
    elif reason and is_stuck(call["tool_name"], tool_input):
        reason = f"HALT: refused {PATIENCE} times in a row: {reason}"
        return json.dumps({"continue": False, "stopReason": reason})
    elif reason:
        decision = {"permissionDecision": "deny", "permissionDecisionReason": reason}
    else:
        decision = {"permissionDecision": "allow"}
        if "command" in tool_input:
            # In the foreground and not cut short, whatever else the call asks for.
            known = ("command", "description")
            kept = {key: tool_input[key] for key in known if key in tool_input}
            decision["updatedInput"] = kept | {"timeout": 1000 * CALL_S}
    return json.dumps({"hookSpecificOutput": {"hookEventName": event, **decision}})


# ------------------------------------------------------------- at a turn's end
def at_stop(call: dict) -> str | None:
    """Why the turn may not end, in the client's format; None if the run has an exit."""
    message = call.get("last_assistant_message") or ""
    try:
        check_session(call)
        # Plan mode only the user can leave.
        if EXIT.search(message) or call.get("permission_mode") == "plan":
            session_file().unlink(missing_ok=True)
            return None
        check_frozen_files()
    except Refused:
        return None
    # Not before prepare.py is known to be what it was.
    from prepare import state

    try:
        summary, next_step = state()
        why = f"{GO_ON} {summary}; next: {next_step}."
    except Refused as refused:
        why = f"{refused}: do the Setup of program.md, or end with HALT: and a reason."
        next_step = ""
    if next_step.startswith("halt"):
        return None
    return json.dumps({"decision": "block", "reason": one_line(why, LINE_CHARACTERS)})


# ---------------------------------------------------------------------- status
def status(call: dict) -> str | None:
    """Where the run stands, in a line for the user or for the agent."""
    from prepare import state

    try:
        summary, next_step = state()
    except Refused:
        # An ordinary chat, outside of a run.
        return None
    if "hook_event_name" not in call:
        cost = (call.get("cost") or {}).get("total_cost_usd") or 0
        return f"{summary} · ${cost:.2f}"
    if call.get("source") == "resume":
        tag = current_branch().removeprefix(PREFIX)
        why = "A resumed session is without the rules of /autoresearch: make no call. "
        return f"{why}To go on, ask the user to type /autoresearch {tag}."
    return f"If /autoresearch runs here, the loop goes on. {summary}; next: {next_step}"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    call = json.load(sys.stdin.buffer)
    hooks = {"Stop": at_stop, "SessionStart": status, None: status}
    print(hooks.get(call.get("hook_event_name"), before_call)(call) or "", end="")
