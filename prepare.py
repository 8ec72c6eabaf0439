"""The frozen harness: data, split, cross-validation, budget, scoring.

    uv run prepare.py            check the data, the harness and git before a night
    uv run prepare.py describe   what the train part looks like, column by column
    uv run prepare.py evaluate   score train.py
    uv run prepare.py weak       the parts of the table where the kept model is weak
    uv run prepare.py log        log HEAD's score, and take HEAD back if it is not kept
    uv run prepare.py state      where the run stands and what comes next
    uv run prepare.py tried      what all runs have tried on this table
    uv run prepare.py limit      set when a run ends: tag [iterations] [hours, as 8h]
    uv run prepare.py progress   how far a run is, with a picture: [branch]
    uv run prepare.py review     which commit to take: [branch ...] [--json]

This process has the labels and computes the metrics, and never runs a line of train.py.
Other processes do, the candidates, without the labels of the rows they score. The
modules are in .claude/harness (the night) and .claude/review (the morning); see
docs/design.md.
"""

import os
import sys

# Import from Python, the libraries and .claude alone, never a file beside this one.
FOLDER = os.path.dirname(os.path.realpath(__file__))
sys.path[:] = [path for path in sys.path if path != FOLDER] + [f"{FOLDER}/.claude"]

import argparse
import ast
import contextlib
import gc
import re
import signal
import time
from functools import partial

# The budget of an evaluation begins here.
START = time.monotonic()

from harness import noise, preflight, ratchet, records, table
from harness.errors import LINE_CHARACTERS, Crash, Refused, one_line, say
from harness.git import HERE
from harness.judge import (
    TEST,
    ForkServer,
    answers,
    fork_server,
    n_cores,
    syntax_nodes,
)
from harness.records import Block, Record
from harness.sandbox import (
    WHOLE_SANDBOX,
    readable_system,
    sandbox_in_words,
    sandbox_parts,
)

# -------------------------------------------------- settings: yours, between runs
# The table, a CSV file.
DATA = HERE / "data" / "heart.csv"
# Further arguments of pandas.read_csv, such as {"sep": ";", "na_values": ["?"]}.
READ = {}
# The target column, and a pandas expression of it that marks the positive rows, such as
# "num > 0" or "income == '>50K'". All other columns are features.
TARGET = "num"
POSITIVE = "num > 0"
# The share of the rows in the test part, which only the user's review reports on, and
# the number of folds of the cross-validation on the rest, the train part.
TEST_SIZE = 0.20
N_SPLITS = 5
# The number of cross-validations, each with other folds. On a small table several of
# them make the score less noisy.
N_REPEATS = 1
# A commit is kept if it is above the last keep by more than this.
MIN_GAIN = 0.0
# The wall-clock limit of one evaluation.
BUDGET_S = 180  # seconds
# The loop halts at this val_auc, since a score as high is likely to be a leak.
HALT_AUC = 0.99
# After this many iterations without a keep the agent is told to change its approach.
PLATEAU = 5
# The seed of the split, of the folds, and of numpy and random in candidates.
SEED = 42
# The share of the machine's memory that all candidates together may use.
MEMORY_SHARE = 0.8
# A longer train.py is refused.
SOURCE_BYTES = 100_000  # bytes

# ------------------------------------------------------------------- constants
TRAIN = HERE / "train.py"
TABLE = table.Table(HERE / DATA, READ, TARGET, POSITIVE, least=2 * N_SPLITS)
N_FOLDS = N_REPEATS * N_SPLITS
JOBS = [f"fold {k + 1}" for k in range(N_FOLDS)] + [TEST]


# ------------------------------------------------------------------------ data
def load_data():
    """X, a DataFrame of all rows with NaN for missing values, and y, 0/1 (n_rows,)."""
    rows = table.load(TABLE)
    return rows.X, rows.y


