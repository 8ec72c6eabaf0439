"""The frozen harness: data, split, cross-validation, budget, scoring.

    uv run prepare.py            make sure of the data and check the harness
    uv run prepare.py describe   what the train part looks like, column by column
    uv run prepare.py evaluate   score train.py
    uv run prepare.py log        append HEAD's row to results.tsv: kept or discarded
    uv run prepare.py state      where the run stands and what comes next
    uv run prepare.py tried      what all runs have tried on this table
    uv run prepare.py limit      <tag> [iterations] [hours, as in 8h]: when a run ends
    uv run prepare.py progress   where a run is, with a picture: [branch]
    uv run prepare.py review     which commit to take: [branch ...] [--json]
    uv run prepare.py leak       whether train.py's scores know their own labels

This process has the labels and the metrics and never runs a line of train.py: fresh
processes do, which never have the labels of the rows they score. Its rooms are in
.claude/harness/ (the night) and .claude/review/ (the morning): docs/design.md.
"""

import os
import sys

# The seed of the split, of the folds, and of numpy and random in candidates.
SEED = 42

# An interpreter of its own: no module from this folder or from PYTHONPATH comes before
# the real ones, no variable of the user's or of a git hook's changes a result.
KEPT = "PATH HOME LANG LC_ALL LC_CTYPE LD_LIBRARY_PATH TMPDIR XDG_CONFIG_HOME "
KEPT += "GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_CEILING_DIRECTORIES "
KEPT += "GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL "
KEPT += "UV_PROJECT_ENVIRONMENT"
if __name__ == "__main__" and "prepare" not in sys._xoptions:
    environ = {name: os.environ[name] for name in KEPT.split() if name in os.environ}
    # No set of strings in another order.
    environ["PYTHONHASHSEED"] = str(SEED)
    # A stream that is closed would become a pipe or a file of ours.
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(free, True)
    flags = ["-P", "-s", "-u", "-X", "prepare", "-X", "no_debug_ranges"]
    os.execve(sys.executable, [sys.executable, *flags, *sys.argv], environ)

import argparse
import ast
import contextlib
import gc
import re
import runpy
import signal
import tempfile
import time
from pathlib import Path

# The clock of the budget runs from here.
START = time.monotonic()
HERE = Path(__file__).resolve().parent
runpy.run_path(str(HERE / ".claude" / "harness" / "from_source.py"))

from harness import preflight, ratchet, records, table
from harness.judge import (
    TEST,
    Crash,
    ask_all,
    fork_server,
    n_cores,
    no_temporary_folder,
    one_line,
    say,
    syntax_nodes,
)
from harness.ratchet import Refused
from harness.sandbox import landlock_version, readable_system

# ------------------------------------------------- what you may set for a run
# The table: a CSV file, and its SHA-256, which `uv run prepare.py` tells.
DATA = HERE / "data" / "heart.csv"
DATA_SHA256 = "c62392cce6a715ef063ff42c1557df0675df2d8612e272abed377932e8e475c7"
# More arguments of pandas.read_csv, such as {"sep": ";", "na_values": ["?"]}.
READ = {}
# The column that is the target, and which rows are positive: a pandas expression of the
# target, such as "num > 0" or "income == '>50K'". All other columns are features.
TARGET = "num"
POSITIVE = "num > 0"
# The share of the rows that is the test part, which only the audit sees; the folds of
# the cross-validation on the rest, the train part.
TEST_SIZE = 0.20
N_SPLITS = 5
# So many cross-validations, on other folds each; more than one takes luck out of the
# score where the table is small.
N_REPEATS = 1
# A keep must be above the bar by more than this.
MIN_GAIN = 0.0
# From the start of a run to its last score.
BUDGET_S = 180  # seconds of wall clock
# From this val_auc on the loop halts: it is a leak until shown otherwise.
HALT_AUC = 0.99
# So many iterations in a row without a keep call for another kind of idea.
PLATEAU = 5
# What all candidates together may use: of the machine's memory, of its disk.
MEMORY_SHARE = 0.8
DISK_BYTES = 2**28  # bytes of temporary files
# A longer train.py is not read.
SOURCE_BYTES = 100_000  # bytes

# ---------------------------------------------------------------- constants
TABLE = table.Table(HERE / DATA, DATA_SHA256, READ, TARGET, POSITIVE, 2 * N_SPLITS)
TRAIN = HERE / "train.py"
N_FOLDS = N_REPEATS * N_SPLITS
JOBS = [f"fold {k + 1}" for k in range(N_FOLDS)] + [TEST]
PROBE = """
from sklearn.dummy import DummyClassifier as build_pipeline

def feature_fn(X):
    try:
        open({data!r})
    except PermissionError:
        return X
    raise RuntimeError("no sandbox: a candidate can read {data}")
"""


