"""The review of a run: what happened, is the record true, is the gain real.

    uv run prepare.py review [autoresearch/<tag>] [--json]

HEAD, index and work tree stay as they are; progress.png is drawn, and git's config
counts how often a review of the run has looked at the test part.
"""

import csv
import io
import json
from datetime import UTC, datetime

from harness.judge import Crash
from harness.ratchet import HERE, git
from review import gain
from review.gain import FOLDS, REPEATS, RESAMPLES
from review.leak import leak
from review.picture import draw
from review.record import differences, find_run, score_again, train_of, what_happened

# ---------------------------------------------------------------- constants
# Fits of a model: the fresh folds and the test part.
N_JOBS = REPEATS * FOLDS + 1
PICTURE = HERE / "progress.png"
# With a p below it a difference is called larger than the noise.
ALPHA = 0.05
AMLB = "task framework constraint fold type result metric duration training_duration"
# Columns of the AutoML benchmark's results.csv.
AMLB += " seed utc"


def look_back(branch, min_gain):
    """(Run, what is found without labels): what happened, and is the record true.

    Start and best are scored once more, each by the base's harness in a clean checkout.
    """
    run = find_run(branch)
    found = what_happened(run) | {
        "differences": differences(run, min_gain),
        "notes": run.notes,
    }
    found |= {"models": {}, "gain": None, "test_gain": None, "leak": {}}
    if found["best"]:
        found["models"]["start"] = {"commit": run.base}
        if found["best"]["commit"] != run.base:
            found["models"]["best"] = {"commit": found["best"]["commit"]}
    for name, model in found["models"].items():
        found["differences"] += score_again(run, name, model)
    return run, found


def sources(found):
    """{name: train.py as bytes} of the models to measure."""
    return {name: train_of(model["commit"]) for name, model in found["models"].items()}


def measure(run, found, servers, X, y, train, test):
    """Fill in what gain.measure finds, with the labels; count the look at the test."""
    measured = gain.measure(servers, X, y, train, test)
    run.notes += measured.pop("crashes")
    if measured["models"]:
        git("config", f"branch.{run.branch}.reviews", str(looks(run) + 1))
    for name, model in found["models"].items():
        model |= measured["models"].get(name, {})
    found |= measured | {"models": found["models"]}


def look_for_leak(found, servers, X, y, folds, budget_s):
    """Fill in whether the scores of the last kept commit know their labels."""
    name = max(servers, key=["start", "best"].index)
    try:
        found["leak"] = {
            found["models"][name]["commit"]: leak(servers[name], X, y, folds, budget_s)
        }
    except Crash as crash:
        found["notes"].append(f"no test for a leak: {crash}")


def leaks(found):
    """The commits whose scores know their labels."""
    return [commit for commit, test in found["leak"].items() if test["found"]]


def report(run, found, task, as_json):
    """Print the review; True if the record is true.

    task: cells of the AutoML benchmark's table: task, constraint, seed.
    """
    found["amlb"] = amlb_lines(task, found["models"]) if found["best"] else []
    found["verdict"] = verdict(found)
    found["test_looks"] = looks(run)
    found["record_is_true"] = not found["differences"] and not leaks(found)
    found["picture"] = picture(run, found)
    print(json.dumps(found, indent=2, ensure_ascii=False) if as_json else text(found))
    return found["record_is_true"]


def looks(run):
    """How often reviews of the run have looked at the test part."""
    return int(git("config", "--default", "0", "--get", f"branch.{run.branch}.reviews"))


def verdict(found):
    """Whether the gain is real, in plain words."""
    test = found["gain"]
    if not found["best"]:
        return "no commit was kept: there is no gain to judge"
    if "best" not in found["models"]:
        return "nothing after the start was kept: there is no gain to judge"
    if test is None:
        return "start and best could not both be measured: no word on the gain"
    if test["p"] >= ALPHA:
        return "the gain is within the noise"
    if test["mean"] < 0:
        return "a loss: best is worse than start by more than the noise"
    return "the gain is larger than the noise"


def amlb_lines(task, models):
    """Header and a line a model for the AutoML benchmark's tables (results.csv)."""
    table = io.StringIO()
    lines = csv.DictWriter(table, AMLB.split(), lineterminator="\n")
    lines.writeheader()
    for name, model in models.items():
        if "test_auc" in model:
            lines.writerow(task | amlb_cells(name, model))
    return table.getvalue().splitlines()


def amlb_cells(name, model):
    """The cells of a model: duration of an evaluate, training_duration of a fit."""
    return {
        "framework": f"autoresearch_{name}",
        "fold": 0,
        "type": "binary",
        "result": f"{model['test_auc']:.6f}",
        "metric": "auc",
        "duration": model["duration"],
        "training_duration": f"{model['fit_s']:.3f}",
        "utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
    }


