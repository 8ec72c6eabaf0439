"""The ratchet: what git and the log of a run say, and what follows for the next step.

A run is a branch autoresearch/<tag>. Its log, <tag>.tsv in git's common directory, is
the truth: a head (see Run), then a row for each scored commit in order, the first for
the commit where the run began (its base). It is replaced as a whole with each new row,
so it is never half written. results.tsv is a copy for people, which is never read.
The state of the loop is HEAD and its row, so any interruption is harmless.
"""

import json
import os
import re
import shlex
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from harness import records
from harness.errors import Refused, one_line
from harness.git import HERE, changed_files, git, is_ancestor, state_folder
from harness.records import Record

# -------------------------------------------------------------------- constants
RUN_LOG = HERE / "run.log"
RESULTS = HERE / "results.tsv"
STOP = HERE / "STOP"
# The branch of every run begins so; and what may follow.
PREFIX = "autoresearch/"
TAG = "[A-Za-z0-9][A-Za-z0-9._-]*"
# What no commit of a run changes, and what of it has to be in git. Beside these files
# the client and the user may have others in .claude, and own tables in data.
FROZEN = ("prepare.py", "pyproject.toml", "uv.lock", "program.md", "data", ".claude")
HARNESS = (
    *FROZEN[:4],
    *(".claude/harness/*.py", ".claude/hooks/*.py", ".claude/review/*.py"),
    *(".claude/commands/autoresearch.md", ".claude/settings.json"),
)
# The columns of results.tsv.
COPIED = ("commit", "val_auc", "test_auc", "wall_time_s", "status", "description")
# A status that says nothing of train.py.
HARNESS_FAULT = "crashed (harness: "
# It overwrites run.log also where the shell has noclobber.
EVALUATE = "uv run prepare.py evaluate >| run.log 2>&1"
DESCRIPTION_CHARACTERS = 1000
# Where a text names several ideas, each of them is cut to this length.
IDEA_CHARACTERS = 60
# The client ends a call then, as settings.json has it.
CALL_S = 3600  # seconds


class NotARun(Refused):
    """HEAD is not on the branch of a run."""


# -------------------------------------------------------------------------- run
def current_branch() -> str:
    """The branch of the run that HEAD is on; "" if it is on none, or without git."""
    try:
        branch = git("branch", "--show-current")
    except Refused:
        return ""
    return branch if branch.startswith(PREFIX) else ""


def commit_of_train() -> str:
    """HEAD's hash, with -dirty if train.py is not HEAD's; "none" outside of git."""
    try:
        head = git("rev-parse", "HEAD")
        return f"{head}-dirty" if changed_files(head, "train.py") else head
    except Refused:
        return "none"


class Row(NamedTuple):
    """A row of a log: a scored commit. Metrics are "" after a crash."""

    # The full hash; seven digits in results.tsv.
    commit: str
    val_auc: str
    test_auc: str
    test_acc: str
    wall_time_s: str
    # keep, discard or crash.
    status: str
    # Time of day in UTC, as ISO 8601 has it.
    logged_at: str
    # The hypothesis; after a blank, in brackets, why a crash has no score.
    description: str

    @property
    def idea(self) -> str:
        """The hypothesis alone."""
        return self.description.partition(" [")[0]


@dataclass
class Run:
    """A run as its log has it: the head, and the rows."""

    branch: str
    # The SHA-256 of its table, which pins one that git does not track; "" without rows.
    table: str = ""
    # Its limits: a number of iterations, a time in seconds since the epoch; 0 is none.
    iterations: int = 0
    until: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """The file of the log."""
        return state_folder() / f"{self.branch.removeprefix(PREFIX)}.tsv"

    @property
    def base(self) -> str:
        """The commit where it began, or will begin: where its branch stands."""
        return self.rows[0].commit if self.rows else branch_tip(self.branch)

    @property
    def bar(self) -> Row | None:
        """The row to beat: of the last commit that was kept."""
        kept = [row for row in self.rows if row.status == "keep"]
        return kept[-1] if kept else None

    @property
    def numbers(self) -> list[int]:
        """The iteration of each row, from 0, the base.

        A crash followed by another try of the same idea was a slip: both are one.
        """
        numbers = [0] * bool(self.rows)
        for before, row in pairwise(self.rows):
            is_again = before.status == "crash" and before.idea == row.idea
            numbers.append(numbers[-1] + (not is_again))
        return numbers

    @property
    def numbered(self) -> list[tuple[int, Row]]:
        """(iteration, row) of each row."""
        return [*zip(self.numbers, self.rows, strict=True)]

    def row_of(self, commit: str) -> Row | None:
        """The row of a commit, or None."""
        return next((row for row in self.rows if row.commit == commit), None)

    def save(self) -> None:
        """Replace the log by what this is now, as a whole, or OSError."""
        head = {key: value for key, value in asdict(self).items() if key != "rows"}
        lines = [json.dumps(head), "\t".join(Row._fields)]
        lines += ["\t".join(row) for row in self.rows]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        part = self.log.with_suffix(f".{os.getpid()}.part")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.log)
        finally:
            part.unlink(missing_ok=True)


