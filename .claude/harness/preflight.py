"""What would stop a night, found before bed: uv run prepare.py.

Each function says in a line what it has found to be well, or is Refused with the cure.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import client, describe
from harness.errors import LINE_CHARACTERS, Crash, Refused, one_line
from harness.git import HERE, changed_files, git
from harness.ratchet import CALL_S, FROZEN, check_tracked
from harness.sandbox import SECCOMP_PACKAGE, sandbox_in_words, sandbox_parts
from harness.table import Rows, Table, Unusable

# -------------------------------------------------------------------- constants
COMMAND = HERE / ".claude" / "commands" / "autoresearch.md"
PROGRAM = HERE / "program.md"
# The part of a call that git and uv need.
MARGIN_S = 60  # seconds
# LightGBM or XGBoost refuses a name that has one of these characters.
ODD = r'[\[\]{}<",:\n]'
# Steering on the table as it is shipped.
TEMPLATE = "- **Table**: heart.csv"
REPOSITORY = "git init && git add -A && git commit -qm start"
# This train.py tries to read the table, and fits each of the libraries once.
PROBE = """
import numpy as np
from flaml import AutoML
from lightgbm import LGBMClassifier
from sklearn.dummy import DummyClassifier
from xgboost import XGBClassifier

TABLE = {table!r}

def feature_fn(X):
    try:
        open(TABLE)
    except PermissionError:
        return X
    raise RuntimeError("no sandbox: a candidate can read " + TABLE)

class build_pipeline(DummyClassifier):
    def fit(self, X, y):
        Z = np.random.default_rng(0).normal(size=(len(y), 2))
        LGBMClassifier(n_estimators=2, verbose=-1).fit(Z, y)
        XGBClassifier(n_estimators=2).fit(Z, y)
        AutoML().fit(Z, y, task="classification", time_budget=1, verbose=0)
        return super().fit(X, y)
