"""The review in words: each function makes lines of what is found so far.

[] where there is nothing to say. What is found: docs/design.md, The review's object.
"""

import csv
import io
from datetime import UTC, datetime

from review.choice import RESAMPLES
from review.gain import FOLDS
from review.gain import RESAMPLES as TEST_RESAMPLES

# ---------------------------------------------------------------- constants
# With a p below it a difference is called larger than the noise.
ALPHA = 0.05
# Of the tries that progress tells.
LAST = 5
# Columns of the AutoML benchmark's results.csv.
AMLB = "task framework constraint fold type result metric duration training_duration"
AMLB += " seed utc"


# ------------------------------------------------------------- what happened
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
    delta = "" if keep["delta"] is None else f"{keep['delta']:+.4f}"
    change = "" if keep["added"] is None else f"+{keep['added']} -{keep['removed']}"
    values = f"{keep['val_auc']:.4f} {delta:>8} {change:>9}"
    return f"{keep['iteration']:4} {keep['commit']:.7}  {values}  {keep['hypothesis']}"


def tries_lines(tries):
    """The last tries: (iteration, row) of all; nothing of the test part."""
    lines = [f"the last {min(LAST, len(tries))} tries:"] if tries else []
    for i, row in tries[-LAST:]:
        value = f"{float(row['val_auc']):.4f}" if row["val_auc"] else "none"
        lines.append(f"{i:4} {value:>6}  {row['status']:7}  {row['description']}")
    return lines


def note_lines(found):
    """What is no difference, but worth a word."""
    return [f"note: {note}" for note in found["notes"]]


def trust_lines(found):
    """Whether git, rows and frozen files agree: what can be said without a fit."""
    if found["differences"]:
        return untrue_lines(found)
    return ["record: rows, git and frozen files agree"]


def untrue_lines(found):
    """What is wrong with the record, leaks counted too."""
    wrong = len(found["differences"]) + len(leaks(found))
    lines = [f"  ! {difference}" for difference in found["differences"]]
    return [f"record: not true, differences: {wrong}", *lines]


# ---------------------------------------------------- what the records say
def named(found, commit):
    """A commit with its iteration."""
    at = [k["iteration"] for k in found["keeps"] if k["commit"] == commit]
    return f"{commit:.7} (iter {at[0]})" if at else f"{commit:.7} (the start)"


def choice_lines(found):
    """Which of the keeps is chosen, and by how much of the record."""
    if len(found["keeps"]) < 2:
        return []
    chosen, last = found["chosen"], found["keeps"][-1]["commit"]
    n_records = found["records"]
    if not n_records:
        why = "the last keep: there are no records to choose by"
    elif chosen == last:
        why = "the last keep: no earlier one is within one standard error of it"
    else:
        why = f"the earliest within one standard error of the best keep, {last:.7}"
    counts = f"{found['scored']} commits were scored"
    if n_records < found["scored"]:
        counts += f", {n_records} of them with a record"
    return [f"chosen: {named(found, chosen)}, {why}", f"  ({counts})"]


def luck_lines(found):
    """How far ideas that are all worth the same would have climbed."""
    if not (luck := found["luck"]):
        return []
    by_luck = f"{luck['ideas']} equal ideas climb {luck['mean']:+.4f} by luck alone"
    often = f"one night in 20 {luck['most']:+.4f} or more"
    return [f"luck: {by_luck}, {often}; this run climbed {luck['climb']:+.4f}"]


def corrected_lines(found):
    """What the choice is worth on rows that did not choose."""
    if not (gain := found["gain"]):
        return []
    return [
        f"gain: {interval_of(gain)} over the start, on rows that did not choose",
        f"  (BBC-CV over {found['records']} of {found['scored']} scored commits, "
        f"{RESAMPLES} resamples, pick by pick;",
        "  an agent that sees its scores adapts to them: some optimism is left)",
    ]


def interval_of(gain):
    """A gain with its 95 % interval."""
    low, high = gain["interval"]
    return f"{gain['mean']:+.4f}, 95 % [{low:+.4f}, {high:+.4f}]"


# ---------------------------------------------------------- what the fits say
def leaks(found):
    """The commits whose scores know their labels."""
    return [commit for commit, test in found["leak"].items() if test["found"]]


def leak_lines(found):
    """The leak tests so far, each in a line."""
    lines = []
    for commit, test in found["leak"].items():
        numbers = f"shift {test['shift']:+.4f}, p = {test['p']:.2g}"
        if test["found"]:
            lines.append(f"LEAK: the scores of {commit:.7} know their own labels")
            lines[-1] += f" ({numbers}): nothing above or below counts"
        else:
            lines.append(f"leak: none ({commit:.7}: {numbers})")
    return lines


def record_lines(found):
    """Whether the record is true, and what was scored again for it."""
    again = ", ".join(found["scored_again"])
    lines = ["record: true" + f", scored again alike: {again}" * bool(again)]
    if not found["record_is_true"]:
        lines = untrue_lines(found)
    return [*lines, *leak_lines(found), *note_lines(found)]


