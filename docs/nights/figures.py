"""The tables of the study again from outcomes.csv, and its picture:

    uv run docs/nights/figures.py

It prints three tables in Markdown (all outcomes with their means, differences, and the
gains of each night) and writes outcomes.png beside it.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

sys.path.append(str(Path(__file__).resolve().parents[2] / ".claude"))

from harness.noise import IN_95_PERCENT

HERE = Path(__file__).parent
# Bootstrap samples of tables, and their seed.
SAMPLES, SEED = 10_000, 1993
# Nights that are beside the eight tables of the primary outcome.
HEART, DISGUISED = "heart", "in disguise"
METHODS = ("chosen", "last keep", "FLAML", "AutoGluon")
COLORS = {"chosen": "#0b7a5b", "FLAML": "#c07a00", "AutoGluon": "#1f5fbf"}
LABELS = {"chosen": "the night: the chosen commit"}


def read() -> pd.DataFrame:
    """outcomes.csv; index: night and method, in the order of the file."""
    return pd.read_csv(HERE / "outcomes.csv").set_index(["night", "method"])


def is_primary(night: str) -> bool:
    """Whether a night is one of those that are pooled."""
    return night != HEART and not night.endswith(DISGUISED)


def interval(values, errors) -> tuple[float, float]:
    """The 95 % interval of the mean over tables: (n_tables,) and their rows' errors.

    A sample draws tables with replacement, and for each a normal error of its rows.
    """
    random = np.random.default_rng(SEED)
    drawn = random.integers(len(values), size=(SAMPLES, len(values)))
    noise = random.standard_normal(drawn.shape) * errors[drawn]
    low, high = np.percentile((values[drawn] + noise).mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def of(outcomes: pd.DataFrame, method: str, column: str) -> np.ndarray:
    """A column of a method, for each of the primary nights."""
    nights = [n for n in outcomes.index.unique("night") if is_primary(n)]
    return outcomes.xs(method, level="method").loc[nights, column].to_numpy()


def differences(outcomes: pd.DataFrame) -> dict[str, tuple]:
    """{difference: (its value on each primary table, the error over its test rows)}."""
    found = {}
    for method in ("FLAML", "AutoGluon"):
        errors = of(outcomes, method, "over_chosen_se")
        gain = -of(outcomes, method, "over_chosen")
        found[f"test gain: chosen less {method}"] = gain, errors
    for method in ("last keep", "chosen"):
        climb = of(outcomes, method, "val_auc") - of(outcomes, "start", "val_auc")
        found[f"{method}: val gain less test gain"] = less_test(outcomes, method, climb)
    corrected = of(outcomes, "chosen", "corrected")
    gap = less_test(outcomes, "chosen", corrected)
    return found | {"chosen: corrected gain less test gain": gap}


def less_test(outcomes: pd.DataFrame, method: str, gain) -> tuple:
    """A gain less the one on the test part, and the error of the latter."""
    on_test = of(outcomes, method, "over_start")
    return gain - on_test, of(outcomes, method, "over_start_se")


def print_tables(outcomes: pd.DataFrame) -> None:
    """All tables of the study."""
    print_outcomes(outcomes)
    print_pooled(outcomes)
    print_gains(outcomes)


def print_outcomes(outcomes: pd.DataFrame) -> None:
    """A row for each night: the AUC of the start, and the gains, on the test part."""
    print("| table | test rows | start | chosen | last keep | FLAML | AutoGluon |")
    print("|---|---|---|---|---|---|---|")
    for night in outcomes.index.unique("night"):
        of_night = outcomes.loc[night]
        start = of_night.loc["start"]
        cells = [night, f"{start.n_test:.0f}", f"{start.test_auc:.3f}"]
        for method in METHODS:
            row = of_night.loc[method]
            cells.append(with_interval(row.over_start, row.over_start_se))
        print(f"| {' | '.join(cells)} |")


def with_interval(gain: float, error: float) -> str:
    """A gain over the start; with its 95 % interval where its error is known."""
    if np.isnan(gain):
        return "not recorded"
    interval = "" if np.isnan(error) else f" ± {IN_95_PERCENT * error:.3f}"
    return f"{gain:+.3f}{interval}"


def print_pooled(outcomes: pd.DataFrame) -> None:
    """The means over the primary tables: the last row above, and the differences."""
    starts = of(outcomes, "start", "test_auc")
    n_rows = of(outcomes, "start", "n_test").sum()
    cells = [f"mean of {len(starts)} tables", f"{n_rows:.0f}", f"{starts.mean():.3f}"]
    for method in METHODS:
        gains = of(outcomes, method, "over_start")
        cells.append(mean_of(gains, of(outcomes, method, "over_start_se")))
    print(f"| {' | '.join(cells)} |")
    print(f"\n| mean of {len(starts)} tables | AUC, 95 % interval |\n|---|---|")
    for label, found in differences(outcomes).items():
        print(f"| {label} | {mean_of(*found)} |")


def mean_of(values, errors) -> str:
    """The mean over tables, with its 95 % interval."""
    low, high = interval(values, errors)
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


def print_gains(outcomes: pd.DataFrame) -> None:
    """A row for each night: three gains of the chosen commit, each on other rows."""
    print("\n| the chosen commit | val gain | corrected gain | test gain |")
    print("|---|---|---|---|")
    starts = outcomes.xs("start", level="method")
    for night, row in outcomes.xs("chosen", level="method").iterrows():
        val_gain = f"{row.val_auc - starts.val_auc[night]:+.3f}"
        corrected = with_interval(row.corrected, row.corrected_se)
        on_test = with_interval(row.over_start, row.over_start_se)
        print(f"| {night} | {val_gain} | {corrected} | {on_test} |")


def draw(outcomes: pd.DataFrame) -> None:
    """The gains on the test part by table and method, with intervals."""
    matplotlib.rcdefaults()
    nights = [*outcomes.index.unique("night")]
    figure = Figure(figsize=(8, 0.9 + 0.5 * len(nights)), dpi=160, facecolor="white")
    axes = figure.add_subplot(xlabel="gain in AUC over the start, on the test part")
    axes.axvline(0, color="#8a8a8a", lw=0.8)
    for shift, (method, color) in enumerate(COLORS.items()):
        rows = outcomes.xs(method, level="method").loc[nights]
        axes.errorbar(
            rows.over_start,
            np.arange(len(nights)) + 0.2 * (shift - 1),
            xerr=IN_95_PERCENT * rows.over_start_se,
            fmt="o",
            ms=4,
            lw=1.2,
            color=color,
            label=LABELS.get(method, f"{method}, same time"),
        )
    starts = outcomes.xs("start", level="method").loc[nights, "test_auc"]
    labels = [f"{night}\nstart {auc:.3f}" for night, auc in starts.items()]
    axes.set_yticks(range(len(nights)), labels)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    figure.savefig(HERE / "outcomes.png", bbox_inches="tight")


if __name__ == "__main__":
    outcomes = read()
    print_tables(outcomes)
    draw(outcomes)
