"""The picture of a run: the staircase of what was kept, among all that was tried."""

from textwrap import wrap

# ---------------------------------------------------------------- constants
# Inches, in the shape of a link's preview; dots an inch.
SIZE, DPI = (12, 6.3), 160
# Left, bottom, width, height: parts of the picture.
PLOT = [0.065, 0.105, 0.5, 0.705]
# Kept ideas: those of the largest gains.
LISTED = 26
# Of them have room for two lines each.
FEW = 10
# Characters of an idea in a line of the list.
IDEA = 60
# Of the height in use: free above it, and below for crashes.
FOOT = 0.15
INK, GREY, FAINT = "#1c1c1c", "#6b6b6b", "#b5b5b5"
KEPT, BAND, CRASH = "#0b7a5b", "#d9e8f5", "#c0392b"


def draw(path, found, attempts):
    """Write the picture of what a review found; attempts: (iteration, row) in order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    axes = figure.add_axes(PLOT)
    scored = [(i, float(row["val_auc"])) for i, row in attempts if row["val_auc"]]
    crashed = [i for i, row in attempts if not row["val_auc"]]
    keeps = found["keeps"]
    set_limits(axes, found, attempts, scored)
    draw_noise(axes, found)
    draw_attempts(axes, scored, crashed, {keep["iteration"] for keep in keeps})
    draw_staircase(axes, keeps, attempts[-1][0])
    list_ideas(figure, keeps)
    write_words(figure, axes, found)
    figure.savefig(path)


def noise(found):
    """(low, high): the start's val_auc +- 1 sd over shuffles of its folds, or None."""
    keeps, start = found["keeps"], found["models"].get("start", {})
    if "cv_sd" not in start or keeps[0]["commit"] != start["commit"]:
        return None
    return keeps[0]["val_auc"] - start["cv_sd"], keeps[0]["val_auc"] + start["cv_sd"]


def set_limits(axes, found, attempts, scored):
    """All keeps and the noise in view, and of the failures below them as many again."""
    values = [value for _, value in scored] or [0.5, 1.0]
    focus = [keep["val_auc"] for keep in found["keeps"]] + list(noise(found) or [])
    focus = focus or values
    room = max(max(focus) - min(focus), 0.005)
    bottom = max(min([*values, *focus]), min(focus) - 0.5 * room)
    top = max([*values, *focus])
    height = max(top - bottom, room)
    axes.set_ylim(bottom - FOOT * height, top + FOOT * height)
    first, last = attempts[0][0], attempts[-1][0]
    margin = 0.03 * max(last - first, 1)
    axes.set_xlim(first - margin, last + margin)


def draw_noise(axes, found):
    """The band around the start that a mere other shuffle of the folds would cross."""
    if band := noise(found):
        axes.axhspan(*band, color=BAND, lw=0, zorder=0)
        words = "noise: the start ± 1 sd over shuffles of the folds"
        at = {"xy": (0.995, band[0]), "xycoords": ("axes fraction", "data")}
        points = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right"}
        axes.annotate(words, **at, **points, size=7.5, color="#4a7ba6", zorder=1)


def draw_attempts(axes, scored, crashed, kept):
    """Discards as faint dots, those below the picture as arrows; crashes as crosses."""
    (low, high), at_foot = axes.get_ylim(), axes.get_xaxis_transform()
    bottom = low + 0.08 * (high - low)
    tried = [(i, value) for i, value in scored if i not in kept]
    seen = [point for point in tried if point[1] >= bottom]
    below = [i for i, value in tried if value < bottom]
    common = {"clip_on": False, "zorder": 2}
    dots = {"s": 16, "color": FAINT, "lw": 0, "label": "discarded"}
    axes.scatter([i for i, _ in seen], [v for _, v in seen], **dots, **common)
    for marker, xs, y, color, label in [
        ("v", below, 0.055, FAINT, "discarded, below"),
        ("x", crashed, 0.02, CRASH, "crashed"),
    ]:
        if xs:
            look = {"marker": marker, "s": 18, "color": color, "label": label}
            axes.scatter(xs, [y] * len(xs), transform=at_foot, lw=1, **look, **common)


