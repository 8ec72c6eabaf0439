"""What the harness costs: `uv run tests/bench_harness.py [baseline|stack|size ...]`.

Ratios within one run: each pair is measured turn by turn, the median counts.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
from conftest import ROOT, Project, block_of

TABLE = ROOT / "data" / "heart.csv"
BARE = """
import random, sys
import numpy as np, pandas as pd
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from train import build_pipeline, feature_fn

frame = pd.read_csv("data/heart.csv")
X, y = frame.drop(columns="num"), (frame["num"] > 0).to_numpy(dtype=int)
train, test = train_test_split(
    np.arange(len(y)), test_size=0.2, stratify=y, random_state=42
)
cv = StratifiedKFold(5, shuffle=True, random_state=42)
pairs = [(train[a], train[b]) for a, b in cv.split(train, y[train])] + [(train, test)]
aucs = []
for fit, held in pairs:
    np.random.seed(42)
    model = build_pipeline().fit(feature_fn(X.iloc[fit]), y[fit])
    scores = model.predict_proba(feature_fn(X.iloc[held]))[:, 1]
    aucs.append(roc_auc_score(y[held], scores))
    accuracy_score(y[held], scores > 0.5)
print(f"val_auc: {np.mean(aucs[:-1]):.6f}")
"""
STACK = """
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier,
    StackingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

HYPOTHESIS = "a stack"

def feature_fn(X):
    return X

def build_pipeline():
    return make_pipeline(
        SimpleImputer(),
        StandardScaler(),
        StackingClassifier(
            [
                ("forest", RandomForestClassifier(300, random_state=0{n_jobs})),
                ("trees", ExtraTreesClassifier(300, random_state=0{n_jobs})),
                ("boost", GradientBoostingClassifier(random_state=0)),
                ("light", LGBMClassifier(verbose=-1, random_state=0{light})),
                ("svm", SVC(probability=True, random_state=0)),
            ],
            LogisticRegression(){n_jobs},
        ),
    )
"""
DUMMY = """
from sklearn.dummy import DummyClassifier as build_pipeline

HYPOTHESIS = "learns nothing, copies nothing: what is left is the harness"

def feature_fn(X):
    return X
"""
STACKS = {
    "n_jobs=1": STACK.format(n_jobs=", n_jobs=1", light=", n_jobs=1"),
    "n_jobs=-1": STACK.format(n_jobs=", n_jobs=-1", light=", n_jobs=-1"),
    "LightGBM's default": STACK.format(n_jobs=", n_jobs=1", light=""),
}
SIZE_HEADER = """
                                   peak memory, less that of 303 rows, / table
    rows  bare s  harness s  ratio    MB   bare  judge  candidate  dummy
at most                       1.10                   3          3      3
""".strip("\n")
HARNESS, SCRIPT = ("prepare.py", "evaluate"), ("bare.py",)


# ---------------------------------------------------------------- what is measured
def project_of(folder, train=None, n_rows=None):
    """A project with this train.py and the table repeated to n_rows."""
    project = Project(folder)
    (folder / "bare.py").write_text(BARE)
    if train:
        (folder / "train.py").write_text(train)
    if n_rows:
        frame = pd.read_csv(TABLE)
        copies = pd.concat([frame] * (n_rows // len(frame) + 1))[:n_rows]
        copies.to_csv(folder / "data" / "heart.csv", index=False)
    return project


def bare(project):
    """Seconds of the bare script, serial to the last: with one thread of BLAS too."""
    pools = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    return clock(project, SCRIPT, os.environ | dict.fromkeys(pools, "1"))


def plain(project):
    """Seconds of `python bare.py`, as anybody would run it."""
    return clock(project, SCRIPT, os.environ)


def harness(project):
    """Seconds of `prepare.py evaluate`."""
    return clock(project, HARNESS, os.environ)


def clock(project, arguments, environ):
    """Seconds of a Python program in the project."""
    start = time.monotonic()
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=project.path, env=environ, capture_output=True, text=True
    )
    assert float(block_of(done.stdout)["val_auc"]) > 0.5, done.stdout + done.stderr
    return time.monotonic() - start


def turn_by_turn(n, first, *others):
    """Median seconds of each (way, project), and median ratios of others to first."""
    rounds = [[way(project) for way, project in (first, *others)] for _ in range(n)]
    ratios = [[s / seconds[0] for s in seconds[1:]] for seconds in rounds]
    return medians(rounds), medians(ratios)


def medians(rounds):
    """The median of each column."""
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


# ------------------------------------------------------------------------- memory
class Peaks(threading.Thread):
    """Peak memory (Pss, bytes) of a process [0], of its children [1], and theirs."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.bytes = pid, [0, 0, 0]

    def run(self):
        while Path(f"/proc/{self.pid}").exists():
            generation = [self.pid]
            for i, peak in enumerate(self.bytes):
                self.bytes[i] = max([peak, *map(memory, generation)])
                generation = [c for pid in generation for c in children(pid)]
            time.sleep(0.02)