def read_run(branch: str) -> Run:
    """The run of a branch as its log has it; an empty one without a log."""
    log = Run(branch).log
    if not log.exists():
        return Run(branch)
    try:
        head, _, *lines = log.read_text(encoding="utf-8").splitlines()
        rows = [Row(*line.split("\t")) for line in lines]
        return Run(**json.loads(head) | {"branch": branch, "rows": rows})
    except (ValueError, TypeError) as error:
        cure = f"for a new run, git checkout -b {branch}-2"
        raise Refused(f"{log} is damaged ({one_line(str(error))}): {cure}") from None


def find_run(branch: str) -> Run:
    """The run of a branch, begun or not; Refused if git contradicts its log.

    A branch that does not have the last commit that was kept is not the run's: its tag
    was used before, or a commit of the run was taken away.
    """
    run = read_run(branch)
    kept = run.bar.commit if run.bar else run.base
    if not is_ancestor(kept, branch_tip(branch)):
        raise Refused(
            f"{branch} has a log whose last kept commit, {kept:.7}, is not on the "
            f"branch: for a new run, git checkout -b {branch}-2; to go on with the old "
            f"one, git reset --keep {kept:.7}"
        )
    return run


def branch_tip(branch: str) -> str:
    """The commit that a branch stands on; a tag may be called the same."""
    return git("rev-parse", f"refs/heads/{branch}")


def run_of_head() -> Run | None:
    """The run that HEAD is on; None outside of a run, or without git."""
    branch = current_branch()
    return find_run(branch) if branch else None


def current_run() -> Run:
    """The run that HEAD is on; NotARun if it is on none."""
    if run := run_of_head():
        return run
    name = git("branch", "--show-current")
    where = f"branch {name}" if name else "a detached HEAD"
    raise NotARun(
        f"{where} is not a run: to go on with one, git checkout {PREFIX}<tag>"
    )


def check_table(run: Run, table: str) -> None:
    """Refused if the run began with another table.

    table: its SHA-256. Before the first row any is right.
    """
    if run.table not in ("", table):
        cure = f"put it back, or for a new run, git checkout -b {run.branch}-2"
        raise Refused(f"the table is not the one that {run.branch} began with: {cure}")


# ----------------------------------------------------------------- frozen files
def check_frozen_files() -> None:
    """Refused if a frozen file is not as at the run's base; nothing outside of a run.

    A file of the harness that git does not track is refused as well.
    """
    if run := run_of_head():
        check_frozen_since(run)


def check_frozen_since(run: Run) -> None:
    """Refused if a frozen file is not in git, or differs from the run's base."""
    check_tracked()
    if not (changed := changed_files(run.base, *FROZEN)):
        return
    names = shlex.join(changed)
    if not run.rows:
        cure = f"git commit -qm settings -- {names}"
    elif changed_files("HEAD", *FROZEN):
        cure = f"git stash push -- {names}"
    else:
        cure = f"a new run begins with them: git checkout -b {run.branch}-2"
    # Some settings of the user's make uv write its lock again.
    lock = "export UV_FROZEN=1 && " if "uv.lock" in changed else ""
    raise Refused(f"frozen: {names} changed since the run's base: {lock}{cure}")


def check_tracked() -> None:
    """Refused if a file of the harness is not in git, for then it is not frozen."""
    if found := git("ls-files", "--others", "-z", "--", *HARNESS).split("\0")[:-1]:
        names = shlex.join(found)
        cure = f"git add -f -- {names} && git commit -qm harness -- {names}"
        raise Refused(f"not in git, so not frozen (an ignore rule?): {names}: {cure}")


# -------------------------------------------------------------------------- log
def log(min_gain: float) -> tuple[Run, Row]:
    """Log HEAD, and take it back if it is not kept: (the run, the row of HEAD).

    min_gain: a keep is above the bar by more. Whatever interrupts it, the next call
    goes on. When Refused, nothing is logged.
    """
    run, head = current_run(), git("rev-parse", "HEAD")
    check_frozen_since(run)
    if changed_files(head, "train.py"):
        raise Refused(f"train.py is not as committed: git commit train.py, {EVALUATE}")
    if row := run.row_of(head):
        copy_to_results(row)
        if row.status == "keep" or head == run.base:
            raise Refused(f"HEAD {head:.7} is logged already ({row.status})")
    elif record := records.read(head):
        row = append(run, record, min_gain)
    else:
        raise Refused(f"HEAD {head:.7} is not evaluated: {EVALUATE}")
    if row.status != "keep" and head != run.base:
        git("reset", "-q", "--keep", "HEAD~1")
    return run, row