"""


def report(items: dict[str, Callable[[], str]], notes: tuple | list = ()) -> bool:
    """Print a line on each item, ok or FAIL, then the notes; True if all are ok."""
    is_well, lines = True, []
    for name, item in items.items():
        try:
            print(f"ok   {name}: {item()}", flush=True)
        except Unusable as faults:
            print(*(f"FAIL {name}: {what}" for what in faults.problems), sep="\n")
            is_well, lines = False, faults.lines
        except (Crash, Refused) as fault:
            print(f"FAIL {name}: {one_line(str(fault), LINE_CHARACTERS)}", flush=True)
            is_well = False
    for note in notes:
        print(f"note {note}")
    if lines:
        print("Paste into prepare.py, below POSITIVE:", *lines, sep="\n")
    return is_well


def refuse(fault: Refused) -> str:
    """An item that is known to be wrong already."""
    raise fault


def sandbox(scores_of: Callable[[bytes], dict[str, float]], table: Table) -> str:
    """The sandbox is on, no candidate reads the table, and all libraries fit inside.

    scores_of: the scores of a train.py; Crash if it has none.
    """
    scores = scores_of(PROBE.format(table=str(table.path)).encode())
    if not scores["val_auc"] == scores["test_auc"] == 0.5:
        raise Crash(f"a model without features has an AUC of {scores['val_auc']}")
    parts = sandbox_parts()
    if "Landlock" in parts and "seccomp" not in parts:
        cure = f"apt-get install {SECCOMP_PACKAGE}, or the like"
        raise Refused(f"{sandbox_in_words()}, without libseccomp.so.2: {cure}")
    return f"{sandbox_in_words()}; the six libraries fit inside, AUC by chance is 0.5"


def budget(budget_s: float) -> str:
    """An evaluation ends before the client ends the call that it is in."""
    if not 0 < budget_s < CALL_S - MARGIN_S:
        most = f"more than 0, less than {CALL_S - MARGIN_S}: a call in the client ends"
        raise Refused(f"BUDGET_S = {budget_s}: {most} after {CALL_S} s")
    return f"{budget_s} s for each evaluation"


def columns(X) -> str:
    """Which names of features a library refuses, and the cure in train.py."""
    refused = [name for name in map(str, X.columns) if re.search(ODD, name)]
    if not refused:
        return "all libraries take their names"
    cure = f"X = X.set_axis(X.columns.str.replace(r'{ODD}', '_', regex=True), axis=1)"
    names = one_line(", ".join(map(repr, refused)))
    return f"LightGBM or XGBoost refuses {names}: in feature_fn write {cure}"


def notes(rows: Rows, table: Table, folds) -> list[str]:
    """What is no fault of a table, but should be known before a night.

    folds: of the train part, pairs (fit rows, held-out rows).
    """
    found = []
    if rows.n_left_out:
        why = "if NA or None is a class: READ |= {'keep_default_na': False}"
        found.append(f"rows: {rows.n_left_out} have no target and are left out ({why})")
    if n_equal := rows.X.duplicated(keep=False).sum():
        what = f"{n_equal} of {len(rows.X)} have the same features as another row"
        cure = "if these are copies of one case, keep one of each in the file"
        why = "a model may know a held-out row by its copy"
        found.append(f"equal rows: {what}; {cure} ({why})")
    if formats := describe.date_formats(rows.X):
        found.append(dates_note(formats, table.read))
    for name in describe.rare_texts(rows.X.drop(columns=[*formats])):
        example = one_line(repr(rows.X[name].dropna().iloc[0]), 60)
        lost = f"the baseline loses most of {name!r}, whose values are rare"
        found.append(f"text: {lost}, such as {example}")
    if leaks := describe.leaks(rows.X, rows.y, folds):
        cure = f"leave out: READ |= {{'usecols': lambda name: name not in {leaks}}}"
        if "usecols" in table.read:
            cure = "take out of READ's usecols"
        names = ", ".join(map(repr, leaks))
        why = "(each) tells the classes by itself; what is known only after the target"
        found.append(f"leak: {names} {why}, {cure}")
    if table.path.name != "heart.csv" and TEMPLATE in PROGRAM.read_text("utf-8"):
        what = "say there what your columns mean, since a sentence on each is worth"
        more = "more than many iterations"
        found.append(f"steering: program.md speaks of heart.csv; {what} {more}")
    return found


def dates_note(formats: dict[str, str], read: dict) -> str:
    """The note on columns of texts that are dates, with the line that reads them.

    formats: {column: format}; read: READ, as it is.
    """
    known = read.get("parse_dates", [])
    options = {"parse_dates": [*(known if isinstance(known, list) else []), *formats]}
    others = {name: found for name, found in formats.items() if found != "ISO8601"}
    if others:
        options["date_format"] = others
    names = ", ".join(map(repr, formats))
    return f"dates: the baseline loses {names}; as days since 1970: READ |= {options}"


def frozen() -> str:
    """What a run freezes is in git; uv.lock is as committed."""
    try:
        git("rev-parse", "HEAD")
        # An archive that was unpacked inside another repository is not part of it.
        git("ls-files", "--error-unmatch", "train.py")
    except Refused as refused:
        raise Refused(f"{refused}: {REPOSITORY}") from None
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

    Tried in a repository of its own, with the settings and hooks of this one: where the
    client's sandbox is on, no work tree can be added.
    """
    try:
        git_folder = HERE / git("rev-parse", "--git-common-dir")
        hooks = HERE / git("rev-parse", "--git-path", "hooks")
        with tempfile.TemporaryDirectory() as folder:
            git("init", "--quiet", "--template=", folder)
            Path(folder, "train.py").write_text("# trial\n")
            settings = f"include.path={git_folder}/config", f"core.hooksPath={hooks}"
            words = ["-c", settings[0], "-c", settings[1], "-c", "core.bare=false"]
            words += ["-c", f"core.worktree={folder}"]
            git(*words, "add", "train.py", folder=Path(folder))
            words += ["commit", "--no-gpg-sign", "--no-verify", "-qm", "trial"]
            git(*words, "train.py", folder=Path(folder))
    except Refused as refused:
        raise Refused(f"no commit can be made: {refused}: {cure()}") from None
    return "can be made, with your settings of git"


def cure() -> str:
    """What helps where git makes no commit."""
    try:
        git("rev-parse", "HEAD")
    except Refused:
        return REPOSITORY
    try:
        git("var", "GIT_COMMITTER_IDENT")
    except Refused:
        name = "git config user.name autoresearch"
        return f"{name} && git config user.email autoresearch@localhost"
    return "if a hook of yours says so, git config core.hooksPath /dev/null"


def gate() -> str:
    """The gate answers in the client: its command, word for word, on a call."""
    said = client.check_settings()
    command = re.search(r"command: '(.*hooks\.py.*)'", COMMAND.read_text("utf-8"))[1]
    call = {"hook_event_name": "PreToolUse", "tool_name": "Bash"}
    call |= {"tool_input": {"command": "git status --short"}}
    done = subprocess.run(
        ["sh", "-c", command],
        input=json.dumps(call),
        env=client.environment(),
        capture_output=True,
        text=True,
    )
    if '"permissionDecision": "allow"' not in done.stdout:
        fault = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        locked = ": unset UV_LOCKED" if "UV_LOCKED" in fault[0] else ""
        raise Refused(f"the gate of the client says: {fault[0]}{locked}")
    return f"answers; {said}"
