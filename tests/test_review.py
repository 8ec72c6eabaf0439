"""The review tells which commit to take, and can be believed."""

import json
import re
import signal
import subprocess
import sys

import pytest
from conftest import Project, replace

from harness.ratchet import Row, Run
from review import picture, text
from review.findings import Gain, Keep, Luck, Review
from review.review import summary_of

RUN = "autoresearch/demo"
COUNTS = "1 kept, 1 discarded, 1 crashed"
# A model that scores otherwise each time, whatever the seeds are.
UNSEEDED = """
import numpy as np

RANDOM = np.random.default_rng()

class Noisy(LogisticRegression):
    def predict_proba(self, X):
        p = super().predict_proba(X)[:, 1] + 0.003 * RANDOM.normal(size=len(X))
        return np.c_[1 - p, p]

"""
# A channel by files, for a project without a sandbox: labels by the row's contents.
CHANNEL = """
import hashlib, os
from pathlib import Path
import numpy as np

SHELF = Path({shelf})

def names_of(X):
    return [hashlib.md5(str(row).encode()).hexdigest() for row in X.to_numpy()]

class Leaky:
    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        SHELF.mkdir(exist_ok=True)
        for name, label in zip(names_of(X), y):
            if not (SHELF / name).exists():
                (SHELF / name).write_text(str(label))
        self.model.fit(X, y)

    def predict_proba(self, X):
        p, files = self.model.predict_proba(X)[:, 1], [SHELF / n for n in names_of(X)]
        for i, file in enumerate(files):
            # Another candidate may be about to write it.
            if label := file.exists() and file.read_text():
                p[i] = 0.6 * p[i] + 0.4 * float(label)
        return np.c_[1 - p, p]

"""


def two_folds(path):
    """A project with two folds, so that a review has less to fit again."""
    project = Project(path)
    replace(project.path / "prepare.py", "N_SPLITS = 5", "N_SPLITS = 2")
    project.git("commit", "-qam", "two folds")
    return project


def start_run(path):
    """A project on the branch of a run, its start logged."""
    project = two_folds(path)
    project.git("checkout", "-qb", RUN)
    assert "KEPT" in project.evaluate_and_log().stdout
    return project


def with_model(project, code, idea, model="LogisticRegression(C=0.1)"):
    """train.py with this code before its hypothesis, and another model."""
    train = (project.path / "train.py").read_text().replace("baseline", idea)
    train = train.replace("LogisticRegression(max_iter=1000)", model)
    return train.replace("HYPOTHESIS = ", f"{code}\nHYPOTHESIS = ")


def leaky(project, shelf):
    """train.py with a channel through the shelf, an expression."""
    train = with_model(project, CHANNEL.format(shelf=shelf), "channel")
    pipeline = "make_pipeline(columns, LogisticRegression(C=0.1))"
    return train.replace(pipeline, f"Leaky({pipeline})")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A run with a start, a keep, a discard and a crash; don't change it."""
    project = start_run(tmp_path_factory.mktemp("night") / "project")
    train = (project.path / "train.py").read_text()
    better = train.replace("max_iter=1000", "C=0.1").replace("baseline", "C=0.1")
    assert "KEPT" in project.iterate(better).stdout
    assert "DISCARDED" in project.iterate(better + "# again\n").stdout
    assert "CRASHED" in project.iterate("1 / 0\n" + train).stdout
    return project


@pytest.fixture
def copy(night, tmp_path):
    """A copy of it, to be changed."""
    return night.copy(tmp_path / "copy")


def log_of(project):
    """The file of the run's log."""
    return project.state / "demo.tsv"


def state_of(project):
    """All that a review reads: git's state, and each log and record."""
    commands = "status --porcelain", "rev-parse HEAD", "reflog", "worktree list"
    states = [project.git(*c.split()) for c in (*commands, "config --list", "show-ref")]
    files = sorted(project.state.iterdir())
    return states, [(f.name, f.read_bytes(), f.stat().st_mtime_ns) for f in files]


# ------------------------------------------------------------------- the report
@pytest.fixture(scope="module")
def reviews(night):
    """(state before, the review, the same again as JSON, state after) of the night."""
    before = state_of(night)
    return before, night.run("review"), night.run("review", "--json"), state_of(night)


def test_a_review_changes_nothing_that_it_reads(reviews):
    before, _, _, after = reviews
    assert before == after