def picture(run, found):
    """Draw PICTURE; its name, or None with a note if there is nothing to draw with."""
    if not run.mine:
        return None
    try:
        draw(PICTURE, found, [(i, row) for i, _, row in run.mine])
    except ModuleNotFoundError as error:
        run.notes.append(f"no {PICTURE.name}: {error.name} is not installed: uv sync")
        return None
    return PICTURE.name


# ------------------------------------------------------------------- as text
def text(found):
    """The report for a reader."""
    blocks = [leak_lines(found), run_lines(found), record_lines(found)]
    blocks += [gain_lines(found), found["amlb"]]
    if found["picture"]:
        blocks.append([f"picture: {found['picture']}"])
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def leak_lines(found):
    """A leak is the first thing to know; [] if there is none."""
    return [
        f"LEAK: the scores of {commit:.7} know their own labels, nothing below counts"
        for commit in leaks(found)
    ]


def run_lines(found):
    """What happened: the run in a line, then the table of what was kept."""
    parts = ", ".join(f"{found[key]} {key}" for key in ("kept", "discarded", "crashed"))
    n, hours = found["iterations"], found["hours"]
    lines = [f"{found['run']}: {n} iterations in {hours} h: {parts}"]
    if found["iterations"] == 0 and not found["keeps"]:
        lines.append("results.tsv has no rows of this run: nothing to review yet")
    if found["keeps"]:
        lines += ["", f"iter commit  val_auc       Δ {'train.py':>9}  hypothesis"]
    return lines + [keep_line(keep) for keep in found["keeps"]]


def keep_line(keep):
    """A kept commit as a line of the table."""
    delta, change = "", ""
    if keep["delta"] is not None:
        delta, change = f"{keep['delta']:+.4f}", f"+{keep['added']} -{keep['removed']}"
    values = f"{keep['val_auc']:.4f} {delta:>8} {change:>9}"
    return f"{keep['iteration']:4} {keep['commit']:.7}  {values}  {keep['hypothesis']}"


def record_lines(found):
    """Whether the record is true: the differences, and the notes."""
    wrong = len(found["differences"]) + len(leaks(found))
    lines = [f"record: not true, differences: {wrong}"]
    if found["record_is_true"]:
        lines = ["record: true" + ", scored again alike" * bool(found["models"])]
    for commit, test in found["leak"].items():
        word = "found" if test["found"] else "none"
        numbers = f"{commit:.7}: shift {test['shift']:+.4f}, p = {test['p']:.2g}"
        lines.append(f"  leak: {word} ({numbers})")
    lines += [f"  ! {difference}" for difference in found["differences"]]
    return lines + [f"  note: {note}" for note in found["notes"]]


def gain_lines(found):
    """Whether the gain is real: the sentence, and what stands behind it."""
    lines = [f"verdict: {found['verdict']}"]
    if test := found["gain"]:
        lines.append(
            f"  cv AUC of best minus start {test['mean']:+.4f}, standard error "
            f"{test['standard_error']:.4f}, p = {test['p']:.3g}"
        )
        lines.append(
            f"  ({REPEATS} x {FOLDS} fresh folds, corrected resampled t-test; best was "
            "chosen on the same rows, so expect a little less)"
        )
    models = {n: m for n, m in found["models"].items() if "cv_auc" in m}
    if models:
        head = ["", "cv AUC (sd)", "test AUC", "test accuracy"]
        lines += ["", "{:6} {:>15}  {:>24}  {:>24}".format(*head)]
    for name, model in models.items():
        cv = f"{model['cv_auc']:.4f} ({model['cv_sd']:.4f})"
        lines.append(f"{name:6} {cv:>15}  {test_cells(model)}")
    if test_gain := found["test_gain"]:
        lines.append(f"gain   {test['mean']:>+15.4f}  {test_cells(test_gain)}")
    return [*lines, looks_line(found)] if models else lines


def test_cells(numbers):
    """Two cells: test AUC and accuracy with their intervals."""
    cells = []
    for key in ("test_auc", "test_acc"):
        low, high = numbers[f"{key}_interval"]
        cells.append(f"{numbers[key]:.4f} [{low:.4f}, {high:.4f}]".rjust(24))
    return "  ".join(cells)


def looks_line(found):
    """How used the test part is."""
    n = found["test_looks"]
    times = f"{n} time" + "s" * (n != 1)
    return (
        f"[...]: 95 % of {RESAMPLES} stratified bootstrap resamples. The test set has "
        f"been looked at {times} by reviews of this run."
    )
