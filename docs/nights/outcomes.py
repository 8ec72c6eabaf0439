"""The rows of outcomes.csv for a night that has ended, from what is in its folder:

    uv run prepare.py review --json > review.json
    uv run outcomes.py "credit-g" 1921 >> outcomes.csv

The folder has the run autoresearch/night, review.json, and of automl.py flaml.json and
autogluon.json. The seconds are those that the night took. A method's errors are
DeLong's, paired, over the test rows.
"""

import csv
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.append(os.getcwd())

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

import prepare
from harness import noise, ratchet, records
from harness.git import git


@dataclass
class Outcome:
    """A row of outcomes.csv: what a method reached on a table."""

    night: str
    # start, last keep, chosen (of the night), FLAML or AutoGluon.
    method: str
    # The commit that the folder was made from.
    template: str
    # Of the night alone.
    iteration: str
    # Wall clock: of the night from its first evaluation to its last row, without what
    # the protocol does not count (whole minutes for phoneme, spambase and both in
    # disguise); of AutoML its search.
    seconds: float
    # By the method's own folds, on the train part.
    val_auc: float
    n_test: int
    test_auc: float
    # The test AUC less that of the start, and less that of the chosen commit.
    over_start: float
    over_start_se: float
    over_chosen: float
    over_chosen_se: float
    # The review's, on rows that did not choose; of the chosen commit alone.
    corrected: float | str = ""
    corrected_se: float | str = ""


def methods(run: ratchet.Run, chosen: int, seconds: float, test) -> dict[str, tuple]:
    """{method: (iteration, seconds, val_auc, scores or ranks of the test rows)}.

    chosen: the iteration that the review takes; seconds: of the night; test: the
    numbers of the test rows, (n_test,).
    """
    keeps = [(n, row) for n, row in run.numbered if row.status == "keep"]
    picked = {"start": keeps[0], "last keep": keeps[-1]}
    picked["chosen"] = next(keep for keep in keeps if keep[0] == chosen)
    found = {}
    for method, (number, row) in picked.items():
        ranks = records.read(row.commit).ranks[0, test]
        found[method] = str(number), seconds, float(row.val_auc), ranks
    for method in ("FLAML", "AutoGluon"):
        file = json.loads(Path(f"{method.lower()}.json").read_text())
        found[method] = "", file["seconds"], file["val_auc"], file["scores"]
    return found


def outcomes(
    night: str, seconds: float, run: ratchet.Run, review: dict
) -> list[Outcome]:
    """The rows of a night, in the order of methods()."""
    _, y = prepare.load_data()
    test = prepare.split(y)[-1][1]
    y_test, rows = y[test], []
    template = git("rev-parse", "--short=7", f"{run.base}~1")
    found = methods(run, review["chosen"]["iteration"], seconds, test)
    ranks = {method: rankdata(scores) for method, (*_, scores) in found.items()}
    for method, (iteration, took, val_auc, _) in found.items():
        gains = []
        for other in ("start", "chosen"):
            gains += gain(y_test, ranks[method], ranks[other])
        outcome = Outcome(
            *(night, method, template, iteration, round(took), val_auc),
            *(len(y_test), roc_auc_score(y_test, ranks[method]), *gains),
        )
        if method == "chosen" and review["gain"]:
            outcome.corrected = review["gain"]["mean"]
            outcome.corrected_se = review["gain"]["se"]
        rows.append(outcome)
    return rows


def gain(y, ranks, others) -> tuple[float, float]:
    """How much AUC ranks (n_rows,) have more than others, and its standard error."""
    folds = np.zeros((1, len(y)), dtype=int)
    error = noise.error_of_gain(y, folds, ranks[None], others[None])
    return roc_auc_score(y, ranks) - roc_auc_score(y, others), error


if __name__ == "__main__":
    run = ratchet.read_run("autoresearch/night")
    review = json.loads(Path("review.json").read_text())
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for outcome in outcomes(sys.argv[1], float(sys.argv[2]), run, review):
        cells = asdict(outcome).values()
        writer.writerow(f"{c:.6f}" if isinstance(c, float) else c for c in cells)
