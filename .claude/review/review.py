"""The review of a run: what happened, is the record true, which commit to take.

    uv run prepare.py progress [autoresearch/<tag>]
    uv run prepare.py review [autoresearch/<tag> ...] [--json]

It says things as it knows them, and ends within REVIEW_S. HEAD, index and work tree
stay as they are; progress.png is drawn, missing records are made, and git's config
counts how often reviews of the run have looked at the test part.
"""

import json
import time
from dataclasses import dataclass, field
from functools import cached_property

from harness import records
from harness.judge import Crash, one_line, say
from harness.ratchet import HERE, number_of, number_set, row_of, set_config
from review import choice, gain, text
from review.gain import FOLDS, REPEATS, Fits
from review.leak import N_RUNS, leak
from review.record import (
    Run,
    differences,
    evaluate,
    find_run,
    score_again,
    train_of,
    what_happened,
)

# ---------------------------------------------------------------- constants
# From the start of a review to its end; what does not fit in is said. Of it, a part at
# most goes to commits that have no record.
REVIEW_S, RECORDS_S = 15 * 60, 5 * 60  # seconds of wall clock
# Fits of a model: the fresh folds and the test part.
N_JOBS = REPEATS * FOLDS + 1
PICTURE = HERE / "progress.png"


@dataclass
class Look:
    """A run, and what is found of it: the object that --json prints."""

    run: Run
    min_gain: float
    found: dict
    # With --json nothing is said before the end; of several runs, whose it is.
    quiet: bool
    is_one_of_several: bool = False
    # Of the scored commits, by hash: those that can be compared with the start's.
    records: dict = field(default_factory=dict)
    # What is fitted, by name: {start, chosen, last}, each commit once.
    models: dict = field(default_factory=dict)
    fits: dict = field(default_factory=dict)

    def tell(self, *blocks):
        """Print blocks of lines on this run."""
        whose = f"{self.run.branch}: " * self.is_one_of_several
        for first, *rest in filter(None, blocks):
            self.tell_of_all([whose + first.removeprefix(whose), *rest])

    def tell_of_all(self, *blocks):
        """Print blocks of lines, a free line after each, at once."""
        for lines in filter(None, blocks):
            if not self.quiet:
                print("\n".join(lines), end="\n\n", flush=True)

    def keep(self, commit):
        """What is found of a kept commit; of any other, a dict of no use."""
        keeps = self.found["keeps"]
        return next((keep for keep in keeps if keep["commit"] == commit), {})


@dataclass
class Bench:
    """What it takes to fit: fork servers by commit, the data, and time."""

    servers: dict
    X: object
    # Labels (n_rows,); the pairs (fit rows, held-out rows) of a score; row numbers.
    y: object
    folds: list
    train: object
    test: object
    # Fits of one score, and what they may take.
    n_jobs: int
    budget_s: float  # seconds
    # When the review ends, as time.monotonic has it.
    deadline: float

    @cached_property
    def fresh(self):
        """The pairs of fresh_folds(), the same for all models."""
        return gain.fresh_folds(self.train, self.y)


@dataclass
class Step:
    """A part of the review that takes n_fits fits of the model of this name."""

    words: str
    # Called with a Look, a Bench and the name.
    function: object
    name: str
    n_fits: int


# ------------------------------------------------------------- without a fit
def look_back(branch, quiet, is_one_of_several=False):
    """A Look at what git and results.tsv say of a run: what happened, is it true."""
    run = find_run(branch)
    min_gain = number_set(run.base, "MIN_GAIN")
    found = what_happened(run) | {"chosen": None, "luck": None, "gain": None}
    found |= {"start": run.base, "records": 0, "scored_again": []}
    found |= {"leak": {}, "fresh": {}, "test": {}}
    found |= {"differences": differences(run, min_gain), "notes": run.notes}
    look = Look(run, min_gain, found, quiet, is_one_of_several)
    look.tell(text.run_lines(found), text.trust_lines(found))
    return look