def draw_staircase(axes, keeps, last):
    """The best so far as a line, and a dot on it where an idea was kept."""
    if keeps:
        x = [keep["iteration"] for keep in keeps]
        y = [keep["val_auc"] for keep in keeps]
        axes.step([*x, last], [*y, y[-1]], where="post", color=KEPT, lw=1.8, zorder=3)
        dots = {"s": 34, "color": KEPT, "edgecolor": "white", "lw": 0.8, "zorder": 4}
        axes.scatter(x, y, label="kept", **dots)


# --------------------------------------------------------------- the kept ideas
def listed(keeps):
    """Positions in keeps that the list has: the start, and the largest gains."""
    gains = sorted(range(1, len(keeps)), key=lambda k: -keeps[k]["delta"])
    return sorted([0, *gains[: LISTED - 1]] if keeps else [])


def list_ideas(figure, keeps):
    """The kept ideas to the right of the plot: iteration, gain, hypothesis."""
    numbers = listed(keeps)
    left, y = PLOT[0] + PLOT[2] + 0.025, PLOT[1] + PLOT[3]
    few = len(numbers) <= FEW
    size, height, chars = (10, 2, int(IDEA * 0.8)) if few else (8, 1, IDEA)
    step, columns = 0.0033 * size, [0.0015 * size, 0.0078 * size, 0.0088 * size]
    for k in numbers:
        delta = keeps[k]["delta"]
        gain = f"{keeps[k]['val_auc']:.4f}" if delta is None else f"{delta:+.4f}"
        idea = wrap(keeps[k]["hypothesis"], chars, max_lines=height, placeholder="…")
        look = {"size": size, "va": "top", "parse_math": False}
        bold = {"weight": "bold", "color": INK}
        number = str(keeps[k]["iteration"])
        figure.text(left + columns[0], y, number, ha="right", **bold, **look)
        figure.text(left + columns[1], y, gain, ha="right", color=KEPT, **look)
        for line, words in enumerate(idea):
            at = left + columns[2], y - line * step
            figure.text(*at, words, color=INK, **look)
        y -= (height + 0.3 * few) * step
    if len(numbers) < len(keeps):
        rest = f"and {len(keeps) - len(numbers)} smaller gains"
        figure.text(left + columns[2], y, rest, size=8, color=GREY, va="top")


# ------------------------------------------------------------------- the words
def write_words(figure, axes, found):
    """Title, honest subtitle, axes and legend."""
    keeps, left = found["keeps"], PLOT[0]
    title = found["run"]
    if keeps:
        title += f": val AUC {keeps[0]['val_auc']:.4f} → {found['best']['val_auc']:.4f}"
    counts = f"{found['iterations']} iterations in {found['hours']} h: "
    counts += ", ".join(f"{found[k]} {k}" for k in ("kept", "discarded", "crashed"))
    figure.text(left, 0.945, title, size=16, weight="bold", color=INK, va="center")
    figure.text(left, 0.898, counts, size=10, color=GREY, va="center")
    figure.text(left, 0.862, honest(found), size=10, color=INK, va="center")
    axes.set_xlabel("iteration", color=GREY)
    axes.set_ylabel("val AUC (5-fold)", color=GREY)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(nbins=6)
    axes.tick_params(colors=GREY, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        look = {"frameon": False, "fontsize": 8, "labelcolor": GREY, "ncols": 4}
        axes.legend(handles, labels, loc="lower right", bbox_to_anchor=(1, 1), **look)


def honest(found):
    """What the review says of the gain, in a line."""
    words = found["verdict"][0].upper() + found["verdict"][1:]
    if gain := found["gain"]:
        error = f"± {gain['standard_error']:.4f}, p = {gain['p']:.2g}"
        words += f": on fresh folds {gain['mean']:+.4f} {error}"
    return words
