"""A row of the README's table for each train.py: the same folds, the same test part.

    uv run docs/reference-run/measure.py train.py docs/reference-run/*/train.py

The first is what the gains are over. As in a review, each fit is a candidate in its
sandbox.
"""

import contextlib
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import prepare
from review import gain

# Of a model: the fresh folds, and the test part.
N_JOBS = gain.REPEATS * gain.FOLDS + 1


@contextlib.contextmanager
def bench(paths):
    """({path: fork server} of each train.py, X, y): servers before there is data."""
    with contextlib.ExitStack() as stack:
        servers = {
            path: stack.enter_context(
                prepare.server_of(Path(path).read_bytes(), N_JOBS)
            )
            for path in paths
        }
        yield servers, *prepare.load_data()


def fits_of(name, server, X, y):
    """(val_auc, seconds of that score, Fits on fresh folds and the test part)."""
    begin = prepare.START = time.monotonic()
    scores, _ = prepare.score(server, X, y)
    seconds = time.monotonic() - begin
    fits, deadline = gain.Fits(), time.monotonic() + N_JOBS * prepare.BUDGET_S
    gain.fit_all(name, server, X, y, pairs_of(y), deadline, fits)
    return scores["val_auc"], seconds, fits


def pairs_of(y):
    """Pairs (fit rows, held-out rows): the fresh folds, then the test part."""
    train, test = prepare.split(y)[-1]
    return [*gain.fresh_folds(train, y), (train, test)]


def row(y, name, val_auc, seconds, fits, baseline):
    """The cells of one model, in Markdown; baseline: the Fits that gains are over."""
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
    with bench(sys.argv[1:]) as (servers, X, y):
        for path, server in servers.items():
            val_auc, seconds, fits = fits_of(path, server, X, y)
            baseline = baseline or fits
            print(row(y, path, val_auc, seconds, fits, baseline), flush=True)
