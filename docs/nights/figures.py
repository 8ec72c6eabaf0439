"""Every figure of the study again from outcomes.csv, and its picture:

    uv run docs/nights/figures.py

It prints a table of all outcomes and one of the pooled figures, in Markdown, and writes
outcomes.png beside it.
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
COLORS = {"chosen": "#0b7a5b", "FLAML": "#c07a00", "AutoGluon": "#1f5fbf"}
LABELS = {"chosen": "the night's chosen commit"}


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


def pooled(outcomes: pd.DataFrame) -> dict[str, tuple]:
    """{figure: (value of each table, its error over rows)}, of the primary nights."""
    nights = [n for n in outcomes.index.unique("night") if is_primary(n)]

    def of(method: str, column: str):
        return outcomes.xs(method, level="method").loc[nights, column].to_numpy()

    found = {}
    for method, label in (
        ("chosen", "test gain of the chosen commit"),
        ("last keep", "test gain of the last keep"),
        ("FLAML", "test gain of FLAML"),
        ("AutoGluon", "test gain of AutoGluon"),
    ):
        found[label] = of(method, "over_start"), of(method, "over_start_se")
    for method in ("FLAML", "AutoGluon"):
        errors = of(method, "over_chosen_se")
        found[f"chosen commit less {method}"] = -of(method, "over_chosen"), errors
    for method in ("last keep", "chosen"):
        climb = of(method, "val_auc") - of("start", "val_auc")
        gap, errors = climb - of(method, "over_start"), of(method, "over_start_se")
        found[f"val gain less test gain, {method}"] = gap, errors
    gap = of("chosen", "corrected") - of("chosen", "over_start")
    errors = of("chosen", "over_start_se")
    found["corrected gain less test gain, chosen"] = gap, errors
    return found


def print_outcomes(outcomes: pd.DataFrame) -> None:
    """A row for each night: the start, then the gains on the test part."""
    print("| table | test rows | start | chosen | last keep | FLAML | AutoGluon |")
    print("|---|---|---|---|---|---|---|")
    for night in outcomes.index.unique("night"):
        of_night = outcomes.loc[night]
        start = of_night.loc["start"]
        cells = [night, f"{start.n_test:.0f}", f"{start.test_auc:.3f}"]
        for method in ("chosen", "last keep", "FLAML", "AutoGluon"):
            row = of_night.loc[method]
            half = IN_95_PERCENT * row.over_start_se
            cells.append(f"{row.over_start:+.3f} ± {half:.3f}")
        print(f"| {' | '.join(cells)} |")


def print_pooled(outcomes: pd.DataFrame) -> None:
    """The pooled figures, each a mean over tables with its 95 % interval."""
    found = pooled(outcomes)
    n = len(next(iter(found.values()))[0])
    if n < 2:
        return
    print(f"\n| mean over {n} tables | AUC | 95 % interval |\n|---|---|---|")
    for label, (values, errors) in found.items():
        low, high = interval(values, errors)
        print(f"| {label} | {values.mean():+.4f} | [{low:+.4f}, {high:+.4f}] |")


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
            label=LABELS.get(method, f"{method}, as long"),
        )
    starts = outcomes.xs("start", level="method").loc[nights, "test_auc"]
    labels = [f"{night}\n{auc:.3f}" for night, auc in starts.items()]
    axes.set_yticks(range(len(nights)), labels)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    figure.savefig(HERE / "outcomes.png", bbox_inches="tight")


if __name__ == "__main__":
    outcomes = read()
    print_outcomes(outcomes)
    print_pooled(outcomes)
    draw(outcomes)
