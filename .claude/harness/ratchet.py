"""The ratchet's bookkeeping: what git and results.tsv know of a run.

A run is a branch autoresearch/<tag>. Where it began (its base) and what was logged of
it git's config keeps for as long as the branch lives: branch.<branch>.base, .logged.
The state of the loop is (HEAD, its row), so it survives any interruption.
"""

import contextlib
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# ---------------------------------------------------------------- constants
HERE = Path(__file__).resolve().parents[2]
RUN_LOG = HERE / "run.log"
RESULTS = HERE / "results.tsv"
STOP = HERE / "STOP"
FROZEN = ["prepare.py", "pyproject.toml", "uv.lock", "program.md", "data", ".claude"]
# Of the branch of every run.
PREFIX = "autoresearch/"
TAG = "[A-Za-z0-9][A-Za-z0-9._-]*"
METRICS = ["val_auc", "test_auc", "wall_time_s"]
FIELDS = ["commit", *METRICS, "status", "description"]
BLOCK = ["commit", "hypothesis", "val_auc", "test_auc", "test_acc", "wall_time_s"]
BLOCK += ["status"]
# A status that says nothing of train.py.
HARNESS_FAULT = "crashed (harness: "
# Also where the shell has noclobber.
EVALUATE = "uv run prepare.py evaluate >| run.log 2>&1"
# Of git's variables these are the user's configuration; others, as a hook's GIT_DIR,
# may name another repository. Of the configuration this changes what git prints.
GIT_VARIABLES = "CONFIG_GLOBAL CONFIG_NOSYSTEM CEILING_DIRECTORIES "
GIT_VARIABLES += "AUTHOR_NAME AUTHOR_EMAIL COMMITTER_NAME COMMITTER_EMAIL"
PINNED = "-c core.fsmonitor=false -c core.quotePath=false -c log.showSignature=false"
# A call in the client ends then, as settings.json has it.
CALL_S = 3600  # seconds
# Another git may hold a lock for so long.
LOCK_S = 2  # seconds
LOCKS = ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"]


class Refused(Exception):
    """The user's or the machine's fault: one line that names it and its cure."""


class NotARun(Refused):
    """HEAD is not on the branch of a run."""


# ---------------------------------------------------------------------- git
def git(*args, input=None, folder=HERE):
    """What a git command prints, stripped; Refused with git's own last line.

    input: bytes for its standard input; folder: where it runs.
    """
    kept = {f"GIT_{name}" for name in GIT_VARIABLES.split()}
    dropped = {name for name in os.environ if name.startswith("GIT_")} - kept
    environ = {name: os.environ[name] for name in os.environ if name not in dropped}
    command = ["git", "-C", str(folder), *PINNED.split(), *args]
    try:
        # A limit of file sizes is to be an error of git's, not its death.
        done = subprocess.run(
            command,
            input=input,
            capture_output=True,
            env=environ,
            restore_signals=False,
        )
    except FileNotFoundError:
        raise Refused("git is not installed, or not on PATH") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(f"git {args[0]}: {(said or [f'status {done.returncode}'])[-1]}")
    return done.stdout.decode(errors="replace").strip()


def config(name):
    """The value of git's config, "" if it has none."""
    return git("config", "--default=", "--get", name)


def set_config(*args):
    """Write into git's config, whose lock another run may hold for a moment."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            return git("config", *args)
        except Refused:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def run_branch():
    """The branch of the run; NotARun when HEAD is not on one."""
    branch = git("branch", "--show-current")
    if not branch.startswith(PREFIX):
        where = f"branch {branch}" if branch else "a detached HEAD"
        cure = f"git checkout {PREFIX}<tag>, or the Setup of program.md for a new run"
        raise NotARun(f"{where} is not a run: {cure}")
    return branch


def commit_of_train():
    """HEAD's hash, with -dirty if train.py is not HEAD's; none outside of git."""
    try:
        head = git("rev-parse", "HEAD")
        return f"{head}-dirty" if changed_files(head, ["train.py"]) else head
    except Refused:
        return "none"


def run_base(branch):
    """The commit where the run began; Refused where git does not know, or disagrees.

    Until the first evaluate has recorded it, the branch's reflog tells.
    """
    recorded, first = config(f"branch.{branch}.base"), created_at(branch)
    base, head = recorded or first, git("rev-parse", f"refs/heads/{branch}")
    begin = f"git config branch.{branch}.base"
    if not base:
        cure = f"if it is to begin at its last commit, {begin} {head}"
        raise Refused(f"git does not know where {branch} began: {cure}")
    if first and first != base:
        where = f"{base:.7} by git's config, {first:.7} by its reflog"
        raise Refused(f"{branch} began at {where}: {begin} {first}")
    if git("rev-list", "--max-count=1", base, f"^{head}"):
        where = f"{branch} began at {base:.7}, but has left it"
        raise Refused(f"{where}: a new run: git checkout -b {branch}-2")
    return base


def created_at(branch):
    """Where the branch was made, by the first entry of its reflog; "" if that is gone.

    Entries expire, by git's default after 90 days.
    """
    walk = ["log", "--walk-reflogs", "--format=%H %gs", f"refs/heads/{branch}", "--"]
    commit, _, message = git(*walk).rpartition("\n")[2].partition(" ")
    return commit if message.startswith(("branch: Created", "clone:")) else ""


def record_base():
    """Record where the run of HEAD's branch began, once; nothing outside of a run."""
    if (branch := current_run()) and not config(f"branch.{branch}.base"):
        set_config(f"branch.{branch}.base", run_base(branch))