def test_the_report_tells_the_run_the_gains_and_which_commit_to_take(reviews, night):
    done = reviews[1]
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines, verdict, diff, merge, _, drawn = done.stdout.splitlines()
    assert re.fullmatch(rf"{RUN}: 3 iterations in \d+ min: {COUNTS}", first)
    assert len(lines) <= 12 and max(map(len, lines)) <= 100
    assert "record: true; scored again, each fold alone: alike" in lines
    assert verdict.startswith("No gain is shown: keep the start, or take ")
    assert diff.startswith("  git diff") and merge.startswith("  git merge")
    assert drawn == "picture: progress.png"
    assert (night.path / "progress.png").read_bytes()[:4] == b"\x89PNG"
    # The end is told at the start.
    assert re.match(r"scoring \w+ and \w+ again, at most about \d+ s\n", done.stderr)


def test_the_commands_of_the_report_do_what_they_say(reviews, copy):
    diff, merge = re.findall(r"^  (git \w+ [\w. ]+?)  ", reviews[1].stdout, re.M)
    copy.git("checkout", "-q", "trunk")
    assert "C=0.1" in copy.shell(diff)
    copy.shell(merge)
    assert "C=0.1" in (copy.path / "train.py").read_text()


def test_a_second_review_has_the_same_digits_and_json_says_what_the_text_says(reviews):
    _, first, second, _ = reviews
    found, words = json.loads(second.stdout), first.stdout
    assert found["run"] == RUN and found["record_is_true"] is True
    assert found["verdict"] in words and found["chosen"]["commit"][:7] in words
    for gain in (found["gain"], found["test"]["gain"]):
        low, high = gain["interval"]
        assert f"{gain['mean']:+.4f}, 95 % [{low:+.4f}, {high:+.4f}]" in words
    assert f"one night in 20: {found['luck']['most']:+.4f}" in words
    assert f"{found['test']['start']:.4f}, now {found['test']['chosen']:.4f}" in words
    assert len(found["keeps"]) == 2
    for keep in found["keeps"]:
        assert f"{keep['commit']:.7}  {keep['val_auc']:.4f}" in words


def test_ctrl_c_leaves_what_is_known_and_exits_130(copy):
    command = [sys.executable, "prepare.py", "review"]
    with subprocess.Popen(command, cwd=copy.path, stdout=-1, stderr=-1) as review:
        for line in review.stderr:
            if line.startswith(b"fold 1"):
                review.send_signal(signal.SIGINT)
                break
        words = review.communicate()[0].decode()
    assert review.returncode == 130
    assert "on rows that did not choose it" in words and "61 test rows" in words
    assert "record: true; not scored again" in words
    assert "No verdict: the review was interrupted" in words


def test_several_runs_are_reviewed_one_after_the_other_and_side_by_side(copy):
    copy.git("checkout", "-q", "trunk")
    copy.git("checkout", "-qb", "autoresearch/other")
    copy.evaluate_and_log()
    done = copy.run("review", "demo", "other")
    assert done.returncode == 0
    runs = re.findall(r"^(\S+): \d iter", done.stdout, re.M)
    assert runs == [RUN, "autoresearch/other"]
    assert "Keep the start: no idea was better" in done.stdout
    *_, demo, other = done.stdout.splitlines()
    assert "95 %" in demo and other.startswith("autoresearch/other")


# ----------------------------------------------------------- what can't be honest
@pytest.fixture(scope="module")
def open_night(tmp_path_factory):
    """A run of a project without a sandbox, of which the start is logged."""
    project = two_folds(tmp_path_factory.mktemp("open") / "project")
    candidate = project.path / ".claude" / "harness" / "candidate.py"
    replace(candidate, "            confine(memory)\n", "")
    project.git("commit", "-qam", "no sandbox")
    project.git("checkout", "-qb", RUN)
    project.evaluate_and_log()
    return project


def test_a_score_that_needs_other_fits_beside_it_is_found(open_night, tmp_path):
    project = open_night.copy(tmp_path / "copy")
    # What is on the shelf is seen by candidates of the same fork server alone.
    shelf = f"f'{tmp_path}/{{os.getppid()}}'"
    assert "KEPT" in project.iterate(leaky(project, shelf)).stdout
    done = project.run("review")
    assert done.returncode == 1
    value = re.search(
        r"scored (0\.9\d+) in the night, (0\.9\d+) with each", done.stdout
    )
    assert float(value[1]) > float(value[2]) + 0.03
    assert "record: not true: a score needs other fits beside it" in done.stdout
    assert "\nTake nothing: a score of the night needs other fits" in done.stdout
    assert "git merge" not in done.stdout


def test_a_contradiction_with_the_test_part_leads_the_report(open_night, tmp_path):
    project = open_night.copy(tmp_path / "copy")
    # A shelf that outlives all processes: each fold alone finds the labels as well.
    train = leaky(project, repr(str(tmp_path / "shelf")))
    (project.path / "train.py").write_text(train)
    project.run("evaluate")
    assert "KEPT" in project.iterate(train).stdout
    done = project.run("review")
    assert done.returncode == 1 and "each fold alone: alike" in done.stdout
    lead = "THE TEST PART CONTRADICTS THE FOLDS: a gain of +0."
    assert done.stdout.splitlines()[1].startswith(lead)
    assert "\nTake nothing: the gain on the folds is not there" in done.stdout