def append(run: Run, record: Record, min_gain: float) -> Row:
    """Append the row of a record to the log and to its copy; both, or Refused."""
    row = row_for(run, record.block, min_gain)
    old, run.rows = run.rows, [*run.rows, row]
    run.table = run.table or record.table
    try:
        run.save()
        try:
            copy_to_results(row)
        except OSError:
            replace(run, rows=old).save()
            raise
    except OSError as error:
        again = "nothing was logged: mend that, then uv run prepare.py log"
        raise Refused(f"{error}; {again}") from None
    return row


def row_for(run: Run, block: records.Block, min_gain: float) -> Row:
    """The row of a block, with its status."""
    words = [block.hypothesis or subject_of_head()]
    status = status_of(run.bar, block.val_auc, min_gain)
    if status == "crash":
        words.append(f"[{block.status.removeprefix('crashed (').removesuffix(')')}]")
    elif status == "discard" and gain_over(run.bar, block.val_auc) > 0:
        words.append(f"[a gain, but not of more than MIN_GAIN = {min_gain}]")
    metrics = block.val_auc, block.test_auc, block.test_acc, block.wall_time_s
    logged_at = datetime.now(UTC).isoformat(timespec="seconds")
    description = one_line(" ".join(words), DESCRIPTION_CHARACTERS)
    return Row(block.commit, *metrics, status, logged_at, description)


def status_of(bar: Row | None, val_auc: str, min_gain: float) -> str:
    """keep, discard or crash; without a bar, every score is kept."""
    if not val_auc:
        return "crash"
    if bar is None or is_kept(gain_over(bar, val_auc), min_gain):
        return "keep"
    return "discard"


def is_kept(gain, min_gain: float):
    """Whether a gain over the bar is enough to be kept; of an array, for each gain.

    The night, the review's check of it and the simulations of chance all ask this.
    """
    return gain > min_gain


def subject_of_head() -> str:
    """The first line of HEAD's message."""
    return git("log", "-1", "--no-show-signature", "--format=%s")


def gain_over(bar: Row, val_auc: str) -> float:
    """val_auc less the bar's; both have six digits, and no more may decide."""
    return round(float(val_auc) - float(bar.val_auc or 0), 6)


def copy_to_results(row: Row) -> None:
    """Append a row to results.tsv unless it has that line; all of it or an OSError."""
    cells = row._asdict() | {"commit": row.commit[:7]}
    line = "\t".join(cells[name] for name in COPIED).encode()
    old = RESULTS.read_bytes() if RESULTS.exists() else b""
    if line in old.splitlines():
        return
    start = b"" if old.endswith(b"\n") else b"\n"
    text = (start if old else "\t".join(COPIED).encode() + b"\n") + line + b"\n"
    with open(RESULTS, "ab", buffering=0) as file:
        if file.write(text) != len(text):
            file.truncate(len(old))
            raise OSError(f"{RESULTS.name}: no space left")


def line_of(run: Run, row: Row) -> str:
    """The line of an iteration, for the user."""
    place = run.rows.index(row)
    word = {"keep": "KEPT", "discard": "DISCARDED", "crash": "CRASHED"}[row.status]
    auc = f"{float(row.val_auc):.4f}" if row.val_auc else "none"
    bar = Run(run.branch, rows=run.rows[:place]).bar
    delta = difference(gain_over(bar, row.val_auc)) if bar and row.val_auc else "none"
    start = f"iter {run.numbers[place]} | val_auc={auc} (Δ {delta}) | {word}"
    return f"{start} — {row.description}"


def difference(gain: float) -> str:
    """A gain with four digits, or more where a keep would look like a tie."""
    texts = [f"{gain:+.{digits}f}" for digits in (4, 5, 6)]
    return next((text for text in texts if float(text)), texts[0])


def archive_run_log(commit: str) -> None:
    """Move run.log beside the commit's record.

    If the next commit fails, the grep for its metrics must not find these.
    """
    if RUN_LOG.exists():
        shutil.move(RUN_LOG, state_folder() / f"{commit}.log")


# ------------------------------------------------------------------------ state
def state(halt_auc: float, plateau: int) -> tuple[str, str]:
    """Where the run stands, and what is next; never a word of test_auc.

    halt_auc: a val_auc from which on the loop halts; plateau: iterations without a keep
    after which another kind of idea is called for. NotARun outside of a run.
    """
    branch = current_branch()
    try:
        run = current_run()
        check_frozen_since(run)
    except NotARun:
        raise
    except Refused as refused:
        return branch, f"halt: {refused}"
    kept = [float(row.val_auc) for row in run.rows if row.status == "keep"]
    summary = f"{branch} · not started"
    if kept:
        # The start is kept as well, but as what is to be beaten.
        climb = f"{len(kept) - 1} kept · best" if run.numbers[-1] else "start"
        summary = f"{branch} · iter {run.numbers[-1]} · {climb} {max(kept):.4f}"
    if reason := halt_reason(run, max(kept, default=0), halt_auc):
        return summary, f"halt: {reason}"
    return summary, next_step(run, plateau)