# --------------------------------------------------------------------- data
def load_data():
    """X, a frame of all rows, missing values NaN, and y, 0/1 (n_rows,)."""
    X, _, y = table.load(TABLE)
    return X, y


def split(y):
    """Pairs (fit rows, held-out rows): N_FOLDS folds of the train part, then the test.

    Each N_SPLITS of them partition the train part; the last pair is (train part, test
    part).
    """
    import numpy as np
    from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split

    train, test = train_test_split(
        np.arange(len(y)), test_size=TEST_SIZE, stratify=y, random_state=SEED
    )
    cv = RepeatedStratifiedKFold(
        n_splits=N_SPLITS, n_repeats=N_REPEATS, random_state=SEED
    )
    folds = [(train[fit], train[held]) for fit, held in cv.split(train, y[train])]
    return [*folds, (train, test)]


# ------------------------------------------------------------------ the scores
def server_of(source, n_jobs, prints=False):
    """A context: the fork server of this train.py, to be made before data is loaded."""
    return fork_server(source, SEED, n_jobs, MEMORY_SHARE, DISK_BYTES, prints)


def score(server, X, y, say=say):
    """(scores, record) of the server's train.py; Crash if it has none.

    scores: val_auc, test_auc and test_acc; record: what records.save() keeps; say:
    called with a line on each job done.
    """
    from sklearn.metrics import accuracy_score, roc_auc_score

    pairs, answers, aucs, ends = split(y), {}, {}, {}

    def tell(i, answer):
        answers[i], ends[i] = answer, time.monotonic() - START
        aucs[i] = float(roc_auc_score(y[pairs[i][1]], answer[1:]))
        said = "done" if i == N_FOLDS else f"auc {aucs[i]:.4f}"
        say(f"{JOBS[i]}: {said} ({ends[i]:.1f} s)\n")

    jobs = [(name, *pair) for name, pair in zip(JOBS, pairs, strict=True)]
    try:
        ask_all(server, jobs, X, y, START + BUDGET_S, tell)
    except Crash as crash:
        done = f"; the folds were done at {max(ends.values(), default=0):.1f} s"
        raise Crash(f"{crash}{done if len(ends) == N_FOLDS else ''}") from None
    fold_aucs, test = [aucs[i] for i in range(N_FOLDS)], answers[N_FOLDS]
    scores = {"val_auc": sum(fold_aucs) / N_FOLDS, "test_auc": aucs[N_FOLDS]}
    scores["test_acc"] = float(accuracy_score(y[pairs[-1][1]], test[1:] > test[0]))
    held = [(pairs[i][1], answers[i][1:]) for i in range(N_FOLDS)]
    return scores, record_of(fold_aucs, held, len(y))