def current_run():
    """The branch of the run that HEAD is on, "" if none is."""
    try:
        return run_branch()
    except Refused:
        return ""


def run_commits(branch):
    """Every commit of the run, newest first, its base last.

    Those between base and tip, those that were logged, those the branch stood on.
    """
    base = run_base(branch)
    # By its full name: a tag or a folder may be called the same.
    ref = f"refs/heads/{branch}"
    line = git("rev-list", "--first-parent", ref, f"^{base}", "--").split()
    stood_on = git("log", "--walk-reflogs", "--format=%H", ref, "--")
    later = dict.fromkeys([*line, *logged(branch), *stood_on.split()])
    return [*(commit for commit in later if commit != base), base]


def logged(branch):
    """{commit: (status, val_auc)} of what was logged of the run, in order."""
    found = [e.split("\n") for e in git("config", "--list", "-z").split("\0")]
    values = [e[-1].split() for e in found if e[0] == f"branch.{branch}.logged"]
    return {commit: cells for commit, *cells in values}


def changed_files(commit, paths):
    """Files of the commit below paths that are gone or differ, as git stores them.

    Compares contents on disk: index flags and filters can't hide a change. The end of a
    line may be CRLF, as an editor of Windows writes it.
    """
    entries = git("ls-tree", "-r", "-z", commit, "--", *paths).split("\0")
    blobs = {e.split("\t", 1)[1]: e.split()[2] for e in entries if e}
    files = [p for p in blobs if (HERE / p).is_file() and not (HERE / p).is_symlink()]
    hashes = git("hash-object", "--no-filters", "--", *files).split() if files else []
    now = dict(zip(files, hashes, strict=True))
    changed = [path for path in blobs if now.get(path) != blobs[path]]
    return [path for path in changed if path not in now or blob(path) != blobs[path]]


def blob(path):
    """The hash of a file with its lines ended by LF."""
    content = (HERE / path).read_bytes().replace(b"\r\n", b"\n")
    return git("hash-object", "--stdin", input=content)


def check_frozen_files():
    """Refused if on a run a frozen file is not what the run's base has."""
    # No run, nothing frozen.
    if branch := current_run():
        check_frozen_since(run_base(branch))


def check_frozen_since(base):
    """The same of a run whose base is known."""
    if changed := changed_files(base, FROZEN):
        names = " ".join(changed)
        head, true = git("rev-parse", "HEAD"), last_true(base)
        # By its own or the user's settings uv would write its lock again.
        lock = "export UV_FROZEN=1 && " if "uv.lock" in changed else ""
        cure = f"{lock}git restore --source={base:.7} {names}"
        if true != head:
            cure = f"git branch edited-{head:.7} && git reset --keep {true:.7}"
        raise Refused(
            f"frozen: {names} changed since the run's base: {cure}, or, to steer a "
            "new run, git checkout the branch that this run came from"
        )


def last_true(base):
    """HEAD, or its nearest ancestor, with the frozen files of the base."""
    line = git("rev-list", "--first-parent", "HEAD", f"^{base}^@").split()
    differs = ["diff-tree", "-r", "--name-only", base]
    return next(c for c in line if not git(*differs, c, "--", *FROZEN))


def check_locks(branch):
    """Refused if a lock of git's stays: then nothing can be committed or reset."""
    names = [*LOCKS, f"refs/heads/{branch}.lock"]
    options = [word for name in names for word in ("--git-path", name)]
    paths = [HERE / path for path in git("rev-parse", *options).splitlines()]
    deadline = time.monotonic() + LOCK_S
    while left := [path for path in paths if path.exists()]:
        if time.monotonic() > deadline:
            cure = f"if no git is at work, rm {shlex.quote(str(left[0]))}"
            raise Refused(f"a git that was killed has left {left[0].name}: {cure}")
        time.sleep(0.05)


