"""The review in words: each function makes lines of what is found."""

from harness.errors import one_line
from harness.noise import words_on_luck
from harness.ratchet import IDEA_CHARACTERS, Run, difference
from review.findings import Gain, Keep, Review

# Tries that progress shows at most.
LAST = 5


# ------------------------------------------------------------------- what happened
def counts(review: Review) -> str:
    """The run in a line."""
    hours, minutes = divmod(round(review.minutes), 60)
    duration = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    n = review.iterations
    parts = (
        f"{review.kept} kept, {review.discarded} discarded, {review.crashed} crashed"
    )
    return f"{review.run}: {n} iteration{'s' * (n != 1)} in {duration}: {parts}"


def keep_lines(review: Review) -> list[str]:
    """A line for each keep; the chosen one has a star."""
    lines = []
    for keep in review.keeps:
        star = "*" * (keep is review.chosen)
        delta = "" if keep.delta is None else difference(keep.delta)
        values = f"{keep.commit:.7}  {keep.val_auc:.4f} {delta:7}"
        idea = one_line(keep.idea, IDEA_CHARACTERS)
        lines.append(f"{star:2}{keep.iteration:3} {values}  {idea}")
    return lines


def progress_lines(review: Review, run: Run) -> list[str]:
    """Where a run is: its keeps, the tries since the last of them, and luck."""
    last = review.keeps[-1].iteration if review.keeps else -1
    tries = [(number, row) for number, row in run.numbered if number > last]
    word = "try" if len(tries) == 1 else "tries"
    lines = [f"{len(tries)} {word} since the last keep:"] if tries else []
    for i, row in tries[-LAST:]:
        value = f"{float(row.val_auc):.4f}" if row.val_auc else "none"
        words = f"{row.commit:.7}  {value:6} {row.status:7}"
        lines.append(f"{i:5} {words}  {row.description}")
    record = record_lines(review) if review.problems else []
    return [*keep_lines(review), *lines, *luck_lines(review), *record]


# ----------------------------------------------------------------------- the report
def report(review: Review) -> list[str]:
    """The report after its first line; a contradiction leads it."""
    lines = []
    if review.contradicted:
        gains = f"{review.gain.mean:+.4f} on the folds, {review.test.gain.mean:+.4f}"
        lines = [f"THE TEST PART CONTRADICTS THE FOLDS: a gain of {gains} on the test"]
    lines += [*keep_lines(review), *gain_lines(review), *luck_lines(review)]
    lines += [*reconciliation(review), *record_lines(review), review.verdict]
    if review.verdict.startswith(("Take ", "No gain")) and not distrust(review):
        start, chosen = review.keeps[0].commit, review.chosen.commit
        diff, merge = (
            f"git diff {start:.7} {chosen:.7} train.py",
            f"git merge {chosen:.7}",
        )
        lines.append(f"  {diff:36}  (read it first: typed-in labels show only there)")
        lines.append(f"  {merge:36}  (on your main branch)")
    return lines


def gain_lines(review: Review) -> list[str]:
    """Which keep is chosen, and what it gains on which rows."""
    if not review.chosen or len(review.keeps) == 1:
        return []
    rule = "the earliest keep within one standard error of the best"
    start, chosen = review.keeps[0], review.chosen
    if chosen is start:
        return [f"The start is {rule}."]
    gains = [(f"{score(chosen) - score(start):+.4f}", "on the folds that chose it")]
    if review.gain:
        rows = "on rows that did not choose it: expect this"
        gains.append((with_interval(review.gain), rows))
    if test := review.test:
        rows = f"on {test.n_rows} test rows: {test.start:.4f}, now {test.chosen:.4f}"
        gains.append((with_interval(test.gain), rows))
    head = f"{named(chosen)} is {rule}. Its gain in AUC:"
    return [head, *(f"  {gain:33}  {rows}" for gain, rows in gains)]


def named(keep: Keep) -> str:
    """A keep with its iteration."""
    return f"{keep.commit:.7} (iter {keep.iteration})"


def score(keep: Keep) -> float:
    """val_auc with each fold alone, or that of the night as long as there is none."""
    return keep.val_auc if keep.alone is None else keep.alone


def with_interval(gain: Gain) -> str:
    """A gain with its 95 % interval."""
    low, high = gain.interval
    return f"{gain.mean:+.4f}, 95 % [{low:+.4f}, {high:+.4f}]"