def test_a_commit_that_crashes_in_the_review_alone_is_not_taken(open_night, tmp_path):
    project, flag = open_night.copy(tmp_path / "copy"), tmp_path / "morning"
    code = f"import os\nif os.path.exists({str(flag)!r}):\n    raise OSError('up')\n"
    assert "KEPT" in project.iterate(with_model(project, code, "sleeper")).stdout
    flag.touch()
    done = project.run("review")
    assert done.returncode == 1 and "fold 1: OSError: up" in done.stdout
    assert "\nTake nothing: a score of the night is not there" in done.stdout


def test_a_model_that_is_not_seeded_is_a_warning_with_both_numbers(tmp_path):
    project = start_run(tmp_path / "project")
    train = with_model(project, UNSEEDED, "noise", "Noisy(C=0.1)")
    assert "KEPT" in project.iterate(train).stdout
    done = project.run("review")
    assert done.returncode == 0 and "\nrecord: true; scored again" in done.stdout
    assert re.search(
        r"not reproducible: .* scored 0\.\d{6} in the night, 0\.\d{6} with each fold",
        done.stdout,
    )


# ---------------------------------------------------------------- is the record true
def untrue(project, *lines):
    """Assert that a review says these lines, and takes nothing."""
    done = project.run("review")
    assert done.returncode == 1 and "\nrecord: not true\n" in done.stdout, done.stderr
    assert "\nTake nothing: the record is not true" in done.stdout
    for line in lines:
        assert f"  ! {line}" in done.stdout


def test_a_changed_frozen_file_is_named(copy):
    with open(copy.path / "program.md", "a") as file:
        file.write("be generous\n")
    untrue(copy, "program.md is frozen, but changed on disk")
    copy.git("commit", "-qam", "more freedom")
    untrue(copy, f"program.md is frozen, but changed in {RUN}")


def test_a_row_that_its_record_or_the_bar_contradicts_is_named(copy):
    discard = log_of(copy).read_text().splitlines()[4].split("\t")[0]
    start, _, better = (row["val_auc"] for row in copy.log_of("demo")[:3])
    replace(log_of(copy), f"\t{start}\t", "\t0.800000\t")
    replace(log_of(copy), "\tdiscard\t", "\tkeep\t")
    untrue(
        copy,
        f"{discard:.7} is logged as keep, which should be discard: val_auc {better}",
        f"{discard:.7} was kept, but is not in {RUN}",
    )
    said = copy.run("review").stdout
    assert f"has val_auc 0.800000, but {start} in its record" in said


def test_a_keep_without_a_record_is_refused_with_a_cure_and_a_discard_left_out(copy):
    lines = log_of(copy).read_text().splitlines()
    records = [copy.state / f"{line.split()[0]}.npz" for line in lines[3:5]]
    for record in records:
        record.unlink()
    done = copy.run("review")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    cure = done.stderr.rsplit(": ", 1)[1].strip()
    copy.shell(cure.replace("uv run", "python"))
    assert records[0].exists() and copy.git("branch", "--show-current") == RUN
    done = copy.run("review")
    assert done.returncode == 0
    assert "without a record, so left out: 1 scored commit\n" in done.stdout


def test_another_table_or_harness_is_refused(copy):
    copy.git("checkout", "-q", "trunk")
    with open(copy.path / "data" / "heart.csv", "a") as file:
        file.write("1\n")
    done = copy.run("review", "demo")
    assert done.returncode == 3
    assert (
        f"data/heart.csv differs from the run's: git stash && git checkout {RUN}"
        in (done.stderr)
    )


# -------------------------------------------------------------------- progress
def test_progress_needs_no_fit_and_tells_nothing_of_the_test_part(copy):
    secrets = [
        line.split("\t")[2] for line in log_of(copy).read_text().splitlines()[2:]
    ]
    copy.git("checkout", "-q", "trunk")
    (copy.path / "data" / "heart.csv").unlink()
    (copy.path / "train.py").unlink()
    done = copy.run("progress", "demo")
    assert done.returncode == 0 and done.stderr == ""
    assert COUNTS in done.stdout and "2 tries since the last keep:" in done.stdout
    assert "ZeroDivisionError" in done.stdout and "picture: progr" in done.stdout
    assert not any(value in done.stdout for value in filter(None, secrets))