def work_trees():
    """{this folder in each work tree: the branch there, "" on none}."""
    inside, trees = git("rev-parse", "--show-prefix"), {}
    for entry in git("worktree", "list", "--porcelain").split("\n\n"):
        lines = dict(line.partition(" ")[::2] for line in entry.splitlines())
        branch = lines.get("branch", "").removeprefix("refs/heads/")
        trees[Path(lines["worktree"], inside)] = branch
    return trees


@contextlib.contextmanager
def throw_away_tree(commit):
    """This folder, still empty, in a work tree that stands on the commit, for a while.

    On no branch; without the checkout, which would run a hook of the user's.
    """
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder, "tree")
        options = ["--quiet", "--detach", "--no-checkout"]
        git("worktree", "add", *options, str(top), commit)
        try:
            place = top / git("rev-parse", "--show-prefix")
            place.mkdir(parents=True, exist_ok=True)
            yield place
        finally:
            git("worktree", "remove", "--force", str(top))


# -------------------------------------------------------------- results.tsv
def read_rows(path=RESULTS):
    """The rows of results.tsv as dicts; a damaged line is named and passed over."""
    lines = []
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        cells = line.split("\t")
        if is_row(cells):
            rows.append(dict(zip(FIELDS, cells, strict=True)))
        elif line.strip() and cells != FIELDS:
            print(f"{path.name}: line {number} is damaged, ignored", file=sys.stderr)
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
    """Add a row in one write, on a line of its own; all of it or an OSError."""
    line = "\t".join(row[field] for field in FIELDS) + "\n"
    old = RESULTS.read_bytes() if RESULTS.exists() else b""
    if not old:
        line = "\t".join(FIELDS) + "\n" + line
    elif not old.endswith(b"\n"):
        line = "\n" + line
    with open(RESULTS, "ab", buffering=0) as file:
        if file.write(line.encode()) != len(line.encode()):
            file.truncate(len(old))
            raise OSError("results.tsv: no space left")
        os.fsync(file.fileno())


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


def check_rows(branch, commits, head, rows):
    """Refused if a row of the run is gone, is not as it was logged, or never was.

    Then the bar would be another one. HEAD may have no row yet; the base (commits[-1])
    may have one of an earlier run.
    """
    known = logged(branch)
    for commit in commits[:-1]:
        if commit not in known and row_of(commit, rows):
            cure = (
                f"if that is no row of log's, sed -i.bak /^{commit:.7}/d {RESULTS.name}"
            )
            raise Refused(
                f"{RESULTS.name} has a row of {commit:.7}, never logged: {cure}"
            )
    for commit, (status, val_auc) in known.items():
        row = row_of(commit, rows)
        found = row and [row["status"], row["val_auc"] or "none"]
        if found != [status, val_auc] and (row or commit != head):
            said = "another row" if row else "no whole row"
            raise Refused(
                f"results.tsv has {said} of {commit:.7} (logged: {status}, {val_auc}): "
                f"put it back, or begin a new run: git checkout -b {branch}-2"
            )


def tried(table):
    """Lines of val_auc, status, description: the rows of all work trees, oldest first.

    Not those of other tables: the prepare.py of their commits lacks the words `table`.
    """
    paths = [folder / RESULTS.name for folder in work_trees()]
    paths = [*(path for path in paths if path != RESULTS), RESULTS]
    rows = [row for path in paths for row in read_rows(path)]
    tables = tables_of({row["commit"] for row in rows})
    fields = ["val_auc", "status", "description"]
    return [
        "\t".join(row[field] for field in fields)
        for row in rows
        if tables[row["commit"]] in (table, "")
    ]


def tables_of(commits):
    """{commit: the line of its prepare.py that names its table, "" if git lost it}."""
    inside = git("rev-parse", "--show-prefix")
    names = "\n".join(f"{commit}:{inside}prepare.py" for commit in commits).encode()
    found = git("cat-file", "--batch-check=%(objectname)", input=names).splitlines()
    # Of a lost one it says the name and a word.
    lines = {
        blob: "" if " " in blob else setting(blob, "DATA_SHA256") for blob in set(found)
    }
    return {commit: lines[blob] for commit, blob in zip(commits, found, strict=True)}


def setting(blob, name):
    """The line by which this prepare.py, as git names it, sets a constant, or ""."""
    lines = git("cat-file", "blob", blob).splitlines()
    return next((line for line in lines if line.startswith(f"{name} = ")), "")


def number_set(commit, name):
    """The number that the commit's prepare.py gives a constant; 0 if it has none."""
    line = setting(f"{commit}:./prepare.py", name)
    try:
        return float(line.partition("=")[2].partition("#")[0] or 0)
    except ValueError:
        raise Refused(f"{line} of {commit:.7} is no number") from None


