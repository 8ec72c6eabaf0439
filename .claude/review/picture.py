"""The picture of a run: what the ratchet climbed, and what of it holds elsewhere."""

from textwrap import wrap

# ---------------------------------------------------------------- constants
# Inches, in the shape of a link's preview; dots an inch.
SIZE, DPI = (10, 5.25), 192
# Left, bottom, width, height: parts of the picture.
PLOT = [0.075, 0.105, 0.51, 0.6]
# Of the list of ideas: left edge, right edge, foot; its columns, in sizes of a letter.
LIST, RIGHT, BOTTOM, COLUMNS = 0.6, 0.985, 0.03, [2.3, 7.1, 7.9]
# Of an idea: size of the letters and lines at most; the first that all ideas fit in.
ROOM = [(10.5, 6), (9.5, 5), (8.5, 4), (8, 3), (7.5, 2)]
# Of the letters: width and height of a line, in sizes, on average.
WIDE, HIGH = 0.53, 1.35
# Characters of the sentence in a line.
SENTENCE = 140
# Of the legend, by first words.
ORDER = ["kept:", "on", "luck", "discarded", "discarded,", "crashed"]
# Of the height in use: free above it, and below for crashes.
FOOT = 0.12
INK, GREY, FAINT = "#1c1c1c", "#5f5f5f", "#b0b0b0"
KEPT, HOLDS, BAND, CRASH = "#0b7a5b", "#1f5fbf", "#f6e7c1", "#c0392b"


