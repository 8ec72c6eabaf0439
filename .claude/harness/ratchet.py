"""The ratchet's bookkeeping: what git and results.tsv know of a run.

A run is a branch autoresearch/<tag>. Its base is the commit where it was made, and
its commits are those the branch ever stood on: both are in the branch's reflog.
The state of the loop is (HEAD, its row), so it survives any interruption.
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

# ---------------------------------------------------------------- constants
HERE = Path(__file__).resolve().parents[2]
RUN_LOG = HERE / "run.log"
RESULTS = HERE / "results.tsv"
STOP = HERE / "STOP"
FROZEN = ["prepare.py", "pyproject.toml", "uv.lock", "program.md", "data", ".claude"]
# Of the branch of every run.
PREFIX = "autoresearch/"
METRICS = ["val_auc", "test_auc", "wall_time_s"]
FIELDS = ["commit", *METRICS, "status", "description"]
BLOCK = ["commit", "hypothesis", "val_auc", "test_auc", "test_acc", "wall_time_s"]
BLOCK += ["status"]
# A status that says nothing of train.py.
HARNESS_FAULT = "crashed (harness: "
EVALUATE = "uv run prepare.py evaluate > run.log 2>&1"


class Refused(Exception):
    """The user's or the machine's fault: one line that names it and its cure."""


# ---------------------------------------------------------------------- git
def git(*args):
    """What a git command prints, stripped; Refused with git's own last line."""
    command = ["git", "-C", str(HERE), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise Refused("git is not installed") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Refused(f"git {args[0]}: {said[-1]}")
    return done.stdout.strip()


def run_branch():
    """The branch of the run; Refused when HEAD is not on one."""
    branch = git("branch", "--show-current")
    if not branch.startswith(PREFIX):
        where = f"branch {branch}" if branch else "a detached HEAD"
        cure = f"git checkout {PREFIX}<tag>, or the Setup of program.md for a new run"
        raise Refused(f"{where} is not a run: {cure}")
    return branch


def commit_of_train():
    """HEAD's hash, with -dirty if train.py is not HEAD's; none outside of git."""
    try:
        head = git("rev-parse", "HEAD")
        return f"{head}-dirty" if changed_files(head, ["train.py"]) else head
    except Refused:
        return "none"


def run_commits(branch):
    """Every commit the branch ever stood on, newest first; the last is the base."""
    commits = git("reflog", "show", "--format=%H", f"refs/heads/{branch}").split()
    return commits or [git("rev-parse", branch)]


def run_base():
    """The commit where the run of HEAD's branch began; Refused when there is none."""
    return run_commits(run_branch())[-1]


def changed_files(commit, paths):
    """Files of the commit below paths that are gone or differ by a byte.

    Compares hashes of the bytes on disk: index flags and filters can't hide a change.
    """
    entries = git("ls-tree", "-r", "-z", commit, "--", *paths).split("\0")
    blobs = {e.split("\t", 1)[1]: e.split()[2] for e in entries if e}
    files = [p for p in blobs if (HERE / p).is_file() and not (HERE / p).is_symlink()]
    hashes = git("hash-object", "--no-filters", "--", *files).split() if files else []
    now = dict(zip(files, hashes, strict=True))
    return [path for path in blobs if now.get(path) != blobs[path]]


def check_frozen_files():
    """Refused if on a run a frozen file is not, byte for byte, what its base has."""
    try:
        base = run_base()
    except Refused:
        # No run, nothing frozen.
        return
    if changed := changed_files(base, FROZEN):
        names = " ".join(changed)
        raise Refused(
            f"frozen: {names} changed since the run's base: "
            f"git restore --source={base:.7} {names}, or, to steer a new run, git "
            "checkout the branch that this run came from"
        )


# -------------------------------------------------------------- results.tsv
def read_rows(results=RESULTS):
    """The rows of results.tsv as dicts; a damaged line is named and passed over."""
    lines = []
    if results.exists():
        lines = results.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        cells = line.split("\t")
        if is_row(cells):
            rows.append(dict(zip(FIELDS, cells, strict=True)))
        elif line.strip() and cells != FIELDS:
            print(f"results.tsv: line {number} is damaged, ignored", file=sys.stderr)
    return rows


def is_row(cells):
    """Whether the cells are those of a whole row: a crash has no metrics, never 0."""
    if len(cells) != len(FIELDS) or not re.fullmatch("[0-9a-f]{7,64}", cells[0]):
        return False
    if cells[4] == "crash":
        return cells[1:3] == ["", ""]
    return cells[4] in ("keep", "discard") and all(map(is_finite, cells[1:4]))


def is_finite(cell):
    """Whether the cell holds a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def append_row(row):
    """Add a row in one write, on a line of its own; all of it or nothing."""
    line = "\t".join(row[field] for field in FIELDS) + "\n"
    old = RESULTS.read_bytes() if RESULTS.exists() else b""
    if not old:
        line = "\t".join(FIELDS) + "\n" + line
    elif not old.endswith(b"\n"):
        line = "\n" + line
    try:
        with open(RESULTS, "ab", buffering=0) as file:
            if file.write(line.encode()) != len(line.encode()):
                file.truncate(len(old))
                raise OSError("no space left")
            os.fsync(file.fileno())
    except OSError as error:
        again = "nothing was logged: mend it, then uv run prepare.py log"
        raise Refused(f"results.tsv: {error}; {again}") from None


def row_of(commit, rows):
    """The last row of a commit (full hash), or None."""
    found = [row for row in rows if commit.startswith(row["commit"])]
    return found[-1] if found else None


def bar_of(head, base, rows):
    """The row to beat: of HEAD's nearest ancestor in the run that was kept, or None."""
    ancestors = git("rev-list", "--first-parent", head, f"^{base}^@").split()[1:]
    for commit in ancestors:
        row = row_of(commit, rows)
        if row and row["val_auc"] and (row["status"] == "keep" or commit == base):
            return row
    return None


# ---------------------------------------------------------------------- log
def log(min_gain):
    """Append HEAD's row: (the line of the iteration, the row, the row it had to beat).

    min_gain: by more than this a keep is above the bar. When Refused, nothing is done.
    """
    commits = run_commits(run_branch())
    head, rows = git("rev-parse", "HEAD"), read_rows()
    check_frozen_files()
    if changed_files(head, ["train.py"]):
        raise Refused(f"train.py is not as committed: git commit train.py, {EVALUATE}")
    if row := row_of(head, rows):
        raise Refused(f"HEAD {head:.7} has its row already: {row['status']}")
    block, bar = read_block(head), bar_of(head, commits[-1], rows)
    row = {key: block[key] for key in METRICS}
    row |= {"commit": head[:7], "status": verdict(block, bar, min_gain)}
    row |= {"description": describe(block)}
    append_row(row)
    return report(len(rows_of_run(commits, rows)), row, bar), row, bar


def read_block(head):
    """The last block of run.log; Refused unless it is a measurement of HEAD."""
    text = (
        RUN_LOG.read_text(encoding="utf-8", errors="replace")
        if RUN_LOG.exists()
        else ""
    )
    lines = re.findall(rf"^({'|'.join(BLOCK)}):(.*)$", text, re.MULTILINE)
    block = dict.fromkeys(BLOCK, "") | {key: value.strip() for key, value in lines}
    if block["commit"] != head:
        of = block["commit"][:7] + block["commit"][40:] or "no commit"
        raise Refused(f"run.log is of {of}, not of HEAD {head:.7}: {EVALUATE}")
    if not block["status"] or block["status"].startswith(HARNESS_FAULT):
        raise Refused(f"run.log has no measurement ({block['status']}): {EVALUATE}")
    return block


def verdict(block, bar, min_gain):
    """keep if val_auc is above the bar (or there is none), discard, crash."""
    if block["status"] != "ok":
        return "crash"
    return "keep" if is_above(block, bar, min_gain) else "discard"


def is_above(row, bar, min_gain):
    """Whether a val_auc is above the bar's by more than min_gain; so is the first."""
    if bar is None:
        return True
    # Both have six digits: no more may decide.
    gain = round(float(row["val_auc"]) - float(bar["val_auc"]), 6)
    return gain > min_gain


def describe(block):
    """The hypothesis, or else the commit's subject, and why it crashed: one line."""
    reason = block["status"].removeprefix("crashed (").removesuffix(")")
    words = (block["hypothesis"] or git("log", "-1", "--format=%s")).split()
    return " ".join(words if reason == "ok" else [*words, f"[{reason}]"])


def report(number, row, bar):
    """The line of an iteration, for the user."""
    word = {"keep": "KEPT", "discard": "DISCARDED", "crash": "CRASHED"}[row["status"]]
    auc = f"{float(row['val_auc']):.4f}" if row["val_auc"] else "none"
    delta = difference(row, bar) if bar and row["val_auc"] else "none"
    return f"iter {number} | val_auc={auc} (Δ {delta}) | {word} — {row['description']}"


def difference(row, bar):
    """val_auc less the bar's: four digits, more where a keep would look like a tie."""
    value = float(row["val_auc"]) - float(bar["val_auc"])
    texts = [f"{value:+.{digits}f}" for digits in (4, 5, 6)]
    return next((text for text in texts if float(text)), texts[0])


# -------------------------------------------------------------------- state
def state(halt_auc, plateau):
    """Where the run stands, and what is next; never a word of test_auc.

    halt_auc: val_auc from which on it halts; plateau: iterations without a keep after
    which it asks for another kind of idea.
    """
    branch = run_branch()
    commits, rows = run_commits(branch), read_rows()
    mine = rows_of_run(commits, rows)
    kept = [float(row["val_auc"]) for row in mine if row["status"] == "keep"]
    summary = f"{branch} · not started"
    if kept:
        summary = f"{branch} · iter {len(mine) - 1} · {len(kept) - 1} kept"
        summary += f" · best {max(kept):.4f}"
    if reason := halt_reason(branch, mine, max(kept, default=0), halt_auc):
        return summary, f"halt: {reason}"
    return summary, next_step(commits[-1], rows, mine, plateau)


def rows_of_run(commits, rows):
    """The rows of commits that the run's branch ever stood on, in order."""
    return [row for row in rows if any(c.startswith(row["commit"]) for c in commits)]


def next_step(base, rows, mine, plateau):
    """What the loop does next: run, reset or propose, and why."""
    head = git("rev-parse", "HEAD")
    row = row_of(head, rows)
    if row is None:
        return f"run: HEAD {head:.7} has no row yet"
    if row["status"] != "keep" and head != base:
        return f"reset: HEAD {head:.7} is a {row['status']}: git reset -q --keep HEAD~1"
    since = len(mine) - max(i for i, r in enumerate(mine, 1) if r["status"] == "keep")
    if since >= plateau:
        return f"propose: {since} in a row without a keep: change the kind of idea"
    return "propose"


def halt_reason(branch, mine, best, halt_auc):
    """Why the loop may end by itself, or None."""
    if STOP.exists():
        return "there is a STOP file (rm STOP to go on)"
    try:
        check_frozen_files()
    except Refused as refused:
        return str(refused)
    if best >= halt_auc:
        cure = "look for leakage first, by uv run prepare.py leak"
        return f"val_auc {best:.4f} >= {halt_auc}: {cure}"
    limit = git("config", "--type=int", "--default=0", f"branch.{branch}.limit")
    if 0 < int(limit) < len(mine):
        return f"the limit of {limit} iterations is reached"
    return None
