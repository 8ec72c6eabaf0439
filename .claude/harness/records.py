"""What an evaluation measured of a commit, kept in git's common directory.

All work trees share the records, no editor and no agent reads them. Without its record
a commit has to be evaluated again.
"""

import json
import math
import os
import sys
import zipfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from harness.git import state_folder

# -------------------------------------------------------------------- constants
DISTRIBUTIONS = ("scikit-learn", "pandas", "numpy", "lightgbm", "xgboost", "flaml")
# Differences of this many standard errors at most may be noise.
NOISE = 2


@dataclass
class Block:
    """What an evaluation says, a line for each field; metrics are "" after a crash."""

    # HEAD's hash; with -dirty if train.py differs from it, or "none".
    commit: str = ""
    hypothesis: str = ""
    val_auc: str = ""
    test_auc: str = ""
    test_acc: str = ""
    wall_time_s: str = ""
    # ok, or crashed (reason).
    status: str = ""


@dataclass
class Record:
    """What an evaluation measured: the block, and of a score the ranks of all rows.

    There are no arrays, but None, if train.py crashed.
    """

    block: Block
    # The SHA-256 of the table.
    table: str
    # {name: version} of Python and of the libraries.
    versions: dict[str, str]
    # AUCs by fold, (n_repeats, n_splits).
    fold_aucs: "np.ndarray | None" = None  # noqa: F821
    # Of each row's score among the rows held out with it, 1 the lowest, ties averaged:
    # (n_repeats, n_rows). Test rows are ranked among themselves.
    ranks: "np.ndarray | None" = None  # noqa: F821
    # The number of the fold that held a row out, -1 of test rows: (n_repeats, n_rows).
    folds: "np.ndarray | None" = None  # noqa: F821


def save(record: Record) -> None:
    """Keep the record of its block's commit, all of it or an OSError."""
    import numpy as np

    texts = {"block": asdict(record.block), "table": record.table}
    texts |= {"versions": record.versions}
    arrays = {name: np.array(json.dumps(text)) for name, text in texts.items()}
    if record.ranks is not None:
        # Ranks are halves of whole numbers: exact up to eight million rows.
        arrays |= {"ranks": np.float32(record.ranks), "folds": np.int16(record.folds)}
        arrays |= {"fold_aucs": record.fold_aucs}
    path = path_of(record.block.commit)
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read(commit: str) -> Record | None:
    """The record of a commit (full hash); None without one, or if it is damaged."""
    import numpy as np

    try:
        with np.load(path_of(commit)) as arrays:
            record = dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    texts = {n: json.loads(str(record.pop(n))) for n in ("block", "table", "versions")}
    texts["block"] = Block(**texts["block"])
    return Record(**texts, **record)


def path_of(commit: str) -> Path:
    """The file of a commit's record, which may not exist."""
    return state_folder() / f"{commit}.npz"


def versions() -> dict[str, str]:
    """{name: version} of Python and of the libraries that a score depends on."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: version(name) for name in DISTRIBUTIONS}


def gain_against(commit: str, bar: str) -> str:
    """The line on the noise that a commit's gain over the bar's has; "" without one."""
    new, old = read(commit), read(bar)
    if not new or not old or new.fold_aucs is None or old.fold_aucs is None:
        return ""
    if new.fold_aucs.shape != old.fold_aucs.shape:
        return ""
    differences = (new.fold_aucs - old.fold_aucs).ravel()
    noise = NOISE * standard_error(differences, new.fold_aucs.shape[1])
    up, n = (differences > 0).sum(), len(differences)
    word = "larger than" if abs(differences.mean()) > noise else "within"
    error = f"± {noise:.4f} ({NOISE} standard errors) over the folds"
    return f"{error}, {up} of {n} up: {word} the noise"


def standard_error(differences, n_splits: int) -> float:
    """That of the mean of paired differences over the folds of a cross-validation.

    differences: (n_repeats * n_splits,). Training sets overlap, so the variance of the
    mean is sd² (1/n + n_held/n_fit), not sd²/n (Nadeau and Bengio, 2003).
    """
    n, mean = len(differences), sum(differences) / len(differences)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    return math.sqrt(variance * (1 / n + 1 / (n_splits - 1)))
