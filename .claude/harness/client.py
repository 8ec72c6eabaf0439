"""What the user's settings of the client would do to a night: uv run prepare.py.

Every check names the file, what in it stops the night, and the cure.
"""

import json
import os
import re
import sys
from pathlib import Path

from harness.errors import Refused, one_line
from harness.git import HERE

# -------------------------------------------------------------------- constants
CONFIG = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
LINUX, MAC = "/etc/claude-code", "/Library/Application Support/ClaudeCode"
MANAGED = Path(MAC if sys.platform == "darwin" else LINUX)
# Settings that stop a night: the key, its harmful value (True: any but a false one),
# and what it would do.
SWITCHES = (
    ("disableAllHooks", True, "no call of the loop is granted"),
    ("allowManagedHooksOnly", True, "no call of the loop is granted"),
    ("strictPluginOnlyCustomization", True, "/autoresearch or its hooks are off"),
    ("disableSkillShellExecution", True, "limits that are typed are not set"),
    ("permissions.defaultMode", "plan", "the agent can't act"),
)
# Only an administrator's files can set these.
MANAGED_ONLY = ("allowManagedHooksOnly", "strictPluginOnlyCustomization")
# What the loop does with each tool. The client also holds rules on files against the
# commands that read or write them; it has no rules on Write(a file).
COMMANDS = (
    *(f"uv run prepare.py {word}" for word in ("evaluate", "log", "state", "tried")),
    *(f"uv run prepare.py {word}" for word in ("weak", "describe", "limit tag")),
    "uv run prepare.py",
    *("git status --short", "git checkout -b autoresearch/tag", "date +%b%d"),
    'git commit --no-gpg-sign --no-verify -qm "idea" train.py',
    *(r'grep "^val_auc:\|^wall_time_s:\|^status:" run.log', "tail -n 100"),
)
NEEDED = {
    "Bash": COMMANDS,
    "Read": ("train.py", "prepare.py", "program.md", "run.log"),
    "Edit": ("train.py", "run.log"),
}


# --------------------------------------------------------------------- settings
def settings_files() -> list[Path]:
    """The files that the client reads; of a key in several the last one wins."""
    own = [CONFIG / "settings.json", HERE / ".claude" / "settings.json"]
    return [*own, HERE / ".claude" / "settings.local.json", *managed_files()]


def managed_files() -> list[Path]:
    """The files of an administrator."""
    parts = sorted((MANAGED / "managed-settings.d").glob("*.json"))
    remote = CONFIG / "remote-settings.json"
    return [MANAGED / "managed-settings.json", *parts, remote]


def all_settings() -> dict[Path, dict]:
    """What is in the files; Refused if one is no JSON object."""
    found = {}
    for path in settings_files():
        try:
            found[path] = json.loads(path.read_text(encoding="utf-8"))
            found[path].items()
        except OSError:
            # It is missing, or the client's own sandbox hides it.
            continue
        except (ValueError, AttributeError) as error:
            fault = f"the client can't read its settings ({one_line(str(error))})"
            raise Refused(f"{path}: {fault}: mend this file") from None
    return found


def environment() -> dict[str, str]:
    """The user's variables as the client changes them for hooks and commands."""
    environ = dict(os.environ)
    for settings in all_settings().values():
        environ |= {k: str(v) for k, v in section(settings, "env").items()}
    return environ | {"CLAUDE_PROJECT_DIR": str(HERE)}


def section(settings: dict, name: str) -> dict:
    """A part of the settings, which may be missing; "" is the whole."""
    found = settings.get(name) if name else settings
    return found if isinstance(found, dict) else {}


# ----------------------------------------------------------------------- checks
def check_settings() -> str:
    """Refused if a setting, a rule or a command of the user's stops a night."""
    found = all_settings()
    for switch in SWITCHES:
        check_switch(found, *switch)
    for path, settings in found.items():
        for kind in ("ask", "deny"):
            for rule in section(settings, "permissions").get(kind) or []:
                check_rule(path, kind, str(rule))
    for folder in (CONFIG, MANAGED / ".claude", HERE / ".claude"):
        for name in ("commands/autoresearch.md", "skills/autoresearch/SKILL.md"):
            path = folder / name
            is_ours = path == HERE / ".claude" / "commands" / "autoresearch.md"
            if path.exists() and not is_ours:
                fault = "the client runs it instead of this project's /autoresearch"
                raise Refused(f"{path}: {fault}: rename it")
    return "no setting of the client stops the loop"


def check_switch(found: dict[Path, dict], key: str, harmful, effect: str) -> None:
    """Refused if the value that counts of a key is harmful."""
    name, _, last = key.rpartition(".")
    files = managed_files() if key in MANAGED_ONLY else settings_files()
    holders = [p for p in files if last in section(found.get(p, {}), name)]
    for path in holders[-1:]:
        value = section(found[path], name)[last]
        if value == harmful or (harmful is True and value):
            is_managed = path in managed_files()
            cure = "ask who manages this machine" if is_managed else "remove it"
            raise Refused(f"{path}: {key} = {json.dumps(value)}: {effect}: {cure}")


def check_rule(path, kind, rule):
    """Refused if a rule hits what the loop needs, which no hook can undo."""
    tool, _, content = rule.removesuffix(")").partition("(")
    for name, needs in NEEDED.items():
        if name != tool and tool != "*":
            continue
        hits = hits_command if name == "Bash" else hits_file
        for needed in needs:
            if content in ("", "*", "**") or hits(content, needed, path):
                fault = f"permissions.{kind} has {rule}, which hits {needed}"
                raise Refused(f"{path}: {fault}: take the rule out")


def hits_command(pattern: str, command: str, path: Path) -> bool:
    """Whether the pattern of a Bash rule hits a command, as the client has it."""
    pattern = re.sub(r":\*$", " *", pattern)
    if pattern.endswith(" *") and command == pattern[:-2]:
        return True
    glob = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(glob, command) is not None


def hits_file(pattern: str, name: str, path: Path) -> bool:
    """Whether the pattern of a rule on files hits a file of the project.

    Patterns are gitignore's; //x is absolute, and /x begins at the settings' project.
    """
    target, is_users = str(HERE / name), HERE not in path.parents
    if pattern.startswith("//"):
        pattern = pattern[1:]
    elif pattern.startswith("~/"):
        pattern = str(Path.home()) + pattern[1:]
    elif pattern.startswith("/"):
        pattern = f"{CONFIG if is_users else HERE}{pattern}"
    else:
        inner = pattern.removeprefix("./")
        anywhere = "" if "/" in inner.rstrip("/") else "**/"
        pattern = f"{HERE}/{anywhere}{inner}"
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.rstrip("/"))
    glob = "".join(parts.get(piece) or re.escape(piece) for piece in pieces)
    return re.fullmatch(f"{glob}(?:/.*)?", target) is not None
