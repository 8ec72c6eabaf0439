"""A row of the README's table for each train.py: the same folds, the same test part.

    uv run docs/reference-run/measure.py train.py docs/reference-run/*/train.py

The first is what the gains are over. As in a review, each fit is a candidate in its
sandbox.
"""

import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import prepare
from review import gain


def fits_of(path):
    """(val_auc, seconds of that score, Fits on fresh folds and the test part)."""
    fits, source = gain.Fits(), Path(path).read_bytes()
    n_jobs = gain.REPEATS * gain.FOLDS + 1
    with prepare.server_of(source, n_jobs) as server:
        X, y = prepare.load_data()
        begin = prepare.START = time.monotonic()
        scores, _ = prepare.score(server, X, y)
        seconds = time.monotonic() - begin
        pairs = pairs_of(y)
        deadline = time.monotonic() + n_jobs * prepare.BUDGET_S
        gain.fit_all(path, server, X, y, pairs, deadline, fits)
    return scores["val_auc"], seconds, fits


def pairs_of(y):
    """Pairs (fit rows, held-out rows): the fresh folds, then the test part."""
    train, test = prepare.split(y)[-1]
    return [*gain.fresh_folds(train, y), (train, test)]


def row(name, val_auc, seconds, fits, baseline):
    """The cells of one model, in Markdown; baseline: the Fits that gains are over."""
    _, y = prepare.load_data()
    *pairs, (_, test) = pairs_of(y)
    both = {"baseline": baseline, name: fits}
    fresh = gain.on_fresh_folds(y, pairs, both)[name]
    finals = {name: fits.answers[len(pairs)]}
    tested = gain.on_test(y[test], finals)[name]
    cells = [name, f"{val_auc:.4f}", f"{fresh['mean']:.4f}", gain_cell(fresh)]
    for key in gain.TEST:
        low, high = tested[f"{key}_interval"]
        cells.append(f"{tested[key]:.3f} [{low:.3f}, {high:.3f}]")
    return f"| {' | '.join(cells)} | {seconds:.1f} s |"


def gain_cell(fresh):
    """A gain on the fresh folds with its corrected standard error."""
    if "gain" not in fresh:
        return ""
    test = fresh["gain"]
    return f"{test['mean']:+.4f} ± {test['standard_error']:.4f}, p = {test['p']:.2g}"


if __name__ == "__main__":
    baseline = None
    for path in sys.argv[1:]:
        val_auc, seconds, fits = fits_of(path)
        baseline = baseline or fits
        print(row(path, val_auc, seconds, fits, baseline), flush=True)
