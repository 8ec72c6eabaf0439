"""What is recorded of a run: the log, git and the records, and whether they agree.

Nothing here fits a model, and nothing is changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from harness import records
from harness.errors import Refused, one_line
from harness.git import changed_files, git, is_ancestor
from harness.ratchet import (
    FROZEN,
    PREFIX,
    Row,
    Run,
    branch_tip,
    current_branch,
    read_run,
    status_of,
)

# What a score depends on, beside train.py and the libraries that uv.lock pins.
SCORING = ("prepare.py", "uv.lock", "data", ".claude/harness")


def run_called(name: str) -> Run:
    """The run of this branch or tag, or of HEAD if it is ""; Refused if there is none.

    Unlike find_run it takes a run that git contradicts: problems() will say so.
    """
    listed = git("for-each-ref", "--format=%(refname:lstrip=2)", f"refs/heads/{PREFIX}")
    branches = listed.split()
    for branch in (name, f"{PREFIX}{name}") if name else (current_branch(),):
        if branch in branches:
            return read_run(branch)
    cure = f"name one: {', '.join(branches)}" if branches else "there is none yet"
    asked = one_line(name or git("branch", "--show-current") or "a detached HEAD")
    raise Refused(f"{asked} is not a run; {cure}")


def kept_rows(run: Run) -> list[tuple[int, Row]]:
    """(iteration, row) of each keep; the first is the start, the first with a score."""
    return [(number, row) for number, row in run.numbered if row.status == "keep"]


# ---------------------------------------------------------------------- records
@dataclass
class Scored:
    """The scored commits of a run that have a record, in order, and what it holds."""

    commits: list[str]
    # How many more were scored, but have no record.
    n_missing: int
    # As in Record, of all commits: (n_commits, n_repeats, n_splits), and (n_commits,
    # n_repeats, n_rows). The folds are the same for all: (n_repeats, n_rows).
    fold_aucs: "np.ndarray"  # noqa: F821
    ranks: "np.ndarray"  # noqa: F821
    folds: "np.ndarray"  # noqa: F821


def read_records(run: Run) -> Scored | None:
    """The records of a run; None without one of the start.

    A record on other folds than the start's can't be compared, so it counts as missing.
    """
    import numpy as np

    scored = [row.commit for row in run.rows if row.val_auc]
    found = {commit: records.read(commit) for commit in scored}
    found = {c: r for c, r in found.items() if r and r.folds is not None}
    if not scored or scored[0] not in found:
        return None
    folds = found[scored[0]].folds
    found = {c: r for c, r in found.items() if np.array_equal(r.folds, folds)}
    fold_aucs = np.array([record.fold_aucs for record in found.values()])
    ranks = np.array([record.ranks for record in found.values()])
    return Scored([*found], len(scored) - len(found), fold_aucs, ranks, folds)


# -------------------------------------------------------------------- is it true
def problems(run: Run, scored: Scored | None, min_gain: float) -> list[str]:
    """A line on each thing in which git, the log and the records contradict another."""
    if not run.rows:
        return []
    found = [*changed_frozen_files(run), *lost_keeps(run)]
    return [*found, *wrong_verdicts(run, min_gain), *wrong_scores(run, scored)]


def changed_frozen_files(run: Run) -> Iterator[str]:
    """Frozen files that are not as at the base: on the branch, or on disk."""
    span = run.base, branch_tip(run.branch)
    names = git("diff", "--name-only", "--relative", *span, "--", *FROZEN).splitlines()
    yield from (f"{name} is frozen, but changed in {run.branch}" for name in names)
    if current_branch() == run.branch:
        on_disk = sorted(set(changed_files(run.base, *FROZEN)) - set(names))
        yield from (f"{name} is frozen, but changed on disk" for name in on_disk)


def lost_keeps(run: Run) -> Iterator[str]:
    """Keeps that are not on the branch."""
    tip = branch_tip(run.branch)
    for _, row in kept_rows(run):
        if not is_ancestor(row.commit, tip):
            yield f"{row.commit:.7} was kept, but is not in {run.branch}"


def wrong_verdicts(run: Run, min_gain: float) -> Iterator[str]:
    """Rows whose status does not follow from their val_auc and the bar before them."""
    bar = None
    for row in run.rows:
        status = status_of(bar, row.val_auc, min_gain)
        if row.status != status:
            value = f"val_auc {row.val_auc or 'empty'}"
            against = f", the bar {bar.val_auc}" if bar else ""
            words = f"{row.commit:.7} is logged as {row.status}"
            yield f"{words}, which should be {status}: {value}{against}"
        bar = row if row.status == "keep" else bar


def wrong_scores(run: Run, scored: Scored | None) -> Iterator[str]:
    """Rows whose val_auc is not the mean of the fold AUCs in the record."""
    measured = zip(scored.commits, scored.fold_aucs, strict=True) if scored else ()
    for commit, aucs in measured:
        value, logged = val_auc_of(aucs), run.row_of(commit).val_auc
        if value != logged:
            yield f"{commit:.7} has val_auc {logged}, but {value} in its record"


def val_auc_of(fold_aucs) -> str:
    """val_auc as a block has it; fold_aucs: (n_repeats, n_splits)."""
    # Summed as prepare.score does, for the last digit.
    return f"{sum(fold_aucs.ravel()) / fold_aucs.size:.6f}"


def check_reviewable(run: Run, scored: Scored | None, table: str) -> None:
    """Refused if what a review needs is not here: records of the keeps, the harness.

    table: the SHA-256 of the table that is here.
    """
    commits = scored.commits if scored else ()
    lost = [row.commit for _, row in kept_rows(run) if row.commit not in commits]
    if lost:
        again = f"git checkout {lost[0]:.7} && uv run prepare.py evaluate"
        back = f"git checkout {run.branch}"
        raise Refused(f"{lost[0]:.7} was kept, but has no record: {again} && {back}")
    if names := changed_files(run.base, *SCORING):
        words = f"{' '.join(names)} {'differ' if names[1:] else 'differs'}"
        cure = f"git stash && git checkout {run.branch}"
        raise Refused(f"{words} from the run's: {cure}")
    if table != run.table:
        raise Refused(f"the table is not the one of {run.branch}: put that one back")