def progress(branch):
    """Print where a run is, and draw it, from its log and records alone; True."""
    look = look_back(branch, quiet=False)
    read_records(look)
    reckon_luck(look)
    tries = [(i, row) for i, _, row in look.run.mine]
    look.tell(text.tries_lines(tries), text.luck_lines(look.found))
    look.tell(text.note_lines(look.found))
    draw_picture(look)
    return True


def read_records(look):
    """Fill in the records there are, if their folds are those of the start's."""
    import numpy as np

    found = {commit: records.read(commit) for commit in look.run.scored}
    first = found[look.run.base]
    look.records = {
        commit: record
        for commit, record in found.items()
        if first and record and np.array_equal(record["folds"], first["folds"])
    }


def make_records(look):
    """Score again the commits without a record, the start first, for RECORDS_S.

    A base that is older than the records has a harness that keeps none.
    """
    read_records(look)
    missing = [c for c in look.run.scored if c not in look.records]
    begin = time.monotonic()
    for done, commit in enumerate(missing):
        spent = time.monotonic() - begin
        if spent > RECORDS_S or (done and not records.read(look.run.base)):
            break
        left = spent / max(done, 1) * (len(missing) - done)
        more = f", about {left:.0f} s more" * (done > 0)
        say(f"scoring {commit:.7} again, it has no record{more}\n")
        evaluate(look.run, commit)
    if missing:
        read_records(look)


def choose(look):
    """Fill in what the records say without labels: the chosen commit, and luck."""
    if not (keeps := look.found["keeps"]):
        return
    make_records(look)
    look.found["chosen"] = keeps[-1]["commit"]
    if look.records:
        aucs = fold_aucs(look)
        values, errors = aucs.mean(axis=(1, 2)), choice.standard_errors(aucs)
        chosen = choice.choose(values, kept_numbers(look), errors)
        look.found["chosen"] = list(look.records)[chosen]
    reckon_luck(look)
    names = {"start": look.run.base, "chosen": look.found["chosen"]}
    names |= {"last": keeps[-1]["commit"]}
    # Each commit once, by its first name.
    first = {commit: name for name, commit in reversed(names.items())}
    look.models = {name: c for name, c in names.items() if first[c] == name}
    look.found["records"] = len(look.records)
    look.tell(text.choice_lines(look.found), text.luck_lines(look.found))


def fold_aucs(look):
    """Of the commits with a record: (n_commits, n_repeats, n_splits)."""
    import numpy as np

    return np.array([record["fold_aucs"] for record in look.records.values()])


def kept_numbers(look):
    """The places of start and keeps among the commits with a record."""
    keeps = [look.run.base, *(keep["commit"] for keep in look.found["keeps"])]
    recorded = list(look.records)
    return [recorded.index(c) for c in dict.fromkeys(keeps) if c in look.records]


def reckon_luck(look):
    """Fill in how far as many ideas as were scored climb if all are worth the same."""
    keeps, n_ideas = look.found["keeps"], look.found["scored"] - 1
    if not keeps or len(look.records) < 2:
        return
    errors = choice.standard_errors(fold_aucs(look))
    mean, most = choice.luck(errors, n_ideas, look.min_gain)
    look.found["luck"] = {
        "ideas": n_ideas,
        "mean": float(mean[-1]),
        "most": float(most[-1]),
        "climb": round(keeps[-1]["val_auc"] - keeps[0]["val_auc"], 6),
        "band": [float(value) for value in most],
    }


# ------------------------------------------------------- with labels, without a fit
def correct(look, y, train):
    """Fill in the gains on rows that did not choose.

    y: labels (n_rows,); train: numbers of the rows that the records have to be of.
    """
    import numpy as np

    kept, of_all = kept_numbers(look), list(look.records.values())
    if len(kept) < 2:
        return
    folds, ranks = of_all[0]["folds"], np.array([record["ranks"] for record in of_all])
    if not np.array_equal(np.flatnonzero(folds[0] >= 0), np.sort(train)):
        look.run.notes.append("the records are of another table: no corrected gain")
        return
    errors = choice.standard_errors(fold_aucs(look))
    given = ranks, folds, kept, errors, look.min_gain
    gains = choice.corrected_gains(y, *given)
    look.found["gain"] = gains["choice"] | {"corrected": True}
    for number, numbers in zip(kept, gains["keeps"], strict=True):
        short = {key: numbers[key] for key in ("mean", "se")}
        look.keep(list(look.records)[number])["corrected"] = short
    look.tell(text.corrected_lines(look.found))


