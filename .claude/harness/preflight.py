"""What would stop a night, found before bed: uv run prepare.py.

Each function says in a line what it has found to be well, or is Refused with the cure.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.errors import Crash, Refused
from harness.git import HERE, changed_files, git
from harness.ratchet import CALL_S, FROZEN, check_tracked
from harness.sandbox import SECCOMP_PACKAGE, sandbox_parts
from harness.table import Table

# -------------------------------------------------------------------- constants
COMMAND = HERE / ".claude" / "commands" / "autoresearch.md"
# The part of a call that git and uv need.
MARGIN_S = 60  # seconds
WHOLE_SANDBOX = ["Landlock", "seccomp", "Python's audit hooks"]
# This train.py tries to read the table, and fits each of the libraries once.
PROBE = """
import numpy as np
from flaml import AutoML
from lightgbm import LGBMClassifier
from sklearn.dummy import DummyClassifier
from xgboost import XGBClassifier

def feature_fn(X):
    try:
        open({data!r})
    except PermissionError:
        return X
    raise RuntimeError("no sandbox: a candidate can read {data}")

class build_pipeline(DummyClassifier):
    def fit(self, X, y):
        Z = np.random.default_rng(0).normal(size=(len(y), 2))
        LGBMClassifier(n_estimators=2, verbose=-1).fit(Z, y)
        XGBClassifier(n_estimators=2).fit(Z, y)
        AutoML().fit(Z, y, task="classification", time_budget=1, verbose=0)
        return super().fit(X, y)
"""


def report(items: dict[str, Callable[[], str]]) -> bool:
    """Print a line on each item, ok or FAIL; True if all are ok."""
    is_well = True
    for name, item in items.items():
        try:
            print(f"ok   {name}: {item()}", flush=True)
        except (Crash, Refused) as fault:
            print(f"FAIL {name}: {fault}", flush=True)
            is_well = False
    return is_well


def sandbox(scores_of: Callable[[bytes], dict[str, float]], table: Table) -> str:
    """The sandbox is on, no candidate reads the table, and all libraries fit inside.

    scores_of: the scores of a train.py; Crash if it has none.
    """
    scores = scores_of(PROBE.format(data=str(table.path)).encode())
    if not scores["val_auc"] == scores["test_auc"] == 0.5:
        raise Crash(f"a model without features has an AUC of {scores['val_auc']}")
    parts = sandbox_parts()
    if "Landlock" in parts and "seccomp" not in parts:
        cure = f"apt-get install {SECCOMP_PACKAGE}, or the like"
        raise Refused(f"{' and '.join(parts)} alone, without libseccomp.so.2: {cure}")
    return f"{', '.join(parts)}; the six libraries fit inside, AUC by chance is 0.5"


def budget(budget_s: float) -> str:
    """An evaluation ends before the client ends the call that it is in."""
    if not 0 < budget_s < CALL_S - MARGIN_S:
        most = f"more than 0, less than {CALL_S - MARGIN_S}: a call in the client ends"
        raise Refused(f"BUDGET_S = {budget_s}: {most} after {CALL_S} s")
    return f"{budget_s} s for each evaluation"


def frozen() -> str:
    """What a run freezes is in git; uv.lock is as committed."""
    check_tracked()
    changed = changed_files("HEAD", *FROZEN)
    if "uv.lock" in changed:
        # Some settings of the user's make uv write its lock again.
        cure = "export UV_FROZEN=1 && git restore uv.lock"
        raise Refused(f"uv.lock is not as committed: {cure}")
    edited = f", except for your edits of {', '.join(changed)}" if changed else ""
    return f"all in git{edited}"


def commit() -> str:
    """The loop can commit, with the user's own settings and hooks.

    Tried on a throw-away commit, in a throw-away work tree that is on no branch.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        # A checkout would run a hook of the user's.
        options = ("--quiet", "--detach", "--no-checkout")
        git("worktree", "add", *options, str(tree), "HEAD")
        try:
            git("reset", "--quiet", "--hard", folder=tree)
            place = tree / git("rev-parse", "--show-prefix")
            (place / "train.py").write_text("# trial\n")
            words = ("commit", "--no-gpg-sign", "--no-verify", "-qm", "trial")
            git(*words, "train.py", folder=place)
        except Refused as refused:
            raise Refused(f"no commit can be made: {refused}: {cure()}") from None
        finally:
            git("worktree", "remove", "--force", str(tree))
    return "can be made, with your settings of git"


def cure() -> str:
    """What helps where git makes no commit."""
    try:
        git("var", "GIT_COMMITTER_IDENT")
    except Refused:
        name = "git config user.name autoresearch"
        return f"{name} && git config user.email autoresearch@localhost"
    return "if a hook of yours says so, git config core.hooksPath /dev/null"


def gate() -> str:
    """The gate answers in the client: its command, word for word, on a call."""
    command = re.search(r"command: '(.*hooks\.py.*)'", COMMAND.read_text())[1]
    call = {"hook_event_name": "PreToolUse", "tool_name": "Bash"}
    call |= {"tool_input": {"command": "git status --short"}}
    done = subprocess.run(
        ["sh", "-c", command],
        input=json.dumps(call),
        env=os.environ | {"CLAUDE_PROJECT_DIR": str(HERE)},
        capture_output=True,
        text=True,
    )
    if '"permissionDecision": "allow"' not in done.stdout:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise Refused(f"the gate of the client says: {said[0]}")
    return "answers, and grants what the loop needs"
