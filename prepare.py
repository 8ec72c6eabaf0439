"""The frozen harness: data, split, cross-validation, budget, scoring.

    uv run prepare.py            make sure of the data and check the harness
    uv run prepare.py evaluate   score train.py
    uv run prepare.py log        append HEAD's row to results.tsv: kept or discarded
    uv run prepare.py state      where the run stands and what comes next
    uv run prepare.py review     what the run was worth: [branch] [--json]

A judge, a process of its own, has the labels and the metrics and never runs a line of
train.py: fresh processes do, which never have the labels of the rows they score.
Its parts are in .claude/harness/.
"""

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    sys.path.pop(0)  # a numpy.py dropped beside this file must never be imported

import argparse
import ast
import gc
import hashlib
import os
import runpy
import signal
import tempfile
import time
from pathlib import Path

START = time.monotonic()  # the clock of the budget runs from here
gc.disable()  # a run is short, and a tenth of it would go into collections
HERE = Path(__file__).resolve().parent
runpy.run_path(str(HERE / ".claude" / "harness" / "from_source.py"))

from candidate import landlock_version, readable_system
from judge import judge, serve, syntax_nodes
from ratchet import (
    BLOCK,
    HARNESS_FAULT,
    Refused,
    check_frozen_files,
    commit_of_train,
    log,
    state,
)
from supervisor import Crash, ask_all, n_cores, one_line, say

# ---------------------------------------------------------------- constants
DATA = HERE / "data" / "heart.csv"
DATA_SHA256 = "c62392cce6a715ef063ff42c1557df0675df2d8612e272abed377932e8e475c7"
CURE = "git restore data/heart.csv; or, of your own data, see README.md, Your own data"
TARGET = "num"  # column of the CSV; the positive class is TARGET > 0
TEST_SIZE = 0.20  # of the rows: the test part, which only the audit sees
N_SPLITS = 5  # folds of the cross-validation on the train part
SEED = 42  # of the split, of the folds, and of numpy and random in candidates
BUDGET_S = 180  # seconds of wall clock, from start to last score
SOURCE_BYTES = 100_000  # a longer train.py is not read

RAW_URL = (
    "https://archive.ics.uci.edu/ml/machine-learning-databases/"
    "heart-disease/processed.cleveland.data"
)
RAW_SHA256 = "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"
COLUMNS = "age sex cp trestbps chol fbs restecg thalach exang oldpeak slope ca thal num"

TRAIN = HERE / "train.py"
JOBS = [f"fold {k + 1}" for k in range(N_SPLITS)] + ["test"]
JUDGED = {"n_jobs": len(JOBS), "seed": SEED}
PROBE = """
from sklearn.dummy import DummyClassifier as build_pipeline

def feature_fn(X):
    try:
        open({data!r})
    except PermissionError:
        return X
    raise RuntimeError("the fence is down: a candidate can read {data}")
"""


# --------------------------------------------------------------------- data
def fetch_data():
    """Make DATA from the UCI archive's file if it is gone; Refused if that fails."""
    if DATA.exists() or DATA.name != "heart.csv":
        return
    import urllib.request

    try:
        with urllib.request.urlopen(RAW_URL, timeout=30) as reply:
            raw = reply.read()
    except OSError as error:
        raise Refused(f"no {DATA}, no download ({error}): {CURE}") from None
    if hashlib.sha256(raw).hexdigest() != RAW_SHA256:
        raise Refused(f"{RAW_URL} is not the file it was: {CURE}")
    part = DATA.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(convert(raw))
    part.replace(DATA)


def convert(raw):
    """The CSV of UCI's processed.cleveland.data, both bytes; `?` becomes empty."""
    rows = [line.split(",") for line in raw.decode().split()]
    cells = [["" if c == "?" else f"{float(c):g}" for c in row] for row in rows]
    return "".join(",".join(r) + "\n" for r in [COLUMNS.split(), *cells]).encode()


def load_data():
    """X, a frame of all rows, missing values NaN, and y, 0/1 (n_rows,)."""
    import pandas as pd

    if not DATA.is_file():
        raise Refused(f"{DATA} is missing: {CURE}")
    with DATA.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != DATA_SHA256:
            raise Refused(f"{DATA} is damaged (SHA-256 {found:.8}…): {CURE}")
        file.seek(0)
        try:
            frame = pd.read_csv(file, low_memory=False)
        except ValueError as error:  # pandas' parser's, and that of a wrong encoding
            reason = one_line(str(error))
            raise Refused(f"{DATA.name} is no CSV in UTF-8: {reason}") from None
    columns = one_line(" ".join(map(str, frame.columns)))
    target = frame.pop(TARGET) if TARGET in frame else pd.Series(dtype=str)
    if not pd.api.types.is_numeric_dtype(target) or target.isna().any():
        wanted = f"no numeric column {TARGET!r} without gaps"
        raise Refused(f"{DATA.name} has {wanted}, but: {columns}")
    if min((target > 0).sum(), (target <= 0).sum()) < 2 * N_SPLITS:
        raise Refused(f"{DATA.name}: too few rows with {TARGET} > 0, or without")
    return frame, (target > 0).to_numpy(dtype=int)


