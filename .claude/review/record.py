"""The record of a run: what git and results.tsv say happened, and whether it is true.

It only reads. What it runs, it runs in a temporary worktree, with the base's harness.
"""

import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from harness.judge import one_line
from harness.ratchet import (
    FROZEN,
    HERE,
    PREFIX,
    RESULTS,
    Refused,
    bar_of,
    changed_files,
    git,
    is_above,
    read_rows,
    row_of,
    rows_of_run,
    run_commits,
    throw_away_tree,
    work_trees,
)


@dataclass
class Run:
    """What git and results.tsv know of a run. Commits are full hashes."""

    branch: str
    # The commit where the branch was made: the start.
    base: str
    tip: str
    # Commits from base to tip, and all that the branch ever stood on, each once.
    line: list
    commits: list
    # All rows of results.tsv; the run's as (iteration, commit, row), the start's is 0.
    rows: list
    mine: list
    # Lines for the reader on what is no difference.
    notes: list

    @property
    def kept(self):
        """The bars of the branch, as in mine, from base to tip."""
        bars = [
            (i, commit, row)
            for i, commit, row in self.mine
            if commit in self.line
            and (row["status"] == "keep" or (commit == self.base and row["val_auc"]))
        ]
        return sorted(bars, key=lambda bar: self.line.index(bar[1]))

    @property
    def scored(self):
        """The commits with a val_auc, each once, as they were scored; first the base.

        That one is there even if it has no row.
        """
        commits = [commit for _, commit, row in self.mine if row["val_auc"]]
        return list(dict.fromkeys([self.base, *commits]))


# ------------------------------------------------------------------- the run
def find_run(branch):
    """The run of this branch or tag, or of the branch here; Refused if it is none."""
    here = git("branch", "--show-current") or "a detached HEAD"
    runs = git("for-each-ref", "--format=%(refname:lstrip=2)", f"refs/heads/{PREFIX}")
    wanted = {branch or here, f"{PREFIX}{branch}"} & set(runs.split())
    if not wanted:
        cure = ", ".join(runs.split()) or "there is none yet"
        raise Refused(f"{one_line(branch or here)} is not a run; name one: {cure}")
    branch = max(wanted)
    commits, tip = run_commits(branch), git("rev-parse", f"refs/heads/{branch}")
    base = commits[-1]
    line = git("rev-list", "--first-parent", "--reverse", tip, f"^{base}^@").split()
    with contextlib.redirect_stderr(io.StringIO()) as said:
        rows = read_rows(results_of(branch))
    notes = [*said.getvalue().splitlines(), *lost_rows(rows, commits)]
    mine = numbered(rows, commits, base)
    return Run(branch, base, tip, line, commits, rows, mine, notes)


def results_of(branch):
    """The results.tsv of the worktree that is on the branch, or else the one here."""
    results = [
        folder / RESULTS.name for folder, b in work_trees().items() if b == branch
    ]
    return results[0] if results and results[0].exists() else RESULTS


def numbered(rows, commits, base):
    """The run's rows as (iteration, commit, row), from 1; the start's is first, 0."""
    mine = [(c, r) for r in rows for c in commits if c.startswith(r["commit"])]
    mine.sort(key=lambda pair: pair[0] != base)
    first = 0 if base in dict(mine) else 1
    return [(first + i, commit, row) for i, (commit, row) in enumerate(mine)]


def lost_rows(rows, commits):
    """A note on the rows whose commits git has pruned, [] if there are none."""
    mine, lost = rows_of_run(commits, rows), 0
    for row in rows:
        if row not in mine:
            try:
                git("rev-parse", "--quiet", "--verify", f"{row['commit']}^{{commit}}")
            except Refused:
                lost += 1
    return [f"{lost} of {len(rows)} rows passed over: git has no such commits"][:lost]


# ------------------------------------------------------------- what happened
def what_happened(run):
    """The run in numbers, and its kept commits in order."""
    later = [row["status"] for _, commit, row in run.mine if commit != run.base]
    keeps = [told(run, at) for at in range(len(run.kept))]
    return {
        "run": run.branch,
        "iterations": len(later),
        "kept": later.count("keep"),
        "discarded": later.count("discard"),
        "crashed": later.count("crash"),
        "scored": sum(bool(row["val_auc"]) for *_, row in run.mine),
        "hours": hours(run),
        "keeps": keeps,
    }


def told(run, at):
    """The kept commit number `at` of run.kept, with what it changed from the last."""
    iteration, commit, row = run.kept[at]
    keep = {"iteration": iteration, "commit": commit}
    keep |= {"val_auc": float(row["val_auc"]), "hypothesis": row["description"]}
    if at == 0:
        return keep | {"delta": None, "added": None, "removed": None}
    _, before, old = run.kept[at - 1]
    counts = git("diff-tree", "-r", "--numstat", before, commit, "--", "train.py")
    # Of a file that an attribute calls binary git counts no lines.
    added, removed = (
        int(n) if n.isdigit() else None for n in counts.split()[:2] or "00"
    )
    delta = round(float(row["val_auc"]) - float(old["val_auc"]), 6)
    return keep | {"delta": delta, "added": added, "removed": removed}


