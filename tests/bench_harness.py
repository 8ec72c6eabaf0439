"""What the harness costs: `uv run tests/bench_harness.py [baseline|size ...]`.

Ratios within one run: each pair is measured turn by turn, the median counts.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
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
HARNESS, SCRIPT = ("prepare.py", "evaluate"), ("bare.py",)
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
# Each way to score train.py: the arguments of Python, and more of the environment.
WAYS = {
    "prepare.py evaluate": (HARNESS, {}),
    "python bare.py": (SCRIPT, {}),
    "the same, one thread": (SCRIPT, ONE_THREAD),
}


def project_of(folder, n_rows=None):
    """A copy of the repository, its table repeated to n_rows."""
    others = shutil.ignore_patterns(".git", ".venv", "docs", "tests")
    shutil.copytree(ROOT, folder, ignore=others)
    (folder / "bare.py").write_text(BARE)
    if n_rows:
        frame = pd.read_csv(TABLE)
        copies = pd.concat([frame] * (n_rows // len(frame) + 1))[:n_rows]
        copies.to_csv(folder / "data" / "heart.csv", index=False)
    return folder


def measure(project, way):
    """(seconds, peak bytes of its largest process) of a way to score train.py."""
    arguments, more = WAYS[way]
    start = time.monotonic()
    with (project / "said.txt").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=project,
            env=os.environ | more,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - start
    text = (project / "said.txt").read_text()
    assert re.search(r"^val_auc: 0\.[5-9]", text, re.M), text
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return seconds, usage.ru_maxrss * unit


def turn_by_turn(project, ways, n):
    """Median (seconds, bytes) of each way, and median ratios of seconds to the last."""
    rounds = [[measure(project, way) for way in ways] for _ in range(n)]
    ratios = [[seconds / turn[-1][0] for seconds, _ in turn] for turn in rounds]
    return [medians(turns) for turns in zip(*rounds, strict=True)], medians(ratios)


def medians(rows):
    """The median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def baseline(folder):
    project = project_of(folder / "baseline")
    turn_by_turn(project, WAYS, 1)
    measured, ratios = turn_by_turn(project, WAYS, 15)
    print("baseline               seconds  / the last")
    for way, (seconds, _), ratio in zip(WAYS, measured, ratios, strict=True):
        print(f"{way:22} {seconds:7.2f} {ratio:11.2f}")


def size(folder):
    ways = ["prepare.py evaluate", "the same, one thread"]
    small, _ = turn_by_turn(project_of(folder / "small"), ways, 1)
    print("          seconds                peak memory of a process, less")
    print("   rows   harness    bare  ratio  that of 303 rows, / table: harness, bare")
    print("at most                     1.10                                 3")
    for n_rows, n in {10**4: 5, 10**5: 5, 10**6: 3}.items():
        project = project_of(folder / str(n_rows), n_rows)
        measured, (ratio, _) = turn_by_turn(project, ways, n)
        table = pd.read_csv(project / "data" / "heart.csv").memory_usage().sum()
        more = [(m[1] - s[1]) / table for m, s in zip(measured, small, strict=True)]
        seconds = f"{measured[0][0]:9.2f} {measured[1][0]:7.2f} {ratio:6.2f}"
        print(f"{n_rows:7} {seconds} {more[0]:32.1f} {more[1]:6.1f}", flush=True)


if __name__ == "__main__":
    tables = {"baseline": baseline, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or tables:
            tables[name](Path(folder))
            print()