def children(pid):
    """Process ids of a process's children."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:
        return []


def memory(pid):
    """Bytes of a process that are its own or its share (Pss)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return 1024 * int(re.search(r"^Pss: +(\d+)", text, re.M)[1])
    except (OSError, TypeError):
        return 0


def peaks(project, arguments):
    """Peak bytes of a Python program in the project and of its descendants."""
    command = [sys.executable, *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=project.path, **quiet) as process:
        watch = Peaks(process.pid)
        watch.start()
        while process.poll() is None:
            time.sleep(0.05)
        watch.join()
    return watch.bytes


def all_peaks(project, dummy):
    """Peak bytes of the bare script, the judge, a candidate, and one of a DUMMY."""
    judge, _, candidate = peaks(project, HARNESS)
    return [peaks(project, SCRIPT)[0], judge, candidate, peaks(dummy, HARNESS)[2]]


# --------------------------------------------------------------------- the tables
def baseline(folder):
    project = project_of(folder / "baseline")
    ways = [(harness, project), (plain, project), (bare, project)]
    turn_by_turn(1, *ways)
    seconds, ratios = turn_by_turn(15, *ways)
    print("baseline                   seconds  harness / it (at most 1.00)")
    names = ["python bare.py", "the same, one BLAS thread"]
    for name, took, ratio in zip(names, seconds[1:], ratios, strict=True):
        print(f"{name:26} {took:7.2f} {1 / ratio:13.2f}")
    print(f"{'harness':26} {seconds[0]:7.2f}")


def stack(folder):
    projects = [project_of(folder / name, train) for name, train in STACKS.items()]
    seconds, ratios = turn_by_turn(
        3, (bare, projects[0]), *((harness, project) for project in projects)
    )
    print(f"{'stack':20} seconds   / bare  / n_jobs=1")
    print(f"{'at most':28} {0.6:8.2f} {1.1:11.2f}")
    print(f"{'bare, n_jobs=1':20} {seconds[0]:7.1f}")
    for name, took, ratio in zip(STACKS, seconds[1:], ratios, strict=True):
        print(f"{name:20} {took:7.1f} {ratio:8.2f} {ratio / ratios[0]:11.2f}")


def size(folder):
    print(SIZE_HEADER)
    small = all_peaks(project_of(folder / "small"), project_of(folder / "none", DUMMY))
    for n_rows in (10**4, 10**5, 10**6):
        project = project_of(folder / f"{n_rows}", n_rows=n_rows)
        dummy = project_of(folder / f"dummy{n_rows}", DUMMY, n_rows)
        n = 3 if n_rows == 10**6 else 5
        (a, b), (ratio,) = turn_by_turn(n, (bare, project), (harness, project))
        table = pd.read_csv(project.path / "data" / "heart.csv").memory_usage().sum()
        large = all_peaks(project, dummy)
        more = [max(0, p - q) / table for p, q in zip(large, small, strict=True)]
        line = f"{n_rows:8} {a:7.2f} {b:10.2f} {ratio:6.2f} {table / 1e6:5.0f}"
        script, judge, candidate, least = more
        line += f" {script:6.1f} {judge:6.1f} {candidate:10.1f} {least:6.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    tables = {"baseline": baseline, "stack": stack, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or tables:
            tables[name](Path(folder))
            print()