def next_step(run: Run, plateau: int) -> str:
    """What the loop does next, and why."""
    head = git("rev-parse", "HEAD")
    row = run.row_of(head)
    if row is None and records.read(head):
        return f"log: HEAD {head:.7} is evaluated, and not logged yet"
    if row is None:
        return f"run the evaluation: HEAD {head:.7} has no row yet"
    if row.status != "keep" and head != run.base:
        return f"log: HEAD {head:.7} is a {row.status}, which log takes back"
    last = run.rows.index(run.bar) if run.bar else 0
    since = run.numbers[-1] - run.numbers[last]
    if since >= plateau:
        failed = [one_line(r.idea, IDEA_CHARACTERS) for r in run.rows[last + 1 :]]
        words = f"{since} in a row without a keep: change the kind of idea"
        return f"propose: {words}; the last to fail: {'; '.join(failed[-plateau:])}"
    return "propose"


def halt_reason(run: Run, best: float, halt_auc: float) -> str:
    """Why the loop may end by itself, "" if it may not."""
    tag = run.branch.removeprefix(PREFIX)
    if STOP.exists():
        return "there is a STOP file (rm STOP to go on)"
    if best >= halt_auc:
        return f"val_auc {best:.4f} >= {halt_auc}: look for leakage in train.py first"
    if run.rows and 0 < run.iterations <= run.numbers[-1]:
        more = f"the user goes on by /autoresearch {tag} <iterations in all>"
        return f"the limit of {run.iterations} iterations is reached ({more})"
    if 0 < run.until <= time.time():
        more = f"the user goes on by /autoresearch {tag} <hours>h"
        return f"the limit of hours was reached at {time_of_day(run.until)} ({more})"
    return ""


def time_of_day(seconds: float) -> str:
    """A day of the week and a time, from seconds since the epoch."""
    return time.strftime("%a %H:%M", time.localtime(seconds))


# ----------------------------------------------------------------------- limits
def set_limits(tag: str = "", *limits: str) -> str:
    """Set when the run of a tag ends: a number of iterations, hours as in 8h, or both.

    Hours count from now, and earlier ones are forgotten. Returns a sentence on it;
    Refused if a word is no limit, or the tag can't be taken.
    """
    if not tag:
        return "no tag, so no limits"
    found = re.fullmatch(r"(?:(\d{1,6}) ?)?(?:(\d{1,4})h)?", " ".join(limits))
    if not found:
        said = one_line(" ".join(limits))
        raise Refused(f"{said!r} is no limit: 25 (iterations), 8h (hours) or 25 8h")
    check_tag(tag)
    run = read_run(f"{PREFIX}{tag}")
    run.iterations = int(found[1] or run.iterations)
    run.until = int(time.time()) + 3600 * int(found[2]) if found[2] else 0
    # Without a limit there is nothing to remember of a run that has not begun.
    if limits or run.rows:
        run.save()
    words = [f"after {run.iterations} iterations"] * (run.iterations > 0)
    words += [f"at {time_of_day(run.until)}"] * (run.until > 0)
    return f"{run.branch}: ends {' or '.join(words) or 'when it is stopped'}"


def check_tag(tag: str) -> None:
    """Refused unless the tag names a run: a new one, or one to be resumed."""
    if not re.fullmatch(TAG, tag) or ".." in tag or tag.endswith((".", ".lock")):
        letters = "letters, digits, and inside also . _ -, as in nov23"
        raise Refused(f"{one_line(tag)!r} can't be the tag of a run: {letters}")
    run = read_run(f"{PREFIX}{tag}")
    if run.rows and not git("branch", "--list", run.branch):
        n, kept = run.numbers[-1], (run.bar or run.rows[0]).commit
        raise Refused(
            f"the tag {tag} was used before, by a run of {n} iterations whose branch "
            f"is gone: take another tag; or, to resume that run, git branch "
            f"{run.branch} {kept:.7}"
        )


# ------------------------------------------------------------------------ tried
def tried(table: str) -> list[str]:
    """Lines of commit, val_auc, status and description: all runs on this table.

    table: its SHA-256. The rows of all work trees, in the order of the logs.
    """
    runs = [read_run(f"{PREFIX}{log.stem}") for log in state_folder().glob("*.tsv")]
    rows = [row for run in runs if run.table == table for row in run.rows]
    rows.sort(key=lambda row: row.logged_at)
    return ["\t".join((r.commit[:7], r.val_auc, r.status, r.description)) for r in rows]
