"""The picture of a run: what the ratchet climbed, and what holds on other rows."""

from pathlib import Path
from textwrap import wrap

import matplotlib
from matplotlib.figure import Figure

from harness.ratchet import Run, difference
from review import text
from review.findings import Keep, Review

# Inches, in the shape of a link's preview; left, bottom, width and height of the plot.
SIZE, DPI, PLOT = (10, 5.25), 192, (0.085, 0.1, 0.5, 0.65)
# The list of ideas: its left edge, and its width and height in points.
LIST, WIDTH, HEIGHT = 0.605, 0.385 * 10 * 72, 0.72 * 5.25 * 72
# Sizes of letters in points, and lines of an idea at most: the first in which all fit.
FITS = (
    *((size, 99) for size in (9, 8, 7.5, 7, 6.5, 6)),
    (6, 4),
    (6, 3),
    (6, 2),
    (6, 1),
)
# Width and height of a monospaced letter, in points of its size.
LETTER, LINE = 0.63, 1.3
SENTENCE = 150  # characters in a line
INK, GREY, KEPT, HOLDS = "#1c1c1c", "#8a8a8a", "#0b7a5b", "#1f5fbf"
BAND, CRASHED = "#f6e7c1", "#c0392b"


def draw(path: Path, review: Review, run: Run) -> None:
    """Write the picture of what a review found of a run with a score."""
    with matplotlib.rc_context():
        # The same picture for everybody, whatever a matplotlibrc says.
        matplotlib.rcdefaults()
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
        axes = figure.add_axes(PLOT, xlabel="iteration", ylabel="val AUC")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        draw_scores(axes, review, run)
        draw_crashes(axes, run)
        write_words(figure, review)
        list_ideas(figure, review.keeps, review.chosen)
        figure.savefig(path)


def draw_scores(axes, review: Review, run: Run) -> None:
    """The staircase, the discards, luck's band, and what holds on other rows."""
    start, last = review.keeps[0].val_auc, run.numbers[-1]
    x = [keep.iteration for keep in review.keeps]
    y = [keep.val_auc for keep in review.keeps]
    scored = [number for number, row in run.numbered if row.val_auc]
    if review.luck:
        edge = [start + climb for climb in review.luck.band]
        at, edge = [*scored, last], [*edge, edge[-1]]
        label = "luck alone: 19 of 20 nights"
        axes.fill_between(at, start, edge, step="post", color=BAND, lw=0, label=label)
    foot = min(y) - max(0.7 * (max(y) - min(y)), 0.005)
    failed = [(n, float(r.val_auc)) for n, r in run.numbered if r.status == "discard"]
    look = {"s": 16, "color": GREY, "alpha": 0.6, "lw": 0}
    near = [(number, value) for number, value in failed if value >= foot]
    if near:
        axes.scatter(*zip(*near, strict=True), label="discarded", **look)
    # Far below the keeps a discard is a triangle at the foot.
    if far := [number for number, value in failed if value < foot]:
        axes.scatter(far, [foot] * len(far), marker="v", label="far lower", **look)
    axes.step([*x, last], [*y, y[-1]], where="post", color=KEPT, lw=1.8)
    axes.scatter(x, y, s=34, color=KEPT, zorder=3, label="kept")
    gains = [(keep.iteration, keep.gain) for keep in review.keeps[1:] if keep.gain]
    bars = [(i, start + g.mean, g.interval[1] - g.mean) for i, g in gains]
    if bars:
        look = {"fmt": "D", "ms": 4, "color": HOLDS, "elinewidth": 1, "alpha": 0.8}
        label = "on rows that did not choose it (95 %)"
        axes.errorbar(*zip(*bars, strict=True), label=label, **look)
    if review.chosen and len(review.keeps) > 1:
        at = review.chosen.iteration, review.chosen.val_auc
        axes.scatter(*at, s=150, facecolor="none", edgecolor=INK, lw=1.5, zorder=4)
        words = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
        axes.annotate("chosen", at, size=9, weight="bold", **words)
    axes.margins(y=0.12)


def draw_crashes(axes, run: Run) -> None:
    """A cross at the foot for each crash, and the legend of all."""
    if crashed := [number for number, row in run.numbered if row.status == "crash"]:
        look = {"marker": "x", "s": 20, "color": CRASHED, "lw": 1, "label": "crashed"}
        foot = axes.get_xaxis_transform()
        axes.scatter(crashed, [0.02] * len(crashed), transform=foot, **look)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 6}
    look = {"columnspacing": 1, "handletextpad": 0.3, "labelcolor": GREY}
    axes.legend(frameon=False, fontsize=7, **place, **look)


def write_words(figure, review: Review) -> None:
    """The verdict as the title, then the scores and counts, then what explains both."""
    keeps, left = review.keeps, PLOT[0]
    counts = text.counts(review).removeprefix(f"{review.run}: ")
    climb = f" → {keeps[-1].val_auc:.4f}" * (len(keeps) > 1)
    scores = f"{review.run}: val AUC {keeps[0].val_auc:.4f}{climb}"
    if review.verdict:
        title, line = review.verdict, f"{scores}; {counts}"
        lines = text.reconciliation(review)
    else:
        # A run under way has no verdict yet.
        title, line, lines = scores, counts, text.luck_lines(review)
    look = {"size": 14, "weight": "bold", "color": INK, "parse_math": False}
    figure.text(left, 0.925, title, **look)
    figure.text(left, 0.885, line, size=9, color=GREY, parse_math=False)
    words = "\n".join(wrap(" ".join(map(str.strip, lines)), SENTENCE))
    figure.text(left, 0.865, words, size=9, va="top", parse_math=False)


def list_ideas(figure, keeps: list[Keep], chosen: Keep | None) -> None:
    """The kept ideas right of the plot, whole where there is room for all of them."""
    for size, n_lines in FITS:
        ideas = [idea_lines(k, k is chosen, size, n_lines) for k in keeps]
        n_fit = int(HEIGHT / (LINE * size))
        if sum(map(len, ideas)) <= n_fit:
            break
    lines = [line for idea in ideas for line in idea]
    if len(lines) > n_fit:
        lines = [f"the last {n_fit - 1} keeps:", *lines[1 - n_fit :]]
    look = {"size": size, "family": "monospace", "va": "top", "linespacing": LINE}
    words = "\n".join(lines)
    figure.text(LIST, PLOT[1] + PLOT[3], words, color=INK, parse_math=False, **look)


def idea_lines(keep: Keep, is_chosen: bool, size: float, n_lines: int) -> list[str]:
    """A kept idea in at most n_lines lines of letters of that size."""
    gain = f"{keep.val_auc:.4f}" if keep.delta is None else difference(keep.delta)
    head = f"{'*' * is_chosen + str(keep.iteration):>4} {gain:>8}  "
    width = int(WIDTH / (LETTER * size)) - len(head)
    idea = wrap(keep.idea, width, max_lines=n_lines, placeholder="…") or [""]
    return [head + idea[0], *(" " * len(head) + line for line in idea[1:])]