def hours(run):
    """Hours from the run's first commit to its last, whatever became of them."""
    made = [commit for commit in run.commits if commit != run.base]
    if not made:
        return 0.0
    lines = git("rev-list", "--no-walk", "--timestamp", *made).splitlines()
    seconds = [int(line.split()[0]) for line in lines]
    return round((max(seconds) - min(seconds)) / 3600, 2)


# ------------------------------------------------------------- is it true
def differences(run, min_gain):
    """A line on each thing in the record that git or the rows contradict."""
    return [*frozen_changes(run), *out_of_place(run), *wrong_verdicts(run, min_gain)]


def frozen_changes(run):
    """Frozen files that are not as at the base: at the tip, and in the work tree."""
    names = git("diff-tree", "-r", "--name-only", run.base, run.tip, "--", *FROZEN)
    found = [
        f"{name}: frozen, but changed in {run.branch}" for name in names.splitlines()
    ]
    here = changed_files(run.base, FROZEN)
    if git("branch", "--show-current") == run.branch:
        return found + [f"{name}: frozen, but changed on disk" for name in here]
    if here:
        run.notes.append(f"this harness is not quite the run's: {' '.join(here)}")
    return found


def out_of_place(run):
    """Commits with two rows, keeps that left the branch, others that stayed on it."""
    rows = {commit: row for _, commit, row in run.mine}
    for commit, row in rows.items():
        if (n := sum(c == commit for _, c, _ in run.mine)) > 1:
            yield f"{commit:.7}: has {n} rows"
        if row["status"] == "keep" and commit not in run.line:
            yield f"{commit:.7}: a keep in its row, but not in {run.branch}"
    for commit in run.line[1:]:
        status = f"a {rows[commit]['status']}" if commit in rows else "without a row"
        if commit == run.tip and status != "a keep":
            run.notes.append(f"interrupted: the last commit {commit:.7} is {status}")
        elif commit not in rows:
            run.notes.append(f"{commit:.7}: never scored by itself")
        elif status != "a keep":
            yield f"{commit:.7}: {status}, but still in {run.branch}"


def wrong_verdicts(run, min_gain):
    """Keeps not above their bar, the last keep before them, and discards above it."""
    for _, commit, row in run.mine:
        if commit == run.base or row["status"] == "crash":
            continue
        bar = bar_of(commit, run.base, run.rows)
        above = is_above(row, bar, min_gain)
        if above != (row["status"] == "keep"):
            place = "above" if above else "not above"
            height = bar["val_auc"] if bar else "(none)"
            values = f"{row['val_auc']}, {place} its bar {height}"
            yield f"{commit:.7}: a {row['status']} with {values}"


# ------------------------------------------------------- scored once more
def score_again(run, commit):
    """(block, lines on what a clean checkout measures otherwise than the row says)."""
    block, row = evaluate(run, commit), row_of(commit, run.rows)
    if row is None:
        run.notes.append(f"{commit:.7} has no row: it was never scored")
        return block, []
    if block["status"] != "ok":
        return block, [f"{commit:.7}: scored again, it is {block['status']}"]
    return block, [
        f"{commit:.7}: {key} is {row[key] or 'empty'} in its row, "
        f"{block[key]} when scored again"
        for key in ("val_auc", "test_auc")
        if not row[key] or float(row[key]) != float(block[key])
    ]


def evaluate(run, commit):
    """The block of the commit's train.py, under the base's harness and our data.

    In a worktree that stands on the commit, so its record is kept with the others.
    """
    with throw_away_tree(commit) as clean:
        unpack(run.base, clean)
        (clean / "train.py").unlink(missing_ok=True)
        # Without a train.py: a crash, and so told.
        with contextlib.suppress(Refused):
            unpack(commit, clean, "train.py")
        # The user's own are not in git.
        for data in (HERE / "data").glob("*.csv"):
            if not (clean / "data" / data.name).exists():
                shutil.copy(data, clean / "data")
        command = [sys.executable, "prepare.py", "evaluate"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=clean, **pipes) as process:
            try:
                said = process.communicate()[0].decode(errors="replace")
            finally:
                # After a Ctrl-C it clears up before it ends.
                process.terminate()
    lines = said.splitlines()
    block = {"wall_time_s": "", "status": f"ended by {process.returncode}"}
    return block | dict(line.split(": ", 1) for line in lines if ": " in line)


def unpack(commit, folder, *paths):
    """Write the commit's files (those below paths) into folder, as a checkout does."""
    archive = folder / "commit.zip"
    git("archive", "--format=zip", f"--output={archive}", commit, "--", *paths)
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)
    archive.unlink()


def train_of(commit):
    """train.py of the commit as bytes, b"" if it has none."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(Refused):
            unpack(commit, Path(folder), "train.py")
        train = Path(folder, "train.py")
        return train.read_bytes() if train.exists() else b""