# -------------------------------------------------------------- fits, within a time
def sources(looks):
    """{commit: train.py as bytes} of what is fitted: of several runs, the chosen."""
    commits = looks[0].models.values()
    if len(looks) > 1:
        commits = filter(None, [look.found["chosen"] for look in looks])
    return {commit: train_of(commit) for commit in commits}


def measure(looks, bench):
    """Fill in what the labels say with the records, then what takes fits."""
    for look in looks:
        correct(look, bench.y, bench.train)
    if len(looks) > 1:
        compare(looks, bench)
        return
    (look,) = looks
    try:
        take(plan(look, bench), look, bench)
    finally:
        sum_up(look, bench)


def plan(look, bench):
    """The steps of a review, the most important first."""
    look.fits = {name: Fits() for name in look.models}
    names, n_leak, steps = list(look.models), N_RUNS * len(bench.folds), []
    # The last keep, if it is not the chosen one, is of less interest.
    for some in (names[:2], names[2:]):
        steps += [Step("score", score, name, bench.n_jobs) for name in some]
        steps += [Step("leak test", look_for_leak, name, n_leak) for name in some[-1:]]
        steps += [Step("fresh folds", fit, name, N_JOBS) for name in some]
    return steps


def take(steps, look, bench):
    """Take the steps while there is time, and note those that are left undone."""
    seconds, undone = [s.n_fits * fit_s(look, bench, s.name) for s in steps], []
    for at, step in enumerate(steps):
        what = f"{step.words} of {step.name}"
        # Fresh folds are of use in part, too.
        needed = 0 if step.function is fit else seconds[at]
        if bench.deadline - time.monotonic() < needed:
            undone.append(what)
            continue
        try:
            say(f"{what}; at most about {sum(seconds[at:]):.0f} s to the end\n")
            step.function(look, bench, step.name)
        except KeyboardInterrupt:
            look.run.notes.append(f"interrupted in the {what}")
            raise
    if undone:
        look.run.notes.append(f"no time left for: {', '.join(undone)}")


def fit_s(look, bench, name):
    """Seconds that a fit takes, by the row of the commit; 0 of one without a score."""
    row = row_of(look.models[name], look.run.rows)
    return float(row["wall_time_s"]) / bench.n_jobs if row and row["val_auc"] else 0.0


def score(look, bench, name):
    """Score a model again in a clean checkout; what is otherwise is a difference."""
    block, found = score_again(look.run, look.models[name])
    look.found["differences"] += found
    look.found["scored_again"].append(name)
    if block["wall_time_s"]:
        look.fits[name].duration = float(block["wall_time_s"])


def look_for_leak(look, bench, name):
    """Fill in whether the scores of a model know their own labels."""
    commit, left = look.models[name], bench.deadline - time.monotonic()
    given = bench.servers[commit], bench.X, bench.y, bench.folds
    try:
        look.found["leak"][commit] = leak(*given, min(bench.budget_s, left))
    except Crash as crash:
        look.run.notes.append(f"no leak test of {name}: {crash}")
    if commit in text.leaks(look.found):
        look.tell(text.leak_lines(look.found))


def fit(look, bench, name):
    """Fit a model on the fresh folds; start and chosen for the test part, too."""
    tested = [] if name == "last" else [(bench.train, bench.test)]
    commit, fits = look.models[name], look.fits[name]
    look.run.notes += fit_pairs(bench, name, commit, bench.fresh + tested, fits)


def fit_pairs(bench, name, commit, pairs, fits):
    """Fill in the fits of a model; a note if it crashed, or had no time for all."""
    begin = bench.servers[commit], bench.X, bench.y
    try:
        gain.fit_all(name, *begin, pairs, bench.deadline, fits)
    except Crash as crash:
        if time.monotonic() < bench.deadline:
            fits.answers.clear()
            return [f"{name} can't be judged: {crash}"]
        return [f"{len(fits.ends)} of {len(pairs)} fits of {name} had time"]
    return []


