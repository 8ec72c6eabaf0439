"""The morning: which commit of a run to take, and how sure that is.

    uv run prepare.py progress [autoresearch/<tag>]
    uv run prepare.py review [autoresearch/<tag> ...] [--json]

A review reads the run's log, its records and git, and changes none of them. It fits
only the start and the chosen commit again. All that it writes is progress.png.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from harness import noise
from harness.errors import Crash, one_line, say
from harness.git import HERE, git
from harness.ratchet import Run, gain_over
from review import choice, text
from review.findings import Gain, Keep, Luck, OnTest, Review
from review.record import (
    Scored,
    check_reviewable,
    kept_rows,
    problems,
    read_records,
    run_called,
    val_auc_of,
)

PICTURE = HERE / "progress.png"
# The time in which a fork server starts, on a slow machine.
SERVER_S = 2.0  # seconds


@dataclass
class Harness:
    """What a review needs of prepare.py."""

    # The features, a frame of n_rows, and the labels (n_rows,).
    load_data: Callable
    # Arrays as in Record, of a train.py (bytes), X and y: each fold fitted alone.
    score_alone: Callable
    # The SHA-256 of the table.
    table: Callable[[], str]
    min_gain: float
    # Folds of an evaluation, and candidates that it runs side by side.
    n_folds: int
    n_at_once: int


# -------------------------------------------------------------------- the commands
def progress(name: str, min_gain: float) -> bool:
    """Print and draw where a run is, without a fit or a label; True."""
    run = run_called(name)
    review, scored = summary_of(run), read_records(run)
    review.problems = problems(run, scored, min_gain)
    if scored:
        review.luck = luck_of(review, scored, min_gain)
    print("\n".join([text.counts(review), *text.progress_lines(review, run)]))
    print(draw(review, run))
    return True


def review(names: tuple[str, ...], as_json: bool, harness: Harness) -> bool:
    """Print the review of each run; True if all of them can be trusted.

    KeyboardInterrupt once what is known by then is printed.
    """
    runs, reviews = [run_called(name) for name in names or ("",)], []
    for run in runs:
        reviews.append(review_one(run, as_json, harness))
        if reviews[-1].was_interrupted:
            break
    if as_json:
        found = [as_dict(review) for review in reviews]
        print(json.dumps(found if len(runs) > 1 else found[0], indent=2))
    elif len(reviews) > 1:
        print("\n".join(text.table(reviews)))
    if len(runs) == 1:
        drawn = draw(reviews[0], runs[0])
        print(drawn, file=sys.stderr if as_json else sys.stdout)
    if reviews[-1].was_interrupted:
        raise KeyboardInterrupt
    return not any(text.distrust(review) for review in reviews)


def review_one(run: Run, as_json: bool, harness: Harness) -> Review:
    """The review of a run, which is printed unless it is to be JSON."""
    review = summary_of(run)
    if not as_json:
        print(text.counts(review), flush=True)
    try:
        fill_in(review, run, harness)
    except KeyboardInterrupt:
        review.was_interrupted = True
    review.verdict = text.verdict(review)
    if not as_json:
        print("\n".join(text.report(review)), end="\n\n", flush=True)
    return review


def as_dict(review: Review) -> dict:
    """The review as --json prints it."""
    return asdict(review) | {"record_is_true": review.record_is_true}


def draw(review: Review, run: Run) -> str:
    """Draw PICTURE; the line that says so, or why there is none."""
    if not review.keeps:
        return f"no {PICTURE.name}: no commit has a score"
    try:
        # matplotlib is no dependency of a night.
        from review.picture import draw
    except ImportError as error:
        return f"no {PICTURE.name}: {error}: uv sync"
    try:
        draw(PICTURE, review, run)
    except OSError as error:
        return f"no {PICTURE.name}: {one_line(str(error))}"
    return f"picture: {PICTURE.name}"


# ---------------------------------------------------------------- what the log says
def summary_of(run: Run) -> Review:
    """What the log alone says of a run."""
    # The last try of an iteration decides what the iteration counts as.
    ends = {number: row.status for number, row in run.numbered if number > 0}
    statuses = [*ends.values()]
    counts = [statuses.count(status) for status in ("keep", "discard", "crash")]
    keeps, bar = [], None
    for i, row in kept_rows(run):
        delta = gain_over(bar, row.val_auc) if bar else None
        keep = i, row.commit, float(row.val_auc or "nan"), delta, row.description
        keeps.append(Keep(*keep))
        bar = row
    return Review(run.branch, minutes_of(run), len(statuses), *counts, keeps)


def minutes_of(run: Run) -> float:
    """From the start of the first evaluation to the last row."""
    if not run.rows:
        return 0.0
    first, last = (datetime.fromisoformat(run.rows[i].logged_at) for i in (0, -1))
    seconds = (last - first).total_seconds() + float(run.rows[0].wall_time_s or 0)
    return round(seconds / 60, 1)


# ------------------------------------------------------------- what the records say
def fill_in(review: Review, run: Run, harness: Harness) -> None:
    """Find all that a review finds, in the order in which it is known."""
    scored = read_records(run)
    review.problems = problems(run, scored, harness.min_gain)
    if review.problems or not review.keeps:
        return
    check_reviewable(run, scored, harness.table())
    review.n_missing = scored.n_missing
    review.chosen = chosen_of(review, scored)
    review.luck = luck_of(review, scored, harness.min_gain)
    X, y = harness.load_data()
    gains_of(review, scored, y, harness.min_gain)
    try:
        alone = score_alone(review, run, harness, X, y)
        review.needs_others = needs_others(review, scored, alone, harness, X, y)
    except Crash as crash:
        review.crash = str(crash)
    else:
        put_in(scored, alone)
        gains_of(review, scored, y, harness.min_gain)


def chosen_of(review: Review, scored: Scored) -> Keep:
    """The keep that the choice takes, from the recorded scores."""
    errors = noise.standard_errors(scored.fold_aucs)
    values = scored.fold_aucs.mean(axis=(1, 2))
    number = choice.choose(values, kept_numbers(review, scored), errors)
    return review.keeps[kept_numbers(review, scored).index(number)]


def kept_numbers(review: Review, scored: Scored) -> list[int]:
    """The places of the keeps among the commits with a record."""
    return [scored.commits.index(keep.commit) for keep in review.keeps]


def luck_of(review: Review, scored: Scored, min_gain: float) -> Luck | None:
    """How far luck alone climbs; None without an idea that was scored."""
    n_ideas = len(scored.commits) + scored.n_missing - 1
    if len(scored.commits) < 2:
        return None
    errors = noise.standard_errors(scored.fold_aucs)
    mean, band = noise.luck(errors, n_ideas, min_gain)
    climb = review.keeps[-1].val_auc - review.keeps[0].val_auc
    ends = float(mean[-1]), float(band[-1]), [float(most) for most in band]
    return Luck(n_ideas, *ends, round(climb, 6))


def gains_of(review: Review, scored: Scored, y, min_gain: float) -> None:
    """Fill in the gains on rows that did not choose, and on the test part."""
    if len(review.keeps) < 2:
        return
    errors, kept = noise.standard_errors(scored.fold_aucs), kept_numbers(review, scored)
    rows = y, scored.ranks, scored.folds
    found = choice.corrected_gains(*rows, kept, errors, min_gain)
    review.gain = Gain(**found["choice"])
    for keep, gain in zip(review.keeps, found["keeps"], strict=True):
        keep.gain = Gain(**gain)
    if review.chosen is review.keeps[0]:
        return
    two = [kept[0], scored.commits.index(review.chosen.commit)]
    test = scored.folds[0] < 0
    aucs, on_test = choice.gain_on_test(y, scored.ranks[two, 0], test)
    on_all_rows = choice.gain_on_all_rows(found["choice"], on_test, test)
    review.on_all_rows = Gain(**on_all_rows)
    review.test = OnTest(int(test.sum()), *aucs, Gain(**on_test))
    review.contradicted = choice.contradict(found["choice"], on_test)


# ------------------------------------------------------------------ each fold alone
def score_alone(review: Review, run: Run, harness: Harness, X, y) -> dict[str, dict]:
    """{commit: arrays} of the start and the chosen commit, each fold fitted alone."""
    keeps = [k for k in review.keeps if k is review.chosen or k is review.keeps[0]]
    rows = [run.row_of(keep.commit) for keep in keeps]
    # An evaluation has so many folds side by side.
    seconds = [float(row.wall_time_s) * harness.n_at_once for row in rows]
    at_most = sum(seconds) + len(rows) * harness.n_folds * SERVER_S
    names = " and ".join(f"{keep.commit:.7}" for keep in keeps)
    say(f"scoring {names} again, at most about {at_most:.0f} s\n")
    alone = {}
    for keep in keeps:
        say(f"{keep.commit:.7}, each fold alone\n")
        arrays = harness.score_alone(source_of(keep), X, y)
        alone[keep.commit] = arrays
        keep.alone = float(val_auc_of(arrays["fold_aucs"]))
    return alone


def source_of(keep: Keep) -> bytes:
    """train.py of a commit."""
    return git("show", f"{keep.commit}:train.py").encode() + b"\n"


def needs_others(
    review: Review, scored: Scored, alone: dict[str, dict], harness: Harness, X, y
) -> bool:
    """Whether a score falls further, alone, than chance lets an honest model fall.

    The fall is compared with the noise of the gain, between the start and the chosen
    commit alone: no made-up score is part of it. (Of the start as the chosen one it is
    that between the record and alone.) A score that falls too far for that is measured
    twice more, for there are models that each fit makes quite another one.
    """
    import numpy as np

    ranks = [arrays["ranks"] for arrays in alone.values()]
    if len(ranks) == 1:
        ranks.append(scored.ranks[scored.commits.index(*alone)])
    error = noise.error_of_gain(y, scored.folds, *ranks)
    for keep in (keep for keep in review.keeps if keep.alone is not None):
        fall = keep.val_auc - keep.alone
        if fall > choice.FALL * error:
            say(f"{keep.commit:.7} falls by {fall:.4f}: twice more, is that chance?\n")
            scores = [alone[keep.commit]["fold_aucs"]]
            for _ in range(2):
                again = harness.score_alone(source_of(keep), X, y)
                scores.append(again["fold_aucs"])
            chance = choice.noise_of_fits(np.array(scores))
            if fall > choice.FALL * (error**2 + chance**2) ** 0.5:
                return True
    return False


def put_in(scored: Scored, alone: dict[str, dict]) -> None:
    """Put what was measured alone in the place of what was recorded."""
    held = scored.folds >= 0
    for commit, arrays in alone.items():
        place = scored.commits.index(commit)
        scored.fold_aucs[place] = arrays["fold_aucs"]
        # Of the test part, whose labels no candidate has, the record is the proof.
        scored.ranks[place][held] = arrays["ranks"][held]