def luck_lines(review: Review) -> list[str]:
    """How far ideas that change nothing would have climbed, beside this night."""
    if not (luck := review.luck):
        return []
    climb = f"this night {luck.climb:+.4f}"
    return [words_on_luck(luck.n_ideas, luck.mean, luck.most, climb)]


def reconciliation(review: Review) -> list[str]:
    """Why figures agree, where they seem to contradict each other.

    Luck draws other scores of ideas on these rows, an interval draws other rows.
    """
    if distrust(review) or not (review.luck and review.test):
        return []
    is_luck, is_shown = review.luck.climb <= review.luck.most, is_gain_shown(review)
    if is_shown != (review.gain.interval[0] > 0):
        gain = with_interval(review.on_all_rows)
        words = f"Counting the test rows too, the gain is {gain}:"
        return [f"  {words} the verdict goes by that."]
    if is_shown and is_luck:
        return [
            "  Luck can climb as far, but the chosen one gains on other rows as well."
        ]
    if is_gain_left(review) and not (is_shown or is_luck):
        words = (
            "This is more than luck on these rows; on others, such as other patients,"
        )
        return [f"  {words}", "  the gain may still be nothing."]
    return []


def is_gain_left(review: Review) -> bool:
    """Whether the chosen commit still gains on other rows, and in new fits."""
    return review.on_all_rows.mean > 0 and score(review.chosen) > score(review.keeps[0])


def is_gain_shown(review: Review) -> bool:
    """Whether the interval of the gain on all rows lies above 0."""
    return review.on_all_rows.interval[0] > 0


def record_lines(review: Review) -> list[str]:
    """Whether the record is true, and what each fold alone says of the scores."""
    lines = []
    if review.n_missing:
        n = f"{review.n_missing} scored commit{'s' * (review.n_missing != 1)}"
        lines.append(f"without a record, so left out: {n}")
    again = [keep for keep in review.keeps if keep.alone is not None]
    changed = [keep for keep in again if keep.alone != keep.val_auc]
    for keep in changed:
        values = (
            f"{keep.val_auc:.6f} in the night, {keep.alone:.6f} with each fold alone"
        )
        lines.append(f"not reproducible: {named(keep)} scored {values}")
    if review.problems:
        return ["record: not true", *(f"  ! {problem}" for problem in review.problems)]
    if review.crash:
        words = f"not true; scored again, each fold alone: {review.crash}"
    elif review.needs_others:
        words = "not true: a score needs other fits beside it"
    elif changed:
        words = "true; scored again, each fold alone: not alike, so gains are of that"
    else:
        alike = "scored again, each fold alone: alike" if again else "not scored again"
        words = f"true; {alike}"
    return [*lines, f"record: {words}"] if review.keeps else []


# ----------------------------------------------------------------------- the verdict
def verdict(review: Review) -> str:
    """The sentence that a review ends in: which commit to take, and how sure."""
    if reason := distrust(review):
        return f"Take nothing: {reason}"
    if not review.keeps:
        return "There is nothing to take: no commit has a score"
    if review.was_interrupted:
        return "No verdict: the review was interrupted"
    if review.chosen is review.keeps[0]:
        return "Keep the start: no idea was better by more than the noise"
    if not is_gain_left(review):
        return "Keep the start: the gain is gone on other rows, or in new fits"
    name = named(review.chosen)
    if not is_gain_shown(review):
        return f"No gain is shown: keep the start, or take {name} as a guess"
    return f"Take {name}: its gain is more than chance explains"


def distrust(review: Review) -> str:
    """Why no commit of the run is to be taken; "" without a reason."""
    reasons = {
        "the record is not true": review.problems,
        "a score of the night is not there with each fold alone": review.crash,
        "a score of the night needs other fits beside it": review.needs_others,
        "the gain on the folds is not there on the test part": review.contradicted,
    }
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def table(reviews: list[Review]) -> list[str]:
    """The chosen commits of several runs side by side."""
    width = max(len(review.run) for review in reviews)
    lines = [f"{'run':{width}}  chosen   gain on rows that did not choose it"]
    for review in reviews:
        chosen = review.chosen.commit if review.chosen else "none"
        gain = with_interval(review.gain) if review.gain else "none"
        lines.append(f"{review.run:{width}}  {chosen:7.7}  {gain}")
    return lines