def record_of(fold_aucs, held, n_rows):
    """fold_aucs, ranks and folds as records.save() takes them.

    held: (rows, scores) of each fold.
    """
    import numpy as np
    from scipy.stats import rankdata

    ranks = np.full((N_REPEATS, n_rows), np.nan)
    folds = np.full((N_REPEATS, n_rows), -1)
    for i, (rows, scores) in enumerate(held):
        ranks[i // N_SPLITS, rows] = rankdata(scores)
        folds[i // N_SPLITS, rows] = i % N_SPLITS
    return np.reshape(fold_aucs, (N_REPEATS, N_SPLITS)), ranks, folds


# ------------------------------------------------------------------ the commands
def evaluate(prints=False):
    """Print the block of train.py, whatever happens; True if its status is ok.

    prints: show what train.py prints, and not only that of a job that crashed.
    """
    block, fault = dict.fromkeys(ratchet.BLOCK, ""), ratchet.HARNESS_FAULT
    block["status"] = f"{fault}a bug of the harness: its traceback is above)"
    try:
        fill(block, prints)
    except Crash as crash:
        block["status"] = f"crashed ({crash})"
    except (Refused, OSError, MemoryError) as error:
        reason = one_line(str(error) or "out of memory", 1000)
        block["status"] = f"{fault}{reason})"
    except KeyboardInterrupt:
        block["status"] = f"{fault}interrupted)"
    finally:
        block["wall_time_s"] = f"{time.monotonic() - START:.2f}"
        lines = [f"{key}: {value}".rstrip() for key, value in block.items()]
        print("\n".join(lines), flush=True)
    return block["status"] == "ok"


def fill(block, prints):
    """Fill in the block, as far as it is known; Crash if train.py has no score."""
    block["commit"] = ratchet.commit_of_train()
    source = read_train()
    block["hypothesis"] = hypothesis(source)
    check_place()
    with server_of(source, len(JOBS), prints) as server:
        # While the server loads its libraries.
        ratchet.check_frozen_files()
        ratchet.record_base()
        scores, record = score(server, *load_data())
    keep_record(block["commit"], record)
    block |= {key: f"{value:.6f}" for key, value in scores.items()}
    block["status"] = "ok"


def keep_record(commit, record):
    """Save the record of a commit, if train.py is a commit's: no record is no fault."""
    if re.fullmatch("[0-9a-f]+", commit):
        try:
            records.save(commit, *record)
        except OSError as error:
            say(f"no record of {commit:.7}: {error}\n")


def read_train():
    """train.py as bytes; Crash unless it is a regular file of a sensible size."""
    if TRAIN.is_symlink() or not TRAIN.is_file():
        raise Crash("train.py is missing, or no regular file")
    if (size := TRAIN.stat().st_size) > SOURCE_BYTES:
        raise Crash(f"train.py has {size} bytes, more than {SOURCE_BYTES}")
    try:
        return TRAIN.read_bytes()
    except OSError as error:
        raise Crash(f"train.py can't be read: {error.strerror}") from None


def check_place():
    """Refused if project or table lies where candidates may read."""
    try:
        temporary = Path(tempfile.gettempdir()).resolve()
    except FileNotFoundError as error:
        raise no_temporary_folder(error) from None
    for place in (HERE, TABLE.path.resolve(), temporary):
        for root in readable_system():
            if place.is_relative_to(root):
                raise Refused(f"candidates may read {root}: move {place} out of it")


def hypothesis(source):
    """The string that train.py gives to HYPOTHESIS, without running it; or nothing."""
    for node in syntax_nodes(source):
        match node:
            case ast.Assign([ast.Name("HYPOTHESIS")], ast.Constant(str(text))):
                return one_line(text)
    return ""


def check():
    """Make sure of the data and the harness, a line each; True if all is ok."""
    check_place()
    table.fetch(TABLE.path)
    probe = PROBE.format(data=str(TABLE.path)).encode()
    libraries, end = preflight.LIBRARIES.encode(), START + BUDGET_S
    with server_of(probe, len(JOBS)) as server, server_of(libraries, 1) as other:
        X, target, y = table.load(TABLE)
        found = examine(server, X, target, y)
        looks = {
            "budget": lambda: preflight.budget(BUDGET_S, min(n_cores(), len(JOBS))),
            "libraries": lambda: preflight.libraries(other, X, y, split(y)[-1], end),
            "lock": preflight.lock,
            "commit": preflight.commit,
            "gate": preflight.gate,
        }
        for name, look in looks.items():
            try:
                found.append((True, f"{name}: {look()}"))
            except (Crash, Refused) as fault:
                found.append((False, f"{name}: {fault}"))
    for ok, line in found:
        print(f"ok   {line}" if ok else f"FAIL {line}")
    return all(ok for ok, _ in found)


def examine(server, X, target, y):
    """Pairs (is it ok, a line about it): data, split and sandbox, by PROBE."""
    *folds, (train, test) = split(y)
    held = sorted(row for fold in folds[:N_SPLITS] for row in fold[1])
    keeper = "the kernel and Python" if landlock_version() else "Python alone"
    size, missing = f"{len(y)} rows, {X.shape[1]} features", X.isna().sum().sum()
    parts = f"{len(train)} train rows in {N_FOLDS} folds, {len(test)} test rows"
    values = table.counted(target, y == 1)
    try:
        scores, _ = score(server, X, y, say=lambda line: None)
        chance = f"{scores['val_auc']} and {scores['test_auc']}"
    except (Crash, Refused) as fault:
        chance = str(fault)
    kept = f"kept by {keeper}; AUC by chance: {chance}"
    return [
        (True, f"data: {size}, {missing} missing values, SHA-256 as recorded"),
        (True, f"classes: {y.sum()} of {len(y)} positive, marked *: {values}"),
        (held == sorted(train), f"split: {parts}"),
        (chance == "0.5 and 0.5", f"sandbox: {kept}"),
    ]


def describe():
    """Print what the train part looks like."""
    from harness import describe

    X, y = load_data()
    print(describe.describe(X, y, split(y)[:N_SPLITS]))
    return True


def log():
    """Append HEAD's row to results.tsv and print the line of the iteration.

    Below it, the gain against its noise, if there is a bar and both were recorded.
    """
    line, row, bar = ratchet.log(MIN_GAIN)
    print(line)
    # What it says of this commit must not pass for what the next one scored.
    try:
        records.put_away(ratchet.RUN_LOG, row["commit"])
    except OSError as error:
        say(f"{ratchet.RUN_LOG.name} stays where it is: {error}\n")
    if bar and (gain := records.gain_against(row["commit"], bar["commit"])):
        print(gain)
    return True


def state():
    """Where the run stands, and what comes next: two phrases."""
    return ratchet.state(HALT_AUC, PLATEAU)


def show_state():
    """Print where the run stands, and what comes next."""
    summary, next_step = state()
    print(f"{summary}\nnext: {next_step}")
    return True


def limit(words):
    """Set the limits of a run: its tag, then iterations, hours with an h, or both."""
    print(ratchet.set_limits(*words))
    return True


def tried():
    """Print val_auc, status and idea of what was tried on this table, in any run."""
    rows = ratchet.tried(f'DATA_SHA256 = "{DATA_SHA256}"')
    print("\n".join(rows or ["nothing yet on this table"]))
    return True


def progress(branch=None):
    """Print and draw where a run is, without a fit or a look at the test part."""
    # Only here, and in review: the night has no need of it.
    from review import review as morning

    return morning.progress(branch)


def review(branches, as_json):
    """Print the review of a run, or of several side by side; True if all is true."""
    from review import review as morning

    several = len(branches) > 1
    looks = [morning.look_back(b, as_json, several) for b in branches or [None]]
    task = {"task": TABLE.path.stem, "constraint": f"{BUDGET_S}s", "seed": SEED}
    try:
        look_closer(looks)
    finally:
        # After a Ctrl-C, too: what is known by then.
        is_true = morning.report(looks, task)
    return is_true


def look_closer(looks):
    """Fill in of these runs what their records, and fits on the data, say."""
    from review import review as morning

    for look in looks:
        morning.choose(look)
    with contextlib.ExitStack() as stack:
        servers = {
            commit: stack.enter_context(server_of(source, morning.N_JOBS))
            for commit, source in morning.sources(looks).items()
        }
        if servers:
            X, y = load_data()
            *folds, (train, test) = split(y)
            data = X, y, folds[:N_SPLITS], train, test
            deadline = START + morning.REVIEW_S
            bench = morning.Bench(servers, *data, len(JOBS), BUDGET_S, deadline)
            morning.measure(looks, bench)


def find_leak():
    """Print whether the scores of train.py know their own labels; True if not."""
    from review.leak import leak

    try:
        ratchet.check_frozen_files()
        with server_of(read_train(), N_SPLITS) as server:
            X, y = load_data()
            found = leak(server, X, y, split(y)[:N_SPLITS], BUDGET_S)
    except Crash as crash:
        raise Refused(f"train.py has no scores: {crash}") from None
    word = "found" if found["found"] else "none"
    print(f"leak: {word} (shift {found['shift']:+.4f}, p = {found['p']:.2g})")
    return not found["found"]


# --------------------------------------------------------------------- main
def main():
    """Run the command; exit status 0 done, 1 crashed, 2 usage, 3 refused."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # As under nohup.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    commands = {"check": check, "log": log, "state": show_state, "leak": find_leak}
    commands |= {"describe": describe, "tried": tried}
    commands["evaluate"] = lambda: evaluate(args.prints)
    commands["limit"] = lambda: limit(args.words)
    commands["progress"] = lambda: progress(*args.words)
    commands["review"] = lambda: review(args.words, args.json)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="check", choices=commands)
    parser.add_argument("words", nargs="*", help="runs, or of a limit: see above")
    parser.add_argument("--json", action="store_true", help="review: as one object")
    parser.add_argument("--prints", action="store_true", help="evaluate: train.py's")
    args = parser.parse_args()
    n_words = {"review": 99, "limit": 3, "progress": 1}.get(args.command, 0)
    if len(args.words) > n_words or (args.json and args.command != "review"):
        parser.error(f"{args.command} takes no further argument")
    try:
        return 0 if commands[args.command]() else 1
    except (Refused, OSError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def interrupt(number, frame):
    """Interrupt the command, once: what it then does to end is not interrupted."""
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    # A run is short: a tenth of it would go into collecting garbage, a fifth of the
    # baseline's into the teardown of the libraries.
    gc.disable()
    status = main()
    sys.stdout.flush()
    os._exit(status)