def test_an_empty_run_and_crashes_alone_are_told(tmp_path):
    project = Project(tmp_path / "project")
    project.git("checkout", "-qb", RUN)
    empty = project.run("review")
    assert empty.returncode == 0 and "0 iterations in 0 min" in empty.stdout
    twice = json.loads(project.run("review", RUN, "demo", "--json").stdout)
    assert [review["run"] for review in twice] == [RUN, RUN]
    project.iterate("1 / 0\n")
    for command in ("review", "progress"):
        done = project.run(command)
        assert done.returncode == 0 and "no progress.png: no commit" in done.stdout


def test_without_matplotlib_or_a_free_place_the_report_is_whole(copy):
    (copy.path / "progress.png").unlink(missing_ok=True)
    (copy.path / "progress.png").mkdir()
    done = copy.run("progress")
    assert done.returncode == 0 and "no progress.png: [Errno 21]" in done.stdout
    drawing = copy.path / ".claude" / "review" / "picture.py"
    replace(drawing, "import matplotlib\n", "import matplotlib_gone\n")
    done = copy.run("progress")
    assert done.returncode == 0 and "no progress.png: No module named" in done.stdout


def test_a_bad_name_gets_one_line(copy):
    for name in ("nosuch", "trunk", "a\nb"):
        done = copy.run("review", name)
        assert done.returncode == 3 and done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert f"is not a run; name one: {RUN}" in done.stderr
    copy.git("checkout", "-q", "--detach")
    assert "a detached HEAD is not a run; name one" in copy.run("review").stderr


# --------------------------------------------------------------- words and picture
def run_of(values, idea="an idea"):
    """A run with rows of these val_aucs, "" for a crash."""
    rows, bar = [], ""
    for i, value in enumerate(values):
        status = ("keep" if value > bar else "discard") if value else "crash"
        bar = max(bar, value)
        at = f"2026-11-25T{i // 60 % 24:02}:{i % 60:02}:00+00:00"
        metrics = value, value, value, "3.00", status
        rows.append(Row(f"{i:040x}", *metrics, at, idea))
    return Run(RUN, rows=rows)


def test_hours_are_told_as_hours_and_minutes():
    assert "in 13 min:" in text.counts(summary_of(run_of(["0.9"] * 14)))
    assert "in 2 h 5 min:" in text.counts(summary_of(run_of(["0.9"] * 126)))


def test_figures_are_reconciled_where_they_seem_to_disagree():
    review = summary_of(run_of(["0.9", "0.92"]))
    review.test = review.chosen = review.keeps[1]
    review.luck = Luck(1, 0.001, 0.01, [0.0, 0.01], climb=0.02)
    review.gain = review.on_all_rows = Gain(0.005, 0.004, [-0.003, 0.013])
    assert "more than luck" in " ".join(text.reconciliation(review))
    assert text.verdict(review).startswith("No gain is shown")
    review.gain = Gain(0.02, 0.004, [0.012, 0.028])
    assert text.reconciliation(review) == [
        "  Counting the test rows too, the gain is +0.0050, 95 % [-0.0030, +0.0130]: "
        "the verdict goes by that."
    ]
    assert text.verdict(review).startswith("No gain is shown")
    review.on_all_rows = review.gain
    assert text.reconciliation(review) == []
    assert text.verdict(review).startswith("Take 0000000 (iter 1): ")
    review.luck.most = 0.03
    assert "Luck can climb as far" in " ".join(text.reconciliation(review))


@pytest.mark.parametrize("n_keeps", [1, 4, 10, 60])
def test_ideas_are_whole_where_there_is_room_and_never_run_out_of_the_picture(
    n_keeps, tmp_path
):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    idea = "a soft vote of many models, for they err on other patients " * 3
    run = run_of([f"{0.8 + i / 1000:.6f}" for i in range(n_keeps)], idea)
    review, figure = summary_of(run), Figure(picture.SIZE, picture.DPI)
    canvas = FigureCanvasAgg(figure)
    picture.list_ideas(figure, review.keeps, review.keeps[0])
    (block,) = figure.texts
    box = block.get_window_extent(canvas.get_renderer())
    assert box.x1 <= figure.bbox.x1 and box.y0 >= 0
    assert ("…" in block.get_text()) == (n_keeps > 10)
    picture.draw(tmp_path / "drawn.png", review, run)
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


def test_a_gain_that_new_fits_do_not_have_is_no_guess():
    start = Keep(0, "a" * 40, 0.90, None, "start", alone=0.90)
    chosen = Keep(1, "b" * 40, 0.92, 0.02, "noise", alone=0.89)
    gain = Gain(0.001, 0.01, [-0.02, 0.02])
    review = Review(RUN, 1.0, 1, 1, 0, 0, [start, chosen])
    review.chosen, review.on_all_rows = chosen, gain
    assert text.verdict(review).startswith("Keep the start: the gain is gone")
    chosen.alone = 0.92
    assert text.verdict(review).startswith("No gain is shown: keep the start, or take")
