"""What a visitor reads first is what was measured."""

import csv
import re

from conftest import ROOT

README = (ROOT / "README.md").read_text()
REFERENCE = ROOT / "docs" / "reference-run"
WORDS = {"keep": "KEPT", "discard": "DISCARDED", "crash": "CRASHED"}


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert README.count("\n") <= 150
    for page in ("README.md", "docs/design.md", "docs/reference-run/README.md"):
        folder = (ROOT / page).parent
        for link in re.findall(r"\]\((?!http|#)([^)]+)\)", (ROOT / page).read_text()):
            assert (folder / link).exists(), f"{page}: {link}"


def test_the_readmes_night_is_the_reference_night():
    with (REFERENCE / "once" / "results.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    told = re.findall(
        r"^    iter (\d+) \| val_auc=(.{6}) .*\| (.*) — (.*)$", README, re.M
    )
    assert len(told) == 3
    for number, val_auc, word, idea in told:
        row = rows[int(number)]
        assert val_auc == f"{float(row['val_auc']):.4f}"
        assert (word, idea) == (WORDS[row["status"]], row["description"])
    sentence = re.search(r"^    (Take .*)$", README, re.M)[1]
    assert sentence in (REFERENCE / "once" / "review.txt").read_text()


def test_the_readmes_table_is_what_was_printed():
    def figures(text):
        # From val AUC on: fresh folds, gain, test AUC, test accuracy.
        found = re.findall(r"\| (0\.\d{4} \| .*)", text)
        return {tuple(c.split(", p")[0] for c in f.split(" | ")[:5]) for f in found}

    shown, printed = figures(README), figures((REFERENCE / "README.md").read_text())
    # The baseline's gain over itself is not shown.
    assert len(shown) == 6 and len(shown & printed) == 5
