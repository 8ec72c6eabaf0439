"""The two faults that a command tells in one line, and how a line is made."""

import sys

# The longest line that tells a fault.
LINE_CHARACTERS = 2000


class Refused(Exception):
    """The fault of the user or of the machine: one line that names it and its cure."""


class Crash(Exception):
    """The fault of train.py: the reason why it has no score."""


def one_line(text: str, width: int = 200) -> str:
    """The text in printable characters and single spaces, cut to width characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def say(text: str) -> None:
    """Write the text to stderr at once, unless that is closed."""
    if sys.stderr:
        sys.stderr.write(text)
        sys.stderr.flush()
