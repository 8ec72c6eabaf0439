"""What a scored commit of a run measured, fold by fold: kept beside its row.

A record lies in git's common directory, so all worktrees share it and the agent can't
read it. It is a cache: without it the log says no more than the row does, and the
review scores again.
"""

import json
import math
import os
import shutil
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

from harness.ratchet import git

# ---------------------------------------------------------------- constants
DISTRIBUTIONS = ["scikit-learn", "pandas", "numpy", "lightgbm", "xgboost", "flaml"]
# So many standard errors are the noise.
NOISE = 2


def folder():
    """The folder of the records, which may not exist yet."""
    common = git("rev-parse", "--path-format=absolute", "--git-common-dir")
    return Path(common, "autoresearch")


def save(commit, fold_aucs, ranks, folds):
    """Keep what was measured of a commit, in one step.

    fold_aucs: (n_repeats, n_splits); ranks: of each row's score among the held-out rows
    of its fold, 1 the lowest, NaN for test rows: (n_repeats, n_rows); folds: the number
    of that fold, -1 for test rows: (n_repeats, n_rows).
    """
    import numpy as np

    place = folder()
    place.mkdir(exist_ok=True)
    part = place / f"{commit}.{os.getpid()}.part"
    arrays = {"fold_aucs": fold_aucs, "versions": np.array(json.dumps(versions()))}
    # Ranks are halves of whole numbers: exact up to eight million rows.
    arrays |= {"ranks": np.float32(ranks), "folds": np.int16(folds)}
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    part.replace(place / f"{commit}.npz")


def read(commit):
    """The record of a commit (full hash or its start), as save() had it, or None.

    "versions" are those of Python and the libraries it was measured with.
    """
    import numpy as np

    for path in folder().glob(f"{commit}*.npz"):
        try:
            with np.load(path) as arrays:
                record = dict(arrays)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        return record | {"versions": json.loads(str(record["versions"]))}
    return None


def put_away(run_log, commit):
    """Move the log of a commit's run to its record."""
    folder().mkdir(exist_ok=True)
    shutil.move(run_log, folder() / f"{commit}.log")


def versions():
    """{name: version} of Python and of the libraries that a score depends on."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: version(name) for name in DISTRIBUTIONS}


def gain_against(commit, bar):
    """The line on the noise that a commit's gain over the bar's has, or None."""
    new, old = read(commit), read(bar)
    if not new or not old or new["fold_aucs"].shape != old["fold_aucs"].shape:
        return None
    differences = (new["fold_aucs"] - old["fold_aucs"]).ravel()
    n_splits = new["fold_aucs"].shape[1]
    noise = NOISE * standard_error(differences, n_splits)
    up, n = (differences > 0).sum(), len(differences)
    word = "larger than" if abs(differences.mean()) > noise else "within"
    error = f"± {noise:.4f} ({NOISE} standard errors) over the folds"
    return f"{error}, {up} of {n} up: {word} the noise"


def standard_error(differences, n_splits):
    """That of the mean of paired differences over the folds of a cross-validation.

    differences: (n_repeats * n_splits,). Training sets overlap, so the variance of the
    mean is sd² (1/n + n_held/n_fit), not sd²/n (Nadeau and Bengio, 2003).
    """
    n, mean = len(differences), sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    return math.sqrt(variance * (1 / n + 1 / (n_splits - 1)))
