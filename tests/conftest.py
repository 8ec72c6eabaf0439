"""A project for each test: a real copy of this repository, in a git of its own."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import prepare
from harness.sandbox import landlock_version, seccomp_library

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = [".claude", "data", "prepare.py", "train.py", "program.md", "pyproject.toml"]
SHIPPED += ["uv.lock", ".gitignore", ".gitattributes"]
BASELINE = (ROOT / "train.py").read_text()
# Its scores, which test_night.py compares with scikit-learn's.
SCORES = {"val_auc": "0.895971", "test_auc": "0.951299", "test_acc": "0.868852"}
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in [("NAME", "Ada"), ("EMAIL", "ada@example.org")]
}

# What some tests need of the machine; elsewhere they are skipped, and say so.
needs_landlock = pytest.mark.skipif(
    not landlock_version(), reason="no Landlock here: native code may open files"
)
needs_seccomp = pytest.mark.skipif(
    not seccomp_library(), reason="no seccomp or no libseccomp.so.2 here"
)
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="no /proc: no process is found"
)

# Nothing of the user's reaches a test, and no test reaches the user: not the repository
# that a git hook exports, not git's or uv's configuration, not Python's variables.
for name in [*os.environ]:
    if name.startswith(("GIT_", "PYTHON", "UV_", "MPL", "XDG_CONFIG")):
        del os.environ[name]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
# Matrices are small here: a second thread would only wait for the first.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

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

    def run(self, *args, timeout=600, **options):
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
        environ = os.environ | IDENTITY | {"PATH": path}
        return subprocess.run(
            command,
            shell=True,
            cwd=self.path,
            env=environ,
            capture_output=True,
            text=True,
        ).stdout

    def check(self, *names):
        """What these items of the check print; the whole check takes 6 s."""
        items = f"{{name: getattr(preflight, name) for name in {names}}}"
        code = f"from harness import preflight; preflight.report({items})"
        return self.python(code)

    def python(self, code):
        """What this code prints, run beside prepare.py, whose modules it can import."""
        command = [sys.executable, "-c", f"import prepare; {code}"]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True)
        return done.stdout

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

    def pretend(self, val_auc="0.900000", status="ok", hypothesis="an idea"):
        """Keep a record of HEAD as if it had been evaluated with this val_auc."""
        head, digits = self.git("rev-parse", "HEAD"), val_auc * (status == "ok")
        block = {"commit": head, "hypothesis": hypothesis, "val_auc": digits}
        block |= {"test_auc": digits, "test_acc": digits}
        block |= {"wall_time_s": "1.00", "status": status}
        table = hashlib.sha256((self.path / "data/heart.csv").read_bytes()).hexdigest()
        texts = {"block": block, "table": table, "versions": {}, "bar": "", "error": 0}
        arrays = {name: np.array(json.dumps(text)) for name, text in texts.items()}
        self.state.mkdir(exist_ok=True)
        np.savez(self.state / f"{head}.npz", **arrays)

    def pretend_and_log(self, val_auc="0.900000", **options):
        """Pretend that HEAD was evaluated, and log it; returns the finished log."""
        self.pretend(val_auc, **options)
        return self.run("log")

    def next_idea(self, number):
        """Commit a train.py that differs by a number; returns the commit."""
        (self.path / "train.py").write_text(BASELINE + f"# {number}\n")
        self.git("commit", "-qm", f"idea {number}", "train.py")
        return self.git("rev-parse", "HEAD")

    @property
    def state(self):
        """The folder of logs and records."""
        folder = self.git("rev-parse", "--git-common-dir")
        return self.path / folder / "autoresearch"

    def log_of(self, tag):
        """The rows of a run's log, as dicts."""
        _, names, *rows = (self.state / f"{tag}.tsv").read_text().splitlines()
        columns = names.split("\t")
        return [dict(zip(columns, row.split("\t"), strict=True)) for row in rows]

    def results(self):
        """Lines of results.tsv, split into cells; the first has the names."""
        lines = (self.path / "results.tsv").read_text().splitlines()
        return [line.split("\t") for line in lines]


def cure_in(text):
    """The command that a refusal names last."""
    found = re.search(r".*(?:: |, )((?:git|export|rm|apt-get) .*)$", text.strip(), re.M)
    return found[1].strip("()")


def block_of(text):
    """The key: value lines of the harness's block."""
    return dict(re.findall(r"^(\w+): ?(.*)$", text, re.MULTILINE))


def scores_of(server, source, table=None, prints=False, n_at_once=None):
    """{metric: six digits} of a train.py, by candidates of a server that runs already.

    An evaluation without its own process and fork server, which take 2 s to start.
    """
    server = dataclasses.replace(server, source=source.encode(), prints=prints)
    X, y = table or prepare.load_data()
    scores, _ = prepare.score(server, X, y, time.monotonic(), n_at_once)
    return {name: f"{value:.6f}" for name, value in scores.items()}


def processes_with(token):
    """Ids of the processes that have the token in their environment (Linux)."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return found


@pytest.fixture(scope="session")
def server():
    """A fork server that has loaded the libraries, for scores_of()."""
    imports = "import lightgbm, xgboost, sklearn.ensemble, sklearn.linear_model"
    with prepare.server_of(imports.encode()) as server:
        yield server


@pytest.fixture
def project(tmp_path):
    """A project with the real harness and the real data."""
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    """A project on the branch of a run whose baseline is logged; never changed."""
    project = Project(tmp_path_factory.mktemp("started") / "project")
    for key, value in {"name": "Ada", "email": "ada@example.org"}.items():
        project.git("config", f"user.{key}", value)
    project.git("checkout", "-qb", "autoresearch/night")
    project.pretend_and_log("0.900000")
    return project


@pytest.fixture
def run(started, tmp_path):
    """A copy of it."""
    return started.copy(tmp_path / "a folder, ä" / "project")