def split(y):
    """Pairs (fit rows, held-out rows): N_SPLITS folds of the train part, then the test.

    The folds partition the train part; the last pair is (train part, test part).
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold, train_test_split

    train, test = train_test_split(
        np.arange(len(y)), test_size=TEST_SIZE, stratify=y, random_state=SEED
    )
    cv = StratifiedKFold(N_SPLITS, shuffle=True, random_state=SEED)
    folds = [(train[fit], train[held]) for fit, held in cv.split(train, y[train])]
    return [*folds, (train, test)]


# ------------------------------------------------------------- what the judge does
def score(bred, start):
    """val_auc, test_auc and test_acc of the one train.py; Crash if it has none.

    The clock of the budget runs from `start`, a time of time.monotonic.
    """
    from sklearn.metrics import accuracy_score, roc_auc_score

    ((control, source),) = bred
    X, y = load_data()
    pairs, aucs, accuracies = split(y), {}, {}

    def tell(i, answer):
        labels, seconds = y[pairs[i][1]], time.monotonic() - start
        aucs[i] = float(roc_auc_score(labels, answer[1:]))
        accuracies[i] = float(accuracy_score(labels, answer[1:] > answer[0]))
        said = "done" if i == N_SPLITS else f"auc {aucs[i]:.4f}"
        say(f"{JOBS[i]}: {said} ({seconds:.1f} s)\n")

    jobs = [(JOBS[i], source, *pair) for i, pair in enumerate(pairs)]
    ask_all(control, jobs, X, y, SEED, start + BUDGET_S, tell)
    val_auc = sum(aucs[i] for i in range(N_SPLITS)) / N_SPLITS
    test_auc, test_acc = aucs[N_SPLITS], accuracies[N_SPLITS]
    return {"val_auc": val_auc, "test_auc": test_auc, "test_acc": test_acc}


def examine(bred, start):
    """Pairs (is it ok, a line about it): data, split, budget and fence, by PROBE."""
    X, y = load_data()
    *folds, (train, test) = split(y)
    held = sorted(row for fold in folds for row in fold[1])
    keeper = "the kernel and Python" if landlock_version() else "Python alone"
    size, missing = f"{len(y)} rows, {X.shape[1]} features", X.isna().sum().sum()
    parts = f"{len(train)} train rows in {N_SPLITS} folds, {len(test)} test rows"
    processes = min(n_cores(), len(JOBS))
    try:
        scores = score(bred, start)
        chance = f"{scores['val_auc']} and {scores['test_auc']}"
    except Crash as crash:
        chance = str(crash)
    return [
        (True, f"data: {size}, {missing} missing values, SHA-256 as recorded"),
        (True, f"classes: {y.sum()} of {len(y)} positive"),
        (held == sorted(train), f"split: {parts}"),
        (BUDGET_S > 0, f"budget: {BUDGET_S} s, {processes} processes side by side"),
        (chance == "0.5 and 0.5", f"fence: kept by {keeper}; AUC by chance: {chance}"),
    ]


# --------------------------------------------------------------- evaluation
def evaluate():
    """Print the block of train.py, whatever happens; True if its status is ok."""
    block = dict.fromkeys(BLOCK, "")
    try:
        block["commit"] = commit_of_train()
        source = read_train()
        check_place()
        with judge(score, START, sources=[source], **JUDGED) as scores:
            block["hypothesis"] = hypothesis(source)  # the judge loads meanwhile
            check_frozen_files()
            block |= {key: f"{auc:.6f}" for key, auc in scores().items()}
        block["status"] = "ok"
    except Crash as crash:
        block["status"] = f"crashed ({crash})"
    except Refused as refused:
        block["status"] = f"{HARNESS_FAULT}{one_line(str(refused), 1000)})"
    except KeyboardInterrupt:
        block["status"] = f"{HARNESS_FAULT}interrupted)"
    block["wall_time_s"] = f"{time.monotonic() - START:.2f}"
    lines = [f"{key}: {value}".rstrip() for key, value in block.items()]
    print("\n".join(lines), flush=True)
    return block["status"] == "ok"


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
    """Refused if the project lies where candidates may read."""
    for place in (HERE, Path(tempfile.gettempdir()).resolve()):
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


# ------------------------------------------------------------------ the check
def check():
    """Make sure of the data and the harness, a line each; True if all is ok."""
    fetch_data()
    probe = PROBE.format(data=str(DATA)).encode()
    with judge(examine, START, sources=[probe], **JUDGED) as lines:
        found = lines()
    for ok, line in found:
        print(f"ok   {line}" if ok else f"FAIL {line}: git status prepare.py .claude")
    return all(ok for ok, _ in found)


# --------------------------------------------------------------------- main
def show_state():
    """Print two lines: where the run stands, and what comes next."""
    summary, next_step = state()
    print(f"{summary}\nnext: {next_step}")
    return True


def show_review(branch, as_json):
    """Print the review of a run; its modules load only here, a log has no need."""
    from review import review

    return review(sys.modules[__name__], branch, as_json)


def main():
    """Run the command; exit status 0 done, 1 crashed, 2 usage, 3 refused."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    if sys.argv[1:] == ["judge"] and Path("/dev/stdin").is_socket():
        return 0 if serve() else 1
    commands = {"check": check, "evaluate": evaluate, "log": log, "state": show_state}
    commands["review"] = lambda: show_review(args.branch, args.json)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", default="check", choices=commands)
    parser.add_argument(
        "branch", nargs="?", help="review: of this run, not the one here"
    )
    parser.add_argument("--json", action="store_true", help="review: as one object")
    args = parser.parse_args()
    if args.command != "review" and (args.branch or args.json):
        parser.error(f"{args.command} takes no further argument")
    command = commands[args.command]
    for terminated in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(terminated) != signal.SIG_IGN:  # as under nohup
            signal.signal(terminated, signal.default_int_handler)
    try:
        return 0 if command() else 1
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # no teardown of the libraries: a fifth of a baseline run