def fresh_lines(fresh):
    """The models on the same fresh folds, {name: numbers}, and what they gain."""
    if not fresh:
        return []
    width, (first, *_) = max(map(len, fresh)), fresh
    repeats = max(numbers["repeats"] for numbers in fresh.values())
    head = f"cv AUC (sd)      minus {first}"
    lines = [f"on {repeats} x {FOLDS} fresh folds of the rows that also chose:"]
    lines += [f"{'':{width}}  {head}"]
    for name, numbers in fresh.items():
        sd = f" ({numbers['sd']:.4f})" if numbers["sd"] is not None else ""
        line = f"{name:{width}}  {numbers['mean']:.4f}{sd:9}"
        if test := numbers.get("gain"):
            line += f"  {test['mean']:+.4f} ± {test['standard_error']:.4f}, "
            word = "within the" if test["p"] >= ALPHA else "more than"
            line += f"p = {test['p']:.2g}: {word} noise"
        if numbers["repeats"] < repeats:
            line += f"  ({numbers['repeats']} x {FOLDS} only)"
        lines.append(line.rstrip())
    return lines


def test_lines(found):
    """The test part, looked at once in a review, for start and chosen."""
    test = found["test"]
    if not test:
        return []
    lines = ["{:6}  {:>24}  {:>24}".format("", "test AUC", "test accuracy")]
    lines += [f"{name:6}  {test_cells(numbers)}" for name, numbers in test.items()]
    n = found["test_looks"]
    times = f"{n} time" + "s" * (n != 1)
    return [
        *lines,
        f"[...]: 95 % of {TEST_RESAMPLES} stratified bootstrap resamples. The test "
        f"part has been looked at {times} by reviews of this run.",
    ]


def test_cells(numbers):
    """Two cells: test AUC and accuracy with their intervals."""
    cells = []
    for key in ("test_auc", "test_acc"):
        low, high = numbers[f"{key}_interval"]
        cells.append(f"{numbers[key]:.4f} [{low:.4f}, {high:.4f}]".rjust(24))
    return "  ".join(cells)


def amlb_lines(task, test):
    """Header and a line a model for the AutoML benchmark's tables (results.csv)."""
    table = io.StringIO()
    lines = csv.DictWriter(table, AMLB.split(), lineterminator="\n")
    lines.writeheader()
    for name, model in test.items():
        if name != "gain":
            lines.writerow(task | amlb_cells(name, model))
    return table.getvalue().splitlines() if test else []


def amlb_cells(name, model):
    """The cells of a model: duration of an evaluate, training_duration of a fit."""
    return {
        "framework": f"autoresearch_{name}",
        "fold": 0,
        "type": "binary",
        "result": f"{model['test_auc']:.6f}",
        "metric": "auc",
        "duration": model["duration"],
        "training_duration": f"{model['fit_s']:.3f}" if model["fit_s"] else "",
        "utc": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
    }


# ---------------------------------------------------------------- the sentence
def verdict(found):
    """The sentence that a review ends in: which commit to take, and how sure."""
    if found["differences"] or leaks(found):
        return "take nothing: the record is not true"
    if not (keeps := found["keeps"]):
        return "take nothing: no commit was kept"
    if [keep["commit"] for keep in keeps] == [found["start"]]:
        return "stay with the start: nothing after it was kept"
    chosen, gain = found["chosen"], found["gain"]
    if chosen == found["start"]:
        words = "the best keep is within one standard error of it"
        rest = f"; choosing is worth {interval_of(gain)}" if gain else ""
        return f"stay with the start {chosen:.7}: {words}{rest}"
    if not (chosen and gain):
        return "no word on a commit to take: its gain was not measured"
    rows = "rows it was not chosen on"
    if not gain["corrected"]:
        rows = "fresh folds of the rows that chose it, so expect less"
    name, worth = named(found, chosen), f"{interval_of(gain)} on {rows}"
    if gain["mean"] <= 0:
        return f"stay with the start, no gain is shown: {name} has {worth}"
    if gain["interval"][0] <= 0:
        name = f"{name} as a guess, or stay with the start, for no gain is shown"
    return f"take {name}: {worth}{after(found)}"


def after(found):
    """What is to be said of the keeps after the chosen one."""
    commits = [keep["commit"] for keep in found["keeps"]]
    n = len(commits) - 1 - commits.index(found["chosen"])
    if n == 0:
        return ""
    keeps = "the keep after it is" if n == 1 else f"the {n} keeps after it are"
    return f"; {keeps} within the noise of it"


def several_lines(runs):
    """The sentence of each run, and what was left out."""
    words = [f"{found['run']}: {found['verdict']}" for found in runs]
    left_out = "scored again, tested for leaks, or looked at on the test part"
    return [*words, f"Nothing was {left_out}: review each run by itself for that."]


def verdict_lines(found):
    """The sentence, and the command that keeps what it takes."""
    words, gain = found["verdict"], found["gain"]
    lines = [words[0].upper() + words[1:]]
    stays = found["chosen"] == found["start"]
    if found["record_is_true"] and gain and gain["mean"] > 0 and not stays:
        keep = f"git merge {found['chosen']:.7}"
        lines.append(f"  {keep}    (on the branch that the run came from)")
    return lines
