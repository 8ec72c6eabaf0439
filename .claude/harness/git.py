"""What the harness asks of git, and where in git's folder it keeps what it knows."""

import os
import re
import shlex
import subprocess
from pathlib import Path

from harness.errors import Refused, one_line

# -------------------------------------------------------------------- constants
HERE = Path(__file__).resolve().parents[2]
# With these variables, some of which git exports to its hooks, git works on another
# repository.
OTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"}
OTHER_REPOSITORY |= {"GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"}


def git(*args: str, folder: Path = HERE) -> str:
    """What a git command prints, stripped; Refused with git's own first line."""
    environ = {k: v for k, v in os.environ.items() if k not in OTHER_REPOSITORY}
    # A replacement of an object could make a changed file look unchanged.
    environ |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_OPTIONAL_LOCKS": "0"}
    environ |= {"LANGUAGE": "en"}
    try:
        # By restore_signals a limit of file sizes would kill git without a word.
        done = subprocess.run(
            ["git", "-C", str(folder), *args],
            capture_output=True,
            env=environ,
            restore_signals=False,
        )
    except FileNotFoundError:
        raise Refused("git is not installed, or not on PATH") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = one_line((said or [f"exit status {done.returncode}"])[0])
        # A git that was killed leaves its lock behind.
        if lock := re.search(r"'([^']+\.lock)'", reason):
            reason += f" If no git is at work, rm {shlex.quote(lock[1])}"
        command = next(arg for arg in args if re.fullmatch("[a-z-]{3,}", arg))
        raise Refused(f"git {command}: {reason}")
    return done.stdout.decode(errors="replace").strip()


def changed_files(commit: str, *paths: str) -> list[str]:
    """Files below the paths that differ between the commit and the work tree."""
    names = git("diff", "--name-only", "--relative", "-z", commit, "--", *paths)
    return names.split("\0")[:-1]


def is_ancestor(commit: str, of: str) -> bool:
    """Whether git has the commit, and it is an ancestor of the other, or the same."""
    try:
        git("merge-base", "--is-ancestor", commit, of)
    except Refused:
        return False
    return True


def state_folder() -> Path:
    """The folder of all logs and records, which may not exist yet."""
    return Path(HERE, git("rev-parse", "--git-common-dir"), "autoresearch")
