"""What a visitor reads first is what was measured."""

import csv
import importlib.util
import re

import numpy as np
from conftest import ROOT

README = (ROOT / "README.md").read_text()
NIGHTS = ROOT / "docs" / "nights"
WORDS = {"keep": "KEPT", "discard": "DISCARDED", "crash": "CRASHED"}


def test_the_readme_is_short_and_links_lead_somewhere():
    assert README.count("\n") <= 130 and len(README.split()) <= 1300
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        for link in re.findall(r"\]\((?!http|#)([^)]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_the_readmes_night_is_the_one_that_is_kept():
    with (NIGHTS / "heart" / "results.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    told = re.findall(
        r"^    iter (\d+) \| val_auc=(.{6}) .*\| (.*) — (.*)$", README, re.M
    )
    assert len(told) == 3
    for number, val_auc, word, idea in told:
        row = rows[int(number)]
        assert val_auc == f"{float(row['val_auc']):.4f}"
        assert (word, idea) == (WORDS[row["status"]], row["description"])
    review = (NIGHTS / "heart" / "review.txt").read_text()
    start = r"\w{7} \(iter |  [+-]0|luck: |record: |No gain is shown: "
    lines = re.findall(rf"^    ((?:{start}).*)$", README, re.M)
    assert len(lines) == 7 and all(f"{line}\n" in review for line in lines)


def figures():
    """The module docs/nights/figures.py."""
    spec = importlib.util.spec_from_file_location("figures", NIGHTS / "figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_study_are_made_of_its_outcomes(capsys):
    module = figures()
    module.print_tables(module.read())
    printed = capsys.readouterr().out.splitlines()
    page = (NIGHTS / "README.md").read_text()
    assert len(printed) >= 3 and all(f"{line}\n" in page for line in printed)
    shown = [line for line in README.splitlines() if line.startswith("| ")]
    measured = {line for line in shown if re.search(r"[+-]0\.\d\d", line)}
    assert measured and measured <= {*printed}


def coverage(worth, mean) -> float:
    """The share of the study's intervals that have the mean; worth: (n, n_tables)."""
    interval, random = figures().interval, np.random.default_rng(1)
    gains = worth + 0.01 * random.standard_normal(worth.shape)
    ends = [interval(of_one, np.full(len(of_one), 0.01)) for of_one in gains]
    return np.mean([low < mean < high for low, high in ends])


def test_the_studys_interval_covers_the_mean_over_tables():
    worth = 0.02 + 0.015 * np.random.default_rng(0).standard_normal((400, 8))
    # Of 95 %: eight tables are few, but each counts its rows' error as well.
    assert 0.92 < coverage(worth, 0.02) < 0.995


def test_over_unequal_tables_the_interval_covers_less_as_the_page_says():
    worth = np.random.default_rng(0).exponential(0.05, (400, 8))
    assert 0.84 < coverage(worth, 0.05) < 0.93