def sum_up(look, bench):
    """Fill in what the fits so far say: on fresh folds, and on the test part."""
    pairs = bench.fresh
    look.found["fresh"] = gain.on_fresh_folds(bench.y, pairs, look.fits)
    for name, numbers in look.found["fresh"].items():
        numbers["commit"] = look.models[name]
        short = {key: numbers[key] for key in ("mean", "se")}
        look.keep(look.models[name])["fresh"] = short
    tested = {name: of for name, of in look.fits.items() if len(pairs) in of.answers}
    finals = {name: of.answers[len(pairs)] for name, of in tested.items()}
    look.found["test"] = gain.on_test(bench.y[bench.test], finals)
    for name, of in tested.items():
        look.found["test"][name] |= {"duration": of.duration, "fit_s": of.fit_s}
    if tested:
        key = f"branch.{look.run.branch}.reviews"
        set_config(key, str(looks_at_test(look) + 1))
    gain_of_chosen = look.found["fresh"].get("chosen", {}).get("gain")
    if gain_of_chosen and not look.found["gain"]:
        look.found["gain"] = gain.with_t_interval(gain_of_chosen) | {"corrected": False}


def looks_at_test(look):
    """How often reviews of the run have looked at the test part."""
    return number_of(look.run.branch, "reviews")


def compare(looks, bench):
    """Fill in how the chosen commits of several runs do on the same fresh folds."""
    pairs = bench.fresh
    chosen = {look.run.branch: look.found["chosen"] for look in looks}
    fits = {name: Fits() for name, commit in chosen.items() if commit}
    try:
        for look in looks:
            if (name := look.run.branch) in fits:
                say(f"fresh folds of {name}\n")
                given = bench, name, chosen[name], pairs, fits[name]
                look.run.notes += fit_pairs(*given)
    finally:
        fresh = gain.on_fresh_folds(bench.y, pairs, fits)
        for name, numbers in fresh.items():
            numbers["commit"] = chosen[name]
        for look in looks:
            look.found["fresh"] = fresh


# ------------------------------------------------------------------- the report
def report(looks, task):
    """Tell the rest of what is found, the commit to take last; True if all is true.

    task: cells of the AutoML benchmark's table: task, constraint, seed.
    """
    for look in looks:
        conclude(look, task)
    if len(looks) > 1:
        looks[0].tell_of_all(text.fresh_lines(looks[0].found["fresh"]))
        looks[0].tell_of_all(text.several_lines([look.found for look in looks]))
        found = {"runs": [look.found for look in looks]}
        found["fresh"] = looks[0].found["fresh"]
    else:
        (look,), found = looks, looks[0].found
        look.tell(text.fresh_lines(found["fresh"]), text.test_lines(found))
        look.tell(found["amlb"], text.verdict_lines(found))
        draw_picture(look)
    if looks[0].quiet:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return all(look.found["record_is_true"] for look in looks)


def conclude(look, task):
    """Fill in what follows from all that is found; tell whether the record is true."""
    found = look.found
    found["record_is_true"] = not found["differences"] and not text.leaks(found)
    found["test_looks"] = looks_at_test(look)
    found["amlb"] = text.amlb_lines(task, found["test"])
    found["verdict"] = text.verdict(found)
    look.tell(text.record_lines(found))


def draw_picture(look):
    """Draw PICTURE, and tell; a failure of whatever kind is a note: it decorates."""
    look.found["picture"] = None
    if not look.run.mine:
        return
    try:
        # What a matplotlibrc, a backend, a font or a folder in its place may raise is
        # not known, and none of it may take the report down.
        from review.picture import draw

        draw(PICTURE, look.found, [(i, row) for i, _, row in look.run.mine])
        look.found["picture"] = PICTURE.name
        look.tell([f"picture: {PICTURE.name}"])
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        look.run.notes.append(f"no {PICTURE.name}: {reason}")
        look.tell(text.note_lines(look.found)[-1:])
