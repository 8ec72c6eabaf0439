"""What would stop a night, found before bed: uv run prepare.py.

Each function says in a line what it has found to be well, or is Refused with the cure.
"""

import json
import os
import re
import subprocess

from harness.judge import ask_all
from harness.ratchet import (
    CALL_S,
    HERE,
    PREFIX,
    Refused,
    changed_files,
    check_locks,
    config,
    git,
    throw_away_tree,
)

# ---------------------------------------------------------------- constants
COMMAND = HERE / ".claude" / "commands" / "autoresearch.md"
# Of a call, for git and uv.
MARGIN_S = 60  # seconds
# As program.md has it.
COMMIT = "commit --no-gpg-sign --no-verify -qm trial train.py"
# A train.py that fits each of the libraries once, to rows of its own making.
LIBRARIES = """
import numpy as np
from flaml import AutoML
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

def feature_fn(X):
    return np.random.default_rng(0).normal(size=(len(X), 2))

class build_pipeline(LogisticRegression):
    def fit(self, X, y):
        LGBMClassifier(n_estimators=2, verbose=-1).fit(X, y)
        XGBClassifier(n_estimators=2).fit(X, y)
        AutoML().fit(X, y, task="classification", time_budget=1, verbose=0)
        return super().fit(X, y)
"""


def budget(budget_s, n_processes):
    """A run ends before the call of the client does that it is in."""
    if not 0 < budget_s < CALL_S - MARGIN_S:
        most = f"more than 0, less than {CALL_S - MARGIN_S}: a call in the client ends"
        raise Refused(f"BUDGET_S = {budget_s}: {most} after {CALL_S} s")
    return f"{budget_s} s, {n_processes} processes side by side"


def libraries(server, X, y, pair, deadline):
    """All six libraries fit inside the sandbox; Crash if one does not.

    server: of the LIBRARIES; pair: (fit rows, held-out rows).
    """
    ask_all(server, [("fit", *pair)], X, y, deadline, lambda number, answer: None)
    return "the six of pyproject.toml fit inside the sandbox"


def lock():
    """uv.lock is as committed: no setting of the user's makes uv write it anew."""
    if changed_files("HEAD", ["uv.lock"]):
        restore = "export UV_FROZEN=1 && git restore uv.lock"
        raise Refused(f"uv.lock is not as committed: {restore}")
    return "uv.lock as committed"


def commit():
    """The loop can commit, with the user's own settings and hooks.

    Tried in a throw-away work tree, on no branch.
    """
    check_locks(f"{PREFIX}trial")
    if config("core.logAllRefUpdates") in ("false", "no", "off", "0"):
        remember = "git config core.logAllRefUpdates true"
        raise Refused(f"git is set to forget where a branch began: {remember}")
    with throw_away_tree("HEAD") as place:
        git("reset", "--quiet", "--hard", folder=place)
        with (place / "train.py").open("a") as train:
            train.write("# trial\n")
        try:
            git(*COMMIT.split(), folder=place)
        except Refused as refused:
            said = f"no commit can be made: {refused}"
            raise Refused(f"{said}: {cure(refused)}") from None
    return "can be made, with your settings of git"


def cure(refused):
    """What helps against git's refusal of a commit."""
    if re.search(r"ident|email|user\.name", str(refused)):
        name = "git config user.name autoresearch"
        return f"{name} && git config user.email autoresearch@localhost"
    return "if a hook of yours says so, git config core.hooksPath /dev/null"


def gate():
    """The gate answers in the client: its command, word for word, on a call."""
    command = re.search(r"command: '(.*gate\.py.*)'", COMMAND.read_text())[1]
    call = {"hook_event_name": "PreToolUse", "tool_name": "Bash"}
    call |= {"tool_input": {"command": "git status --short"}}
    environ = os.environ | {"CLAUDE_PROJECT_DIR": str(HERE)}
    done = subprocess.run(
        ["sh", "-c", command],
        input=json.dumps(call),
        env=environ,
        capture_output=True,
        text=True,
    )
    if '"permissionDecision": "allow"' not in done.stdout:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise Refused(f"the gate of the client says: {said[0]}")
    return "answers, and grants what the loop needs"