def split(y):
    """Pairs (fit rows, held-out rows): N_FOLDS folds of the train part, then the test.

    Each group of N_SPLITS folds partitions the train part; the last pair is (train
    part, test part).
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


# ----------------------------------------------------------------------- score
def server_of(source: bytes, prints: bool = False):
    """A context manager: the fork server of this train.py."""
    return fork_server(source, SEED, len(JOBS), MEMORY_SHARE, prints)


def score(server: ForkServer, X, y, start=START, n_at_once=None, say=say):
    """(scores, arrays) of the server's train.py; Crash if a job has no answer.

    scores: val_auc, test_auc and test_acc; arrays: as in Record; start: when the budget
    began, by time.monotonic; n_at_once: as in answers(); say: called with a line for
    each job that has ended.
    """
    from sklearn.metrics import accuracy_score, roc_auc_score

    pairs, scored, aucs, seconds = split(y), {}, {}, 0.0
    jobs = [(name, *pair) for name, pair in zip(JOBS, pairs, strict=True)]
    try:
        for i, answer in answers(server, jobs, X, y, start + BUDGET_S, n_at_once):
            scored[i], seconds = answer, time.monotonic() - start
            aucs[i] = roc_auc_score(y[pairs[i][1]], answer[1:])
            # A single fold's AUC is shown to the user alone, since those of several
            # models are enough to work out the held-out labels.
            shown = f"auc {aucs[i]:.4f}" if server.prints and i < N_FOLDS else "done"
            say(f"{JOBS[i]}: {shown} ({seconds:.1f} s)\n")
    except Crash as crash:
        done = f"; the folds were done at {seconds:.1f} s"
        raise Crash(f"{crash}{done if len(scored) == N_FOLDS else ''}") from None
    fold_aucs, test = [aucs[i] for i in range(N_FOLDS)], scored[N_FOLDS]
    scores = {"val_auc": sum(fold_aucs) / N_FOLDS, "test_auc": aucs[N_FOLDS]}
    scores["test_acc"] = accuracy_score(y[pairs[-1][1]], test[1:] > test[0])
    return scores, arrays_of(fold_aucs, pairs, scored, len(y))


def score_alone(source: bytes, X, y) -> dict:
    """{fold_aucs, ranks, folds} as Record has them, each fold fitted by itself.

    Each candidate runs alone, and has a fork server of its own.
    Threads and memory are those of an evaluation. Test rows have no ranks.
    """
    from sklearn.metrics import roc_auc_score

    pairs, scored, n_at_once = split(y), {}, min(n_cores(), len(JOBS))
    for i in range(N_FOLDS):
        start, job = time.monotonic(), (JOBS[i], *pairs[i])
        with server_of(source) as server:
            deadline = start + BUDGET_S
            ((_, scored[i]),) = answers(server, [job], X, y, deadline, n_at_once)
        say(f"{JOBS[i]}: done ({time.monotonic() - start:.1f} s)\n")
    fold_aucs = [roc_auc_score(y[pairs[i][1]], scored[i][1:]) for i in range(N_FOLDS)]
    return arrays_of(fold_aucs, pairs, scored, len(y))


def arrays_of(fold_aucs, pairs, scored, n_rows):
    """{fold_aucs, ranks, folds} as Record has them.

    pairs: of split(); scored: {number of the pair: answer}, perhaps without the test's.
    """
    import numpy as np
    from scipy.stats import rankdata

    ranks = np.full((N_REPEATS, n_rows), np.nan)
    folds = np.full((N_REPEATS, n_rows), -1)
    if N_FOLDS in scored:
        ranks[:, pairs[-1][1]] = rankdata(scored[N_FOLDS][1:])
    for i in range(N_FOLDS):
        rows, (repeat, fold) = pairs[i][1], divmod(i, N_SPLITS)
        ranks[repeat, rows] = rankdata(scored[i][1:])
        folds[repeat, rows] = fold
    fold_aucs = np.reshape(fold_aucs, (N_REPEATS, N_SPLITS))
    return {"fold_aucs": fold_aucs, "ranks": ranks, "folds": folds}


# -------------------------------------------------------------------- evaluate
def evaluate(prints: bool = False) -> bool:
    """Print the block of train.py in any case; True if its status is ok.

    prints: also show the output of train.py, and the AUC of each fold.
    """
    block, fault = Block(), ratchet.HARNESS_FAULT
    block.status = f"{fault}a bug of the harness: its traceback is above)"
    try:
        evaluate_train(block, prints)
    except (Refused, OSError, MemoryError) as error:
        reason = one_line(str(error) or "out of memory", 1000)
        block.status = f"{fault}{reason})"
    except KeyboardInterrupt:
        block.status = f"{fault}interrupted)"
    finally:
        block.wall_time_s = block.wall_time_s or seconds_since(START)
        lines = [f"{key}: {value}".rstrip() for key, value in vars(block).items()]
        print("\n".join(lines), flush=True)
    return block.status == "ok"


def evaluate_train(block: Block, prints: bool) -> None:
    """Fill in the block, and save its record if train.py is as committed."""
    arrays = {}
    try:
        block.commit = ratchet.commit_of_train()
        source = read_train()
        block.hypothesis = hypothesis(source)
        check_place()
        with server_of(source, prints) as server:
            # The server loads its libraries meanwhile.
            say_sandbox()
            if run := ratchet.run_of_head():
                ratchet.check_frozen_since(run)
                ratchet.check_table(run, table.sha256_of(TABLE))
            X, y = load_data()
            scores, arrays = score(server, X, y)
            if run and run.bar:
                ranks, folds = arrays["ranks"], arrays["folds"]
                arrays |= noise.against_bar(run.bar.commit, y, folds, ranks)
        vars(block).update({key: f"{value:.6f}" for key, value in scores.items()})
        block.status = "ok"
    except Crash as crash:
        block.status = f"crashed ({crash})"
    block.wall_time_s = seconds_since(START)
    if re.fullmatch("[0-9a-f]+", block.commit):
        measured = table.sha256_of(TABLE), records.versions()
        records.save(Record(block, *measured, **arrays))


def seconds_since(start: float) -> str:
    """The seconds since then, a time of time.monotonic, as a block has them."""
    return f"{time.monotonic() - start:.2f}"


def read_train() -> bytes:
    """train.py; Crash unless it is a regular file of a sensible size."""
    if TRAIN.is_symlink() or not TRAIN.is_file():
        raise Crash("train.py is missing, or no regular file")
    if (size := TRAIN.stat().st_size) > SOURCE_BYTES:
        raise Crash(f"train.py has {size} bytes, more than {SOURCE_BYTES}")
    try:
        return TRAIN.read_bytes()
    except OSError as error:
        raise Crash(f"train.py can't be read: {error.strerror}") from None


def hypothesis(source: bytes) -> str:
    """The string that train.py gives to HYPOTHESIS, found without running it, or ""."""
    for node in syntax_nodes(source):
        match node:
            case ast.Assign([ast.Name("HYPOTHESIS")], ast.Constant(str(text))):
                return one_line(text)
    return ""


def check_place() -> None:
    """Refused if candidates could read the project or the table."""
    for place in (HERE, TABLE.path.resolve()):
        for root in readable_system():
            if place.is_relative_to(root):
                raise Refused(f"candidates may read {root}: move {place} out of it")


def say_sandbox() -> None:
    """Say on stderr which layers of the sandbox are on, if some are missing."""
    if sandbox_parts() != WHOLE_SANDBOX:
        say(f"sandbox: {sandbox_in_words()} (uv run prepare.py)\n")


# ---------------------------------------------------------------- the commands
def check() -> bool:
    """Print what would stop a night, line by line; True if nothing would."""
    check_place()
    try:
        rows = table.load(TABLE)
        items = checks_of(rows)
    except table.Unusable as faults:
        rows, items = faults.rows, {"table": partial(preflight.refuse, faults)}
    items |= {
        "budget": lambda: preflight.budget(BUDGET_S),
        "frozen": preflight.frozen,
        "commit": preflight.commit,
        "gate": preflight.gate,
    }
    notes = preflight.notes(rows, TABLE, split(rows.y)[:N_SPLITS]) if rows else []
    return preflight.report(items, notes)


def checks_of(rows: table.Rows) -> dict:
    """{name: function} of the checks that need a table."""
    X, y = rows.X, rows.y
    *folds, (train, test) = split(y)
    missing = X.isna().sum().sum()
    size = f"{len(y)} rows, {X.shape[1]} features, {missing} missing values"
    values = table.counted(rows.target, y == 1)
    parts = f"{len(train)} train rows in {len(folds)} folds, {len(test)} test rows"
    return {
        "data": lambda: size,
        "classes": lambda: f"{y.sum()} of {len(y)} positive, marked *: {values}",
        "split": lambda: parts,
        "columns": lambda: preflight.columns(X),
        "sandbox": lambda: preflight.sandbox(lambda s: score_trial(s, X, y), TABLE),
    }


def score_trial(source: bytes, X, y) -> dict[str, float]:
    """The scores of this train.py, without a line for each fit."""
    say(f"sandbox: {len(JOBS)} trial fits, about a second each\n")
    with server_of(source) as server:
        return score(server, X, y, say=lambda line: None)[0]


def describe() -> bool:
    """Print what the train part looks like."""
    from harness import describe

    rows = table.load(TABLE)
    folds = split(rows.y)[:N_SPLITS]
    print(describe.describe(rows.X, rows.y, folds, rows.dates))
    return True


def weak() -> bool:
    """Print where the model to beat is weak."""
    from harness import weak

    run = ratchet.current_run()
    ratchet.check_frozen_since(run)
    ratchet.check_table(run, table.sha256_of(TABLE))
    record = records.read(run.bar.commit) if run.bar else None
    if record is None or record.ranks is None:
        again = f"{ratchet.EVALUATE}, then uv run prepare.py log"
        raise Refused(f"there is no record of a commit that was kept: {again}")
    print(weak.weak(*load_data(), record))
    return True


def log() -> bool:
    """Log HEAD; print its row, how much of it may be chance, and what is next.

    What is next is printed also where there is nothing to log.
    """
    try:
        run, row = ratchet.log(MIN_GAIN)
    except Refused:
        with contextlib.suppress(Refused):
            show_state()
        raise
    lines = [ratchet.line_of(run, row), *noise.lines(run, row.commit, MIN_GAIN)]
    print("\n".join(lines))
    ratchet.archive_run_log(row.commit)
    return show_state()


def state() -> tuple[str, str]:
    """Where the run stands, and what comes next: two phrases."""
    return ratchet.state(HALT_AUC, PLATEAU)


def show_state() -> bool:
    """Print where the run stands, and what comes next."""
    try:
        summary, next_step = state()
    except ratchet.NotARun as outside:
        summary, next_step = str(outside), "the Setup of program.md, for a new run"
    print(f"{summary}\nnext: {next_step}", flush=True)
    return True


def tried() -> bool:
    """Print what was tried on this table, in any run."""
    rows = ratchet.tried(table.sha256_of(TABLE))
    print("\n".join(rows or ["nothing yet on this table"]))
    return True


def limit(*words: str) -> bool:
    """Set when a run ends, and say it."""
    print(ratchet.set_limits(*words))
    return True


def progress(branch: str = "") -> bool:
    """Print and draw how far a run is, without a fit or a look at the test part."""
    from review import review as morning

    return morning.progress(branch, MIN_GAIN)


def review(*branches: str, json: bool = False) -> bool:
    """Print the review of a run, or of several; True if all can be trusted."""
    from review import review as morning

    n_at_once = min(n_cores(), len(JOBS))
    harness = morning.Harness(
        *(load_data, score_alone, lambda: table.sha256_of(TABLE)),
        *(MIN_GAIN, N_FOLDS, n_at_once),
    )
    return morning.review(branches, json, harness)


# ------------------------------------------------------------------------ main
# The function of each command, the most words it takes, and its option.
COMMANDS = {
    "check": (check, 0, ""),
    "describe": (describe, 0, ""),
    "evaluate": (evaluate, 0, "prints"),
    "weak": (weak, 0, ""),
    "log": (log, 0, ""),
    "state": (show_state, 0, ""),
    "tried": (tried, 0, ""),
    "limit": (limit, 3, ""),
    "progress": (progress, 1, ""),
    "review": (review, 99, "json"),
}


def main() -> int:
    """Run the command; returns the exit status.

    0 done, 1 crashed or not well, 2 wrong usage, 3 refused, 130 interrupted.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(encoding="utf-8", errors="replace")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A signal that nohup has switched off stays off.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="check", choices=COMMANDS)
    parser.add_argument("words", nargs="*", help="runs, or limits: see above")
    parser.add_argument("--json", action="store_true", help="review: print JSON")
    parser.add_argument("--prints", action="store_true", help="evaluate: show output")
    args = parser.parse_args()
    function, n_words, option = COMMANDS[args.command]
    options = {name: True for name in ("json", "prints") if getattr(args, name)}
    if len(args.words) > n_words or not options.keys() <= {option}:
        parser.error(f"{args.command} takes no further argument")
    try:
        is_well = function(*args.words, **options)
        print(end="", flush=True)
        return 0 if is_well else 1
    except BrokenPipeError:
        # The reader, such as head, has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except (Refused, OSError) as error:
        print(f"refused: {one_line(str(error), LINE_CHARACTERS)}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def interrupt(number, frame):
    """Interrupt the command once; its cleaning up is not interrupted."""
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Commands are short: garbage collection, and unloading the libraries at the end,
    # would cost a fifth of their time.
    gc.disable()
    status = main()
    os._exit(status)