# ---------------------------------------------------------------------- log
def log(min_gain):
    """Append HEAD's row: (the line of the iteration, the row, the row it had to beat).

    min_gain: by more than this a keep is above the bar. When Refused, nothing is done.
    """
    branch = run_branch()
    commits, head, rows = run_commits(branch), git("rev-parse", "HEAD"), read_rows()
    check_frozen_since(commits[-1])
    check_rows(branch, commits, head, rows)
    if changed_files(head, ["train.py"]):
        raise Refused(f"train.py is not as committed: git commit train.py, {EVALUATE}")
    if row := row_of(head, rows):
        raise Refused(f"HEAD {head:.7} has its row already: {row['status']}")
    block, bar = read_block(head), bar_of(head, commits[-1], rows)
    row = {key: block[key] for key in METRICS}
    row |= {"commit": head[:7], "status": verdict(block, bar, min_gain)}
    row |= {"description": describe(block)}
    was = f"{head} {row['status']} {row['val_auc'] or 'none'}"
    try:
        set_config("--replace-all", f"branch.{branch}.logged", was, f"^{head}")
        append_row(row)
    except (Refused, OSError) as error:
        again = "nothing was logged: mend it, then uv run prepare.py log"
        raise Refused(f"{error}; {again}") from None
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
    branch = ""
    try:
        branch = run_branch()
        return where_it_stands(branch, halt_auc, plateau)
    except NotARun:
        raise
    except Refused as refused:
        return branch, f"halt: {refused}"


def where_it_stands(branch, halt_auc, plateau):
    """The same, Refused where git, the rows or the frozen files do not let it go on."""
    check_locks(branch)
    commits = run_commits(branch)
    check_frozen_since(commits[-1])
    rows = read_rows()
    check_rows(branch, commits, git("rev-parse", "HEAD"), rows)
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
    kept = [i for i, r in enumerate(mine, 1) if r["status"] == "keep"]
    since = len(mine) - max(kept, default=0)
    if since >= plateau:
        return f"propose: {since} in a row without a keep: change the kind of idea"
    return "propose"


def halt_reason(branch, mine, best, halt_auc):
    """Why the loop may end by itself, or None."""
    if STOP.exists():
        return "there is a STOP file (rm STOP to go on)"
    if best >= halt_auc:
        cure = "look for leakage first, by uv run prepare.py leak"
        return f"val_auc {best:.4f} >= {halt_auc}: {cure}"
    limit, until = number_of(branch, "limit"), number_of(branch, "until")
    if 0 < limit < len(mine):
        tag = branch.removeprefix(PREFIX)
        return (
            f"the limit of {limit} iterations is reached (/autoresearch {tag} <more>)"
        )
    if 0 < until <= time.time():
        return f"the limit of hours is reached ({clock(until)})"
    return None


def number_of(branch, name):
    """The number that git config has for the branch, 0 if none."""
    key = f"branch.{branch}.{name}"
    return int(git("config", "--type=int", "--default=0", "--get", key))


def clock(seconds):
    """A time of day, of seconds since the epoch."""
    return time.strftime("%a %H:%M", time.localtime(seconds))


def set_limits(tag="", *limits):
    """Set when the run of a tag ends: a number of iterations, hours as in 8h, or both.

    Hours count from now, and the last ones are forgotten. The sentence on it; Refused
    unless tag and limits are such.
    """
    branch, end = f"{PREFIX}{tag}", {}
    if not tag:
        return "no tag, so no limits"
    for word in limits:
        match = re.fullmatch(r"([0-9]{1,6})(h?)", word)
        if not match:
            raise Refused(f"{word!r} is no limit: 25 (iterations), 8h (hours) or both")
        name = "until" if match[2] else "limit"
        if name in end:
            raise Refused(
                f"{word!r} is a second limit of its kind: 25 8h is one of each"
            )
        end[name] = int(match[1])
    if not re.fullmatch(TAG, tag) or ".." in tag or tag.endswith((".", ".lock")):
        letters = "letters, digits, and inside also . _ -, as in nov23"
        raise Refused(f"{tag!r} can't be the tag of a run: {letters}")
    if "until" in end:
        end["until"] = int(time.time()) + 3600 * end["until"]
    for name in ("limit", "until"):
        if name in end or (name == "until" and number_of(branch, name)):
            set_config(f"branch.{branch}.{name}", str(end.get(name, 0)))
    limit, until = number_of(branch, "limit"), number_of(branch, "until")
    words = [f"after {limit} iterations"] * bool(limit)
    words += [f"at {clock(until)}"] * bool(until)
    return f"{branch}: ends {' or '.join(words) or 'when it is stopped'}"