def draw(path, found, attempts):
    """Write the picture of what a review found; attempts: (iteration, row) in order."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        # The same picture for everybody, whatever a matplotlibrc says.
        matplotlib.rcdefaults()
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
        axes = figure.add_axes(PLOT)
        scored = [(i, float(row["val_auc"])) for i, row in attempts if row["val_auc"]]
        crashed = [i for i, row in attempts if not row["val_auc"]]
        last, keeps = attempts[-1][0], found["keeps"]
        set_limits(axes, found, scored, (attempts[0][0], last))
        draw_luck(axes, found, scored, last)
        draw_attempts(axes, scored, crashed, {keep["iteration"] for keep in keeps})
        draw_staircase(axes, keeps, last)
        draw_what_holds(axes, found)
        list_ideas(figure, found)
        write_words(figure, axes, found)
        figure.savefig(path)


def holding(found):
    """(iteration, low, value, high) of keeps, on rows that did not choose them.

    The start's val_auc and the corrected gain over it +- 1 standard error; without
    records the gain on fresh folds.
    """
    keeps = [keep for keep in found["keeps"] if keep["commit"] != found["start"]]
    gains = {k["commit"]: k["corrected"] for k in keeps if "corrected" in k}
    if not gains:
        for numbers in found["fresh"].values():
            if test := numbers.get("gain"):
                error = {"se": test["standard_error"]}
                gains[numbers["commit"]] = {"mean": test["mean"]} | error
    for keep in keeps:
        if gain := gains.get(keep["commit"]):
            value = found["keeps"][0]["val_auc"] + gain["mean"]
            yield keep["iteration"], value - gain["se"], value, value + gain["se"]


def set_limits(axes, found, scored, iterations):
    """All keeps and what holds of them in view, of the failures below as many again."""
    values = [value for _, value in scored] or [0.5, 1.0]
    focus = [keep["val_auc"] for keep in found["keeps"]] or values
    focus = [*focus, *(v for _, *three in holding(found) for v in three)]
    if found["luck"] and found["keeps"]:
        focus.append(found["keeps"][0]["val_auc"] + found["luck"]["most"])
    room = max(max(focus) - min(focus), 0.005)
    bottom = max(min([*values, *focus]), min(focus) - 0.5 * room)
    top = max([*values, *focus])
    height = max(top - bottom, room)
    axes.set_ylim(bottom - FOOT * height, top + FOOT * height)
    first, last = iterations
    margin = 0.03 * max(last - first, 1)
    axes.set_xlim(first - margin, last + margin)


def draw_luck(axes, found, scored, last):
    """The band in which a climb is luck: as high as 19 of 20 nights of equal ideas."""
    if not found["luck"] or not found["keeps"]:
        return
    start = found["keeps"][0]["val_auc"]
    x = [i for i, _ in scored]
    y = [start + height for height in found["luck"]["band"]][: len(x)]
    label = "luck alone: 95 % of nights"
    x, y = [*x[: len(y)], last], [*y, y[-1]]
    axes.fill_between(x, start, y, step="post", color=BAND, lw=0, zorder=0, label=label)


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
        axes.scatter(x, y, label="kept: what the ratchet saw", **dots)


def draw_what_holds(axes, found):
    """What the keeps are worth on other rows, with errors; a ring round the chosen."""
    if points := list(holding(found)):
        x, low, y, high = zip(*points, strict=True)
        axes.vlines(x, low, high, color=HOLDS, lw=1.2, alpha=0.6, zorder=4)
        corrected = any("corrected" in keep for keep in found["keeps"])
        label = "on rows it was not chosen on" if corrected else "on fresh folds"
        dots = {"s": 24, "marker": "D", "color": HOLDS, "edgecolor": "white", "lw": 0.6}
        axes.scatter(x, y, label=f"{label} (± 1 se)", zorder=5, **dots)
    for keep in found["keeps"]:
        if keep["commit"] == found["chosen"] and len(found["keeps"]) > 1:
            at, ring = (keep["iteration"], keep["val_auc"]), {"facecolor": "none"}
            axes.scatter(*at, s=150, edgecolor=INK, lw=1.5, zorder=6, **ring)
            words = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
            axes.annotate("chosen", at, size=9, weight="bold", color=INK, **words)


# --------------------------------------------------------------- the kept ideas
def list_ideas(figure, found):
    """The kept ideas right of the plot, in full where there is room for all of them."""
    keeps, room = found["keeps"], (PLOT[1] + PLOT[3] - BOTTOM) * SIZE[1] * 72  # points
    for size, n_lines in ROOM:
        width = (RIGHT - LIST) * SIZE[0] * 72 - COLUMNS[2] * size  # points
        cut = {"width": int(width / (WIDE * size)), "placeholder": "…"}
        ideas = [wrap(k["hypothesis"], max_lines=n_lines, **cut) or [""] for k in keeps]
        step = HIGH * size
        heights = [step * (len(idea) + 0.3) for idea in ideas]
        if sum(heights) <= room and not any(idea[-1].endswith("…") for idea in ideas):
            break
    # A line is enough for the smallest gains, as many as it takes.
    for k in sorted(range(1, len(keeps)), key=lambda k: keeps[k]["delta"]):
        if sum(heights) > room:
            ideas[k] = wrap(keeps[k]["hypothesis"], max_lines=1, **cut) or [""]
            heights[k] = step
    shown = (
        largest(keeps, int(room / step) - 1)
        if sum(heights) > room
        else range(len(keeps))
    )
    y = PLOT[1] + PLOT[3]
    for k in shown:
        write_idea(figure, y, keeps[k], ideas[k], size, found["chosen"])
        y -= heights[k] / 72 / SIZE[1]
    if rest := len(keeps) - len(shown):
        words = f"and {rest} smaller gains"
        at = LIST + COLUMNS[2] * size / 72 / SIZE[0]
        figure.text(at, y, words, size=size, color=GREY, va="top")


def largest(keeps, n):
    """Places in keeps of the start and of the n - 1 largest gains, in order."""
    gains = sorted(range(1, len(keeps)), key=lambda k: -keeps[k]["delta"])
    return sorted([0, *gains[: n - 1]])


def write_idea(figure, y, keep, idea, size, chosen):
    """A kept idea from height y down: iteration, gain, lines of words."""
    delta, is_chosen = keep["delta"], keep["commit"] == chosen
    gain = f"{keep['val_auc']:.4f}" if delta is None else f"{delta:+.4f}"
    look = {"size": size, "va": "top", "parse_math": False}
    bold = {"weight": "bold", "color": INK}
    at = [LIST + column * size / 72 / SIZE[0] for column in COLUMNS]
    figure.text(at[0], y, str(keep["iteration"]), ha="right", **bold, **look)
    figure.text(at[1], y, gain, ha="right", color=KEPT, **look)
    color = INK if is_chosen else GREY
    figure.text(at[2], y, "\n".join(idea), color=color, linespacing=1.12, **look)
    if is_chosen:
        box = {"boxstyle": "round,pad=0.25", "facecolor": "none", "edgecolor": INK}
        figure.text(at[0], y, str(keep["iteration"]), ha="right", bbox=box, **look)


# ------------------------------------------------------------------- the words
def write_words(figure, axes, found):
    """Title, the honest sentence, axes and legend."""
    keeps, left = found["keeps"], PLOT[0]
    title = found["run"]
    if keeps:
        title += f": val AUC {keeps[0]['val_auc']:.4f} → {keeps[-1]['val_auc']:.4f}"
    counts = f"{found['iterations']} iterations in {found['hours']} h: "
    counts += ", ".join(f"{found[k]} {k}" for k in ("kept", "discarded", "crashed"))
    look = {"va": "top", "parse_math": False}
    figure.text(left, 0.975, title, size=15, weight="bold", color=INK, **look)
    figure.text(left, 0.905, counts, size=9, color=GREY, **look)
    words = "\n".join(wrap(sentence(found), SENTENCE, max_lines=2, placeholder="…"))
    figure.text(left, 0.855, words, size=9, color=INK, linespacing=1.3, **look)
    axes.set_xlabel("iteration", color=GREY)
    axes.set_ylabel("val AUC", color=GREY)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(nbins=6)
    axes.tick_params(colors=GREY, labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    look = {"frameon": False, "fontsize": 7.5, "labelcolor": GREY, "ncols": 3}
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 0.99)}
    look |= {"borderpad": 0, "columnspacing": 1.2, "handletextpad": 0.4}
    marks = zip(*axes.get_legend_handles_labels(), strict=True)
    marks = sorted(marks, key=lambda mark: ORDER.index(mark[1].split()[0]))
    if marks:
        axes.legend(*zip(*marks, strict=True), **place, **look)


def sentence(found):
    """What the review ends in; of a run under way, its climb beside luck's."""
    words = found.get("verdict", "")
    if not words and (luck := found["luck"]):
        words = f"climbed {luck['climb']:+.4f}; {luck['ideas']} equal ideas climb "
        words += f"{luck['mean']:+.4f} by luck alone"
    return words[:1].upper() + words[1:]
