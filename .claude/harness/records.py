"""What an evaluation measured of a commit, kept in git's common directory.

All work trees share the records, no editor and no agent reads them. Without its record
a commit has to be evaluated again.
"""

import json
import os
import sys
import zipfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from harness.git import state_folder

# -------------------------------------------------------------------- constants
DISTRIBUTIONS = ("scikit-learn", "pandas", "numpy", "lightgbm", "xgboost", "flaml")
# What of a record is text in its file, each as JSON; the rest are arrays.
TEXTS = ("block", "table", "versions", "bar", "error")


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
    # The bar's commit at that time, "" without one, and the standard error over rows of
    # the gain in val_auc over it.
    bar: str = ""
    error: float = 0.0


def save(record: Record) -> None:
    """Keep the record of its block's commit, all of it or an OSError."""
    import numpy as np

    texts = {name: getattr(record, name) for name in TEXTS}
    texts["block"] = asdict(record.block)
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
    if not (path := path_of(commit)).exists():
        return None
    import numpy as np

    try:
        with np.load(path) as arrays:
            record = dict(arrays)
        texts = {name: json.loads(str(record.pop(name))) for name in TEXTS}
    # A KeyError: it was written by an older harness.
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    texts["block"] = Block(**texts["block"])
    return Record(**texts, **record)


def path_of(commit: str) -> Path:
    """The file of a commit's record, which may not exist."""
    return state_folder() / f"{commit}.npz"


def versions() -> dict[str, str]:
    """{name: version} of Python and of the libraries that a score depends on."""
    python = ".".join(map(str, sys.version_info[:3]))
    return {"python": python} | {name: version(name) for name in DISTRIBUTIONS}
