"""What the harness costs: `uv run tests/bench_harness.py [baseline|stack|size ...]`.

Ratios within one run: each pair is measured turn by turn, the median counts.
"""

import hashlib
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
                ("forest", RandomForestClassifier(200, random_state=0{n_jobs})),
                ("trees", ExtraTreesClassifier(200, random_state=0{n_jobs})),
                ("boost", GradientBoostingClassifier(random_state=0)),
                ("light", LGBMClassifier(verbose=-1, random_state=0{light})),
                ("svm", SVC(probability=True, random_state=0)),
            ],
            LogisticRegression(){n_jobs},
        ),
    )
"""
SERIAL = STACK.format(n_jobs=", n_jobs=1", light=", n_jobs=1")
STACKS = {
    "n_jobs=1": (", n_jobs=1", ", n_jobs=1"),
    "n_jobs=-1": (", n_jobs=-1", ", n_jobs=-1"),
    "LightGBM's default": (", n_jobs=1", ""),
}


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
        content = (folder / "data" / "heart.csv").read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        harness = (folder / "prepare.py").read_text()
        known = re.sub(
            '^DATA_SHA256 = ".*"', f'DATA_SHA256 = "{digest}"', harness, flags=re.M
        )
        (folder / "prepare.py").write_text(known)
    return project


def bare(project, one_thread=True):
    """Seconds of the bare script, serial as it is."""
    pools = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    environ = os.environ | dict.fromkeys(pools if one_thread else [], "1")
    return clock(project, ["bare.py"], environ)


def harness(project):
    """Seconds of `prepare.py evaluate`."""
    return clock(project, ["prepare.py", "evaluate"], os.environ)


def clock(project, arguments, environ):
    """Seconds of a Python program in the project."""
    start = time.monotonic()
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=project.path, env=environ, capture_output=True, text=True
    )
    assert float(block_of(done.stdout)["val_auc"]) > 0.5, done.stdout + done.stderr
    return time.monotonic() - start


def run(project, train, how):
    """Seconds of the project with this train.py."""
    (project.path / "train.py").write_text(train)
    return how(project)


def pairs(first, second, n):
    """Median seconds of both, and of the ratio second / first, turn by turn."""
    runs = [(first(), second()) for _ in range(n)]
    ratios = [b / a for a, b in runs]
    return [statistics.median(xs) for xs in (*zip(*runs, strict=True), ratios)]


# ------------------------------------------------------------------------- memory
class Peaks(threading.Thread):
    """Peak memory (Pss, bytes) of a run's supervisor, and of its greatest candidate."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.supervisor, self.candidate = pid, 0, 0

    def run(self):
        while Path(f"/proc/{self.pid}").exists():
            self.supervisor = max(self.supervisor, memory(self.pid))
            grandchildren = [g for c in children(self.pid) for g in children(c)]
            self.candidate = max([self.candidate, *map(memory, grandchildren)])
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


def peaks(project):
    """(supervisor, candidate) of one run."""
    command = [sys.executable, "prepare.py", "evaluate"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=project.path, **quiet) as process:
        watch = Peaks(process.pid)
        watch.start()
        while process.poll() is None:
            time.sleep(0.05)
        watch.join()
    return watch.supervisor, watch.candidate


# --------------------------------------------------------------------- the tables
def baseline(folder):
    project = project_of(folder / "baseline")
    harness(project), bare(project)
    a, b, ratio = pairs(lambda: bare(project), lambda: harness(project), 15)
    print("                 bare s  harness s  ratio (at most 1.00)")
    print(f"baseline         {a:6.2f} {b:10.2f} {ratio:6.2f}")


def stack(folder):
    print("stack                bare s  harness s  ratio (at most 0.60)")
    project, seconds = project_of(folder / "stack"), {}
    for name, (n_jobs, light) in STACKS.items():
        variant = STACK.format(n_jobs=n_jobs, light=light)
        first = lambda: run(project, SERIAL, bare)  # noqa: E731
        second = lambda v=variant: run(project, v, harness)  # noqa: E731
        a, b, ratio = pairs(first, second, 3)
        seconds[name] = b
        print(f"{name:20} {a:6.1f} {b:10.1f} {ratio:6.2f}", flush=True)
    for name in list(STACKS)[1:]:
        ratio = seconds[name] / seconds["n_jobs=1"]
        print(f"{name} / n_jobs=1: {ratio:.2f} (at most 1.10)")


def size(folder):
    empty = peaks(project_of(folder / "small"))
    print("rows      bare s  harness s  ratio  table MB  supervisor  candidate")
    print("                          (1.10 at 1e6)       (times the table, at most 3)")
    for n_rows in (10**4, 10**5, 10**6):
        project = project_of(folder / f"rows{n_rows}", n_rows=n_rows)
        n = 3 if n_rows == 10**6 else 5
        a, b, ratio = pairs(lambda p=project: bare(p), lambda p=project: harness(p), n)
        table = pd.read_csv(project.path / "data" / "heart.csv").memory_usage().sum()
        more = [
            max(0, p - e) / table for p, e in zip(peaks(project), empty, strict=True)
        ]
        times = f"{table / 1e6:9.1f} {more[0]:11.1f} {more[1]:10.1f}"
        print(f"{n_rows:8} {a:7.2f} {b:10.2f} {ratio:6.2f} {times}", flush=True)


if __name__ == "__main__":
    tables = {"baseline": baseline, "stack": stack, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or tables:
            tables[name](Path(folder))
            print()
