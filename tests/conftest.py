"""A project for each test: a real copy of this repository, in a git of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = [".claude", "data", "prepare.py", "train.py", "program.md", "pyproject.toml"]
SHIPPED += ["uv.lock", ".gitignore", ".gitattributes"]
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in [("NAME", "Ada"), ("EMAIL", "ada@example.org")]
}

# Nothing of the user's reaches a test, and no test reaches the user: not the repository
# that a git hook exports, not git's or uv's configuration, not Python's variables.
for name in [*os.environ]:
    if name.startswith(("GIT_", "PYTHON", "UV_", "MPL", "XDG_CONFIG")):
        del os.environ[name]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}

# A shell's background job ignores Ctrl-C, and so would the runs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def replace(file, old, new):
    """Write new in place of old, which the file must have."""
    text = file.read_text()
    assert old in text, f"{file.name} has no {old!r}"
    file.write_text(text.replace(old, new))


class Project:
    """A copy of the repository, committed on branch `trunk`, and ways to use it."""

    def __init__(self, path, budget_s=None):
        self.path = path
        path.mkdir()
        for name in SHIPPED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, path / name)
        if budget_s is not None:
            short = f"BUDGET_S = {budget_s} #"
            replace(path / "prepare.py", "BUDGET_S = 180  #", short)
        self.git("init", "-q", "-b", "trunk")
        self.git("add", "-A")
        self.git("commit", "-qm", "template")

    def copy(self, path):
        """The same project again, at another path."""
        shutil.copytree(self.path, path, symlinks=True)
        twin = object.__new__(Project)
        twin.path = path
        return twin

    def git(self, *args):
        """What git prints, stripped."""
        command = ["git", *args]
        environ = os.environ | IDENTITY
        done = subprocess.run(
            command, cwd=self.path, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, *args, timeout=120, **options):
        """A finished process of prepare.py with these arguments, output as text."""
        command = [sys.executable, "prepare.py", *args]
        options.setdefault("env", os.environ | IDENTITY)
        return subprocess.run(
            command,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )

    def shell(self, command):
        """What a shell command prints, `python` being this one."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = os.environ | {"PATH": path}
        return subprocess.run(
            command,
            shell=True,
            cwd=self.path,
            env=environ,
            capture_output=True,
            text=True,
        ).stdout

    def evaluate(self, train=None, **options):
        """Score train.py (this source, if one is given); returns (block, process)."""
        if train is not None:
            (self.path / "train.py").write_text(train)
        done = self.run("evaluate", **options)
        return block_of(done.stdout), done

    def iterate(self, train, message="an idea"):
        """One iteration as in program.md up to the log; returns the finished log."""
        (self.path / "train.py").write_text(train)
        self.git("commit", "-qm", message, "train.py")
        return self.evaluate_and_log()

    def evaluate_and_log(self):
        """Score HEAD and log it; returns the finished log."""
        (self.path / "run.log").write_text(self.run("evaluate").stdout)
        return self.run("log")


def block_of(text):
    """The key: value lines of the harness's block."""
    return dict(re.findall(r"^(\w+): ?(.*)$", text, re.MULTILINE))


@pytest.fixture
def project(tmp_path):
    """A project with the real harness and the real data."""
    return Project(tmp_path / "project")


@pytest.fixture
def hasty_project(tmp_path):
    """The same with a budget of 5 s instead of 180 s."""
    return Project(tmp_path / "project", budget_s=5)
