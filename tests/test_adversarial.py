"""Hostile, broken and careless train.py files: each gets an honest answer.

Each file goes through the real `prepare.py evaluate` in a copy of the project. The
answer is the score that the same model honestly has, digit by digit, or
`status: crashed (reason)`. Whichever it is, `Trial.check` holds all invariants.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import random
import re
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Project, block_of, replace
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import prepare
from harness.judge import places_by_content
from harness.ratchet import COPIED
from harness.records import Block
from harness.sandbox import landlock_version

HASTY_S = 4  # budget of the trials that are to use it up
PATIENT_S = 30  # budget of all others
LANDLOCK = 99  # its version at the most: the kernel's own
OLDER = {1: "with the first Landlock", 0: "without Landlock"}
MARGIN_S = 30  # after the budget: 2 are promised, the rest is a cold start of Python
MEMORY_SHARE = 0.06  # of the machine, so that a memory bomb stays a small one

BLOCK = [field.name for field in dataclasses.fields(Block)]
SCORE = "the baseline's true score"
needs_landlock = pytest.mark.skipif(
    not landlock_version(), reason="no Landlock here: native code is not held"
)

# ------------------------------------------------------------- a hostile train.py
TRAIN = """
import ctypes, gc, os, socket, subprocess, sys, tempfile, threading, time
import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

HYPOTHESIS = "hostile"
PROJECT = {project!r}
LIBC = ctypes.CDLL(None, use_errno=True)
SEEN = {{}}

def baseline():
    return make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )

{at_import}

class Model:
    def fit(self, X, y):
{in_fit}
        self.model = baseline().fit(X, y)
        return self

    def predict_proba(self, X):
        P = self.model.predict_proba(X)
{in_predict}
        return P

def feature_fn(X):
{in_features}
    return X

def build_pipeline():
{in_build}
    return Model()

{at_end}
"""
SPOTS = {"in_fit": 8, "in_predict": 8, "in_features": 4, "in_build": 4}
FAKE = "\n".join(f"{key}: 0.999999" for key in BLOCK[:-1]) + "\nstatus: ok\n"


def train_py(project="", at_import="", at_end="", **spots):
    """The source of a baseline with hostile lines in some spots."""
    bodies = {name: textwrap.dedent(spots.get(name, "pass")) for name in SPOTS}
    indented = {n: textwrap.indent(b, " " * SPOTS[n]) for n, b in bodies.items()}
    top, end = textwrap.dedent(at_import), textwrap.dedent(at_end)
    return TRAIN.format(project=project, at_import=top, at_end=end, **indented)


def case(promise, answer, *marks, source=None, landlock=LANDLOCK, **spots):
    """A row of the table: a source, or the baseline with hostile lines in it."""
    return pytest.param(answer, source, spots, landlock, marks=marks, id=promise)


def variant(*args, **kwargs):
    """A row whose promise is tested by another row already, in another way."""
    return case(*args, pytest.mark.thorough, **kwargs)


def crash(reason):
    """The answer `crashed (reason)`."""
    return re.compile(rf"crashed \(.*{reason}", re.DOTALL)


OUT_OF_TIME = crash("no answer within the budget")
NO_ANSWER = crash("ended without an answer")
CRASH_OR_SCORE = re.compile(r"ok|crashed \(.+\)")


# ------------------------------------------------------------------ one trial of it
class Trial:
    """One `prepare.py evaluate` in a project, and what it left behind."""

    def __init__(self, project, source, budget_s):
        self.budget_s = budget_s
        self.token = f"/trial-{uuid.uuid4().hex}"  # in PATH, so in every offspring
        train = project.path / "train.py"
        train.write_bytes(source if isinstance(source, bytes) else source.encode())
        temporary = tempfile.mkdtemp(prefix="trial-")
        before, start = snapshot(project.path), time.monotonic()
        marked = os.environ["PATH"] + os.pathsep + self.token
        environ = os.environ | {"TMPDIR": temporary, "PATH": marked}
        self.done = run_evaluate(project, environ)
        self.seconds = time.monotonic() - start
        self.left_processes = offspring(self.token)
        self.changes = changes(before, snapshot(project.path))
        self.left_files = os.listdir(temporary)
        subprocess.run(["rm", "-rf", temporary], check=True)
        self.block = block_of(self.done.stdout)

    def check(self, answer):
        """The expected answer, and whatever it is: whole, clean, in time."""
        self.check_block()
        assert self.changes == []
        assert self.left_processes == []
        assert self.left_files == []
        assert self.seconds < self.budget_s + MARGIN_S
        if answer == SCORE:
            assert self.block["status"] == "ok", self.done.stderr
            assert {key: self.block[key] for key in METRICS} == honest_score()
        else:
            assert answer.match(self.block["status"]), self.block["status"]

    def check_block(self):
        """A whole block, and no line or control character of the candidate's in it."""
        out, err = self.done.stdout, self.done.stderr
        assert [line.split(":")[0] for line in out.splitlines()] == BLOCK, out + err
        assert not re.search(rf"^({'|'.join(BLOCK)}):", err, re.MULTILINE), err
        assert all(c.isprintable() or c == "\n" for c in out + err)
        ok = self.block["status"] == "ok"
        assert self.done.returncode == (0 if ok else 1)
        assert ok or re.fullmatch(r"crashed \(.+\)", self.block["status"])
        for key in METRICS:
            assert re.fullmatch(r"\d\.\d{6}" if ok else "", self.block[key])


METRICS = ["val_auc", "test_auc", "test_acc"]


def run_evaluate(project, environ):
    """The finished process; killed, it would show no block."""
    command = [sys.executable, "prepare.py", "evaluate"]
    with subprocess.Popen(
        command,
        cwd=project.path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            out, err = process.communicate(timeout=PATIENT_S + 20)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
    texts = (text.decode().replace(os.linesep, "\n") for text in (out, err))
    return subprocess.CompletedProcess(command, process.returncode, *texts)


# These, and the folders they are in, change by themselves.
CACHES = {"harness", "review", "hooks", "index", ".git"}


def snapshot(folder):
    """What can be changed of each file below folder, .git included.

    Python's cache of compiled modules is left out, and git's of times of files.
    """
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {str(path): facts(path) for path in paths if path.name not in CACHES}


def facts(path):
    """Mode, times, attributes and content of a file."""
    status = path.lstat()
    attributes = os.listxattr(path) if hasattr(os, "listxattr") else []
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return status.st_mode, status.st_uid, status.st_mtime_ns, attributes, digest


def changes(before, after):
    """Files that came, went or are not as they were."""
    return sorted(p for p in before | after if before.get(p) != after.get(p))


def offspring(token, seconds=2):
    """Processes that still live, some seconds later, with the token in their PATH."""
    end = time.monotonic() + seconds
    while (found := processes_with(token)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def processes_with(token):
    """`pid command line` of all processes with the token in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (folder / "environ").read_bytes():
                found.append(f"{folder.name} {(folder / 'cmdline').read_bytes()}")
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return found


@functools.cache
def honest_score():
    """The metrics of the baseline, worked out here, in one process, fold by fold."""
    X, y = prepare.load_data()
    aucs = []
    for fit, held in prepare.split(y):
        np.random.seed(prepare.SEED)
        random.seed(prepare.SEED)
        model = make_pipeline(
            SimpleImputer(strategy="median"),
            StandardScaler(),
            LogisticRegression(max_iter=1000),
        ).fit(X.iloc[fit], y[fit])
        probability = model.predict_proba(X.iloc[held])[:, 1]
        aucs.append(roc_auc_score(y[held], probability))
    numbers = [np.mean(aucs[:-1]), aucs[-1], accuracy_score(y[held], probability > 0.5)]
    return dict(zip(METRICS, (f"{number:.6f}" for number in numbers), strict=True))


def make_project(path, budget_s, landlock):
    """A copy of the project, short of time, memory and Landlock, in mid-run."""
    project = Project(path, budget_s=budget_s)
    memory = f"MEMORY_SHARE = {MEMORY_SHARE}"
    replace(path / "prepare.py", "MEMORY_SHARE = 0.8", memory)
    sandbox, version = path / ".claude/harness/sandbox.py", "max(0, LIBC.syscall(*ask))"
    replace(sandbox, version, f"min({landlock}, {version})")
    if landlock == 0:
        # A kernel that is so old, or a container that forbids one, forbids both.
        replace(sandbox, "ctypes.CDLL(SECCOMP_LIBRARY)", "None")
    project.git("commit", "-qam", "tight")
    project.git("checkout", "-qb", "autoresearch/night")
    mark(path / "data" / "heart.csv")
    (path / "results.tsv").write_text("\t".join(COPIED) + "\n")
    (path / "run.log").write_text("val_auc: 0.5\n")
    return project


def mark(file):
    """Give the file an attribute that can be taken away, where there are such."""
    if hasattr(os, "setxattr"):
        with contextlib.suppress(OSError):  # the file system has none
            os.setxattr(file, "user.ours", b"1")


@pytest.fixture(scope="session")
def project_with(tmp_path_factory):
    """A function of (budget_s, landlock): the project that trials of the kind share."""
    return functools.cache(
        lambda *kind: make_project(tmp_path_factory.mktemp("trials") / "p", *kind)
    )


# ================================================================== the table
CASES = []

# ---------------------------------------------------------------- never ends
FOREVER = "while True: pass"
DEAF = """
import signal
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.alarm(0)
while True: pass
"""
SWALLOW = """
while True:
    try:
        time.sleep(0.01)
    except BaseException:
        pass
"""
ROUNDS = "lightgbm.LGBMClassifier(n_estimators=10**9, verbose=-1).fit(X, y)"
DIVERGE = """
from sklearn.svm import SVC
X = SimpleImputer().fit_transform(X)
SVC(C=1e300, kernel="linear", tol=1e-300).fit(np.tile(X, (9, 1)), np.tile(y, 9))
"""
SVD = "while True: np.linalg.svd(np.ones((2000, 2000)))"
SLOW_STR = """
class Slow(Exception):
    def __str__(self):
        while True: pass
raise Slow
"""
SLOW_END = """
import atexit
atexit.register(time.sleep, 999)
threading.Thread(target=time.sleep, args=(999,)).start()
class Sticky:
    def __del__(self): time.sleep(999)
sticky = Sticky()
"""
CASES += [
    case("a loop at import runs out of time", OUT_OF_TIME, at_import=FOREVER),
    variant("a loop in feature_fn", OUT_OF_TIME, in_features=FOREVER),
    variant("a loop in build_pipeline", OUT_OF_TIME, in_build=FOREVER),
    variant("a loop in predict_proba", OUT_OF_TIME, in_predict=FOREVER),
    case("a loop that swallows every exception", OUT_OF_TIME, in_fit=SWALLOW),
    case("a loop that is deaf to signals", OUT_OF_TIME, in_fit=DEAF),
    variant("endless output", OUT_OF_TIME, in_fit=f"while True: print({FAKE!r})"),
    case("LightGBM with 10^9 rounds", OUT_OF_TIME, in_fit=f"import lightgbm; {ROUNDS}"),
    variant("an SVC that never converges", OUT_OF_TIME, in_fit=DIVERGE),
    variant("one SVD after another", OUT_OF_TIME, in_fit=SVD),
    case("a process that stops itself", OUT_OF_TIME, in_fit="os.kill(os.getpid(), 19)"),
    variant("an exception whose str() never ends", OUT_OF_TIME, at_import=SLOW_STR),
    case("threads and exits that never end keep nobody", SCORE, at_import=SLOW_END),
]

# ---------------------------------------------------------------- ends badly
DEEP = """
sys.setrecursionlimit(10**9)
class Deep:
    def __repr__(self): return repr([self])
repr(Deep())
"""
MUTE = """
class Mute(Exception):
    def __str__(self): raise self
    __repr__ = __str__
raise Mute
"""
QUITTER = """
class Quitter(Exception):
    def __str__(self): os._exit(0)
raise Quitter
"""
NO_TRACEBACK = """
import traceback
sys.stderr = traceback.print_exc = None
1 / 0
"""
MANY = "raise ExceptionGroup('many', [ValueError(str(i)) for i in range(99)])"
DOS = b"\xef\xbb\xbf" + train_py().replace("\n", "\r\n").encode()
SAY = """
import stat
for fd in range(3, 20):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, b"{first}" + np.r_[0.5, P[:, 1]].tobytes())
    except OSError: pass
while True: time.sleep(1)
"""
CASES += [
    case("a syntax error crashes", crash("SyntaxError"), source="def feature_fn(X:"),
    variant("an empty file", crash("feature_fn"), source=""),
    variant("a null byte", crash("null bytes"), source=b"x = 1\0"),
    variant("what is not UTF-8", crash("(SyntaxError|Unicode)"), source=b"x = '\xff'"),
    variant("an unknown encoding", crash("SyntaxError"), source=b"# coding: klingon\n"),
    variant("too many parentheses", crash("(Syntax|Memory)Error"), source="(" * 99_000),
    variant("too long a chain", crash("RecursionError"), source="x" + "()" * 40_000),
    variant("200 kB of source", crash("more than 100000"), source="#" * 200_000),
    variant("a byte-order mark and CRLF are fine", SCORE, source=DOS),
    case("no feature_fn", crash("feature_fn"), at_end="del feature_fn"),
    variant("no build_pipeline", crash("build_pipeline"), at_end="del build_pipeline"),
    case("an import error", crash("No module named 'nil'"), at_import="import nil"),
    variant(
        "the import of a library's script",
        crash("SystemExit"),
        at_import="import numpy.f2py.__main__",
    ),
    variant("sys.exit(0) at import", crash("SystemExit"), at_import="sys.exit(0)"),
    case("sys.exit(0) in fit", crash("SystemExit"), in_fit="sys.exit(0)"),
    case("os._exit(0) at import", NO_ANSWER, at_import="os._exit(0)"),
    variant("os._exit(0) in fit", NO_ANSWER, in_fit="os._exit(0)"),
    case("a segmentation fault", NO_ANSWER, in_fit="ctypes.string_at(0)"),
    variant("a stack overflow", NO_ANSWER, in_fit=DEEP),
    variant("SIGKILL to itself", NO_ANSWER, in_fit="os.kill(os.getpid(), 9)"),
    variant("every descriptor closed", NO_ANSWER, in_fit="os.closerange(0, 999)"),
    case("stray bytes are no answer", NO_ANSWER, in_predict=SAY.format(first="x")),
    case(
        "what answers by itself ends with it", SCORE, in_predict=SAY.format(first="=")
    ),
    case(
        "one fold that fails",
        crash("fold [1-5]: ValueError: short"),
        in_fit="if len(X) == 193: raise ValueError('short')",
    ),
    variant(
        "the test fit that fails",
        crash("test: ValueError: long"),
        in_fit="if len(X) > 200: raise ValueError('long')",
    ),
    case("None as pipeline", crash("NoneType"), in_build="return None"),
    variant("a class as pipeline", crash("TypeError"), in_build="return Model"),
    variant("KeyboardInterrupt", crash("Keyboard"), in_fit="raise KeyboardInterrupt"),
    case("50 MB of message", crash("xxx"), in_fit="raise ValueError('x' * 5 * 10**7)"),
    case("an exception without a str()", crash("Mute"), in_fit=MUTE),
    variant("an exception that quits", NO_ANSWER, in_fit=QUITTER),
    variant(
        "an exception that can't be printed",
        crash("(Zero|without)"),
        in_fit=NO_TRACEBACK,
    ),
    variant(
        "an exception that says a block",
        crash("Val"),
        in_fit=f"raise ValueError({FAKE!r})",
    ),
    variant("an exception group", crash("ExceptionGroup"), in_fit=MANY),
]

# -------------------------------------------------------------- answers badly
KEEP_STATE = """
SEEN["y"] = SEEN.get("y", y)
Z, X = X, X.copy()
t, y = y, y.copy()
Z[:] = t[:] = 0
"""
ONE_MODEL = """
ONE = Model()
def build_pipeline(): return ONE
assert __name__ == "train"
"""
SWAP = {"in_fit": "self.classes_ = [1, 0]", "in_predict": "P = P[:, ::-1]"}
SHAPE = crash("predict_proba: shape")
CASES += [
    case("NaN crashes", crash("NaN or infinity"), in_predict="P[0] = np.nan"),
    variant("infinity", crash("NaN or infinity"), in_predict="P[-1] = np.inf"),
    case("one column", SHAPE, in_predict="P = P[:, :1]"),
    variant("a flat answer", SHAPE, in_predict="P = P[:, 1]"),
    case("a row too few", SHAPE, in_predict="P = P[:-1]"),
    variant("a row too many", SHAPE, in_predict="P = np.r_[P, P[:1]]"),
    variant("None for probabilities", SHAPE, in_predict="P = None"),
    variant("words", crash("ValueError"), in_predict="P = np.full(P.shape, 'high')"),
    variant("objects", crash("TypeError"), in_predict="P = np.full(P.shape, print)"),
    variant("numbers as objects are fine", SCORE, in_predict="P = P.astype(object)"),
    case("swapped classes are told by classes_", SCORE, **SWAP),
    variant(
        "classes of other names", crash("ValueError"), in_fit="self.classes_ = 'ab'"
    ),
    variant("no answer", crash("decision_function"), at_end="del Model.predict_proba"),
    case("sorted rows", crash("moved rows"), in_features="X = X.sort_values('age')"),
    case("dropped rows", crash("rows in"), in_features="X = X.dropna()"),
    variant("rows twice", crash("rows in"), in_features="X = pd.concat([X, X])"),
    variant("no rows at all", crash("rows in"), in_features="X = None"),
    case(
        "state and mutation in place harm nobody",
        SCORE,
        at_end=ONE_MODEL,
        in_fit=KEEP_STATE,
        in_features="Y = X.copy(); X[:] = 0; X = Y",
    ),
]

# -------------------------------------------------------------------- honest code
OWN_SOURCE = """
import asyncio, inspect
class Own: pass
async def nothing(): await asyncio.sleep(0.01)
asyncio.run(nothing())
assert "class Own" in inspect.getsource(Own)
with open(os.devnull, "w") as nowhere: print("x", file=nowhere)
"""
POOL = "import multiprocessing; multiprocessing.Pool(2)"
CASES += [
    case("its own source, asyncio and /dev/null work", SCORE, at_import=OWN_SOURCE),
    case("a pool of processes", crash("may not start processes"), in_fit=POOL),
    variant(
        "a subprocess",
        crash("may not start processes"),
        in_fit="subprocess.run(['true'])",
    ),
    variant(
        "the network",
        crash("may not use the network"),
        in_fit="socket.create_connection(('127.0.0.1', 9))",
    ),
]

# ---------------------------------------------------------------------- fakes
PRINT = f"""
import atexit
FAKE = {FAKE!r}
def print_all():
    print(FAKE, flush=True)
    print(FAKE, file=sys.stderr, flush=True)
    for fd in (1, 2):
        os.write(fd, FAKE.encode())
        os.write(fd, b"\\r\\x1b[2K\\x1b[1A\\x0b\\x85\\xe2\\x80\\xa8" + FAKE.encode())
    LIBC.puts(FAKE.encode())
    LIBC.fflush(None)
print_all()
"""
SHOUT = """
def shout():
    while True:
        print_all()
        time.sleep(0.01)
"""
OUTLIVE = """
if LIBC.fork() == 0:
    LIBC.setsid()
    for _ in range(3000):
        print_all()
        time.sleep(0.01)
    os._exit(0)
"""
REACH = """
ours = [f"/proc/{pid}/fd/{n}" for pid in (os.getppid(), "self") for n in range(9)]
for path in ["/dev/tty", "/dev/console", PROJECT + "/run.log", *ours]:
    try:
        open(path, "w").write(FAKE)
    except OSError:
        pass
    LIBC.write(LIBC.open(path.encode(), 1), FAKE.encode(), len(FAKE))
"""
PATCH = """
import random, sklearn.metrics, sklearn.model_selection, types
for module in (sklearn.metrics, sklearn.model_selection, time, random):
    for name in dir(module):
        if callable(getattr(module, name)):
            setattr(module, name, lambda *a, **k: 1.0)
for name in ("prepare", "harness.judge", "harness.candidate", "__main__"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].score = lambda *a, **k: {"val_auc": 1.0}
frame = sys._getframe()
while frame:
    frame.f_globals.update(BUDGET_S=10**9, landlock=print, kill=print)
    frame = frame.f_back
os.environ.clear()
os.environ.update(PYTHONPATH="/tmp", PYTHONSTARTUP="/x.py", PATH="/no", TMPDIR="/no")
np.seterr(all="ignore")
"""
CONTROL = r"HYPOTHESIS = 'a\r\x1b[2Kval_auc: 1\t\u2028\x85\x00\u202e\ud800\nstatus: ok'"
CASES += [
    case(
        "a block printed at import, in fit, at exit, by a thread fools nobody",
        SCORE,
        at_import=PRINT + SHOUT,
        in_fit="""
        print_all()
        atexit.register(print_all)
        threading.Thread(target=shout, daemon=True).start()
        """,
    ),
    variant(
        "nor one printed by a child that outlives the run",
        SCORE,
        at_import=PRINT + OUTLIVE,
    ),
    variant(
        "nor one written to every file in reach",
        SCORE,
        needs_landlock,
        at_import=PRINT + REACH,
    ),
    variant(
        "nor one of its own __main__", SCORE, at_end="if __name__ == '__main__': 1 / 0"
    ),
    variant("closed output", SCORE, in_fit="os.close(1); sys.stdout = None"),
    case("every patched library and module", SCORE, in_fit=PATCH),
    case("HYPOTHESIS with control characters", SCORE, at_import=CONTROL),
    variant("HYPOTHESIS of 90 kB", SCORE, at_import=f"HYPOTHESIS = '{'x: ' * 30_000}'"),
    variant("HYPOTHESIS of no string", SCORE, at_import="HYPOTHESIS = print"),
]

# ---------------------------------------------------------------------- peeks
ROUTES = """
import errno, fcntl, io, mmap, pathlib, resource, runpy, shutil, sqlite3, struct
import urllib.request
SECRET = PROJECT + "/data/heart.csv"
FOUND = []

def try_all(routes):
    for name, route in routes.items():
        try:
            found = route()
        except (Exception, SystemExit):
            continue
        if found is True or "thal" in str(found):
            FOUND.append(name)

class Harmless(str):
    def __getitem__(self, key): return "" if key == slice(0) else "dev/null"

def in_folder(folder, look):
    home = os.getcwd()
    os.chdir(folder)
    try: return look()
    finally: os.chdir(home)

def relative_to(folder):
    fd, path = os.open(folder, os.O_RDONLY), os.path.relpath(SECRET, folder)
    deep = "a/" * 9  # below here, ../ looks harmless
    os.makedirs(deep, exist_ok=True)
    return in_folder(deep, lambda: os.read(os.open(path, 0, dir_fd=fd), 999))

def c_read(path):
    fd, buffer = LIBC.open(path.encode(), 0), ctypes.create_string_buffer(4096)
    return LIBC.read(fd, buffer, 4096) > 0 and buffer.value

def c_run(*command):
    words = (ctypes.c_char_p * 9)(*map(str.encode, command))
    pid = LIBC.fork()
    if pid == 0:
        LIBC.execv(words[0], words)
        os._exit(1)
    return os.waitpid(pid, 0)[1] == 0
"""
BY_POSITION = """
import numpy as np

HYPOTHESIS = "no features: the score of a row is its position"

class Model:
    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        p = np.arange(len(X)) / len(X)
        return np.c_[1 - p, p]

def feature_fn(X):
    return X

def build_pipeline():
    return Model()
"""
# The class at each position of a stratified split follows from seed and counts alone.
BY_SPLIT = """
import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

def held_out_labels(n_fit, n_held):
    counted = np.repeat([0, 1], [164, 139])
    train, test = train_test_split(
        np.arange(303), test_size=0.2, stratify=counted, random_state=42
    )
    if n_held == len(test):
        return counted[test]
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    pairs = folds.split(train, counted[train])
    return next(counted[train][h] for f, h in pairs if len(h) == n_held)

class Model:
    def fit(self, X, y):
        self.n_fit = len(y)
        return self

    def predict_proba(self, X):
        p = held_out_labels(self.n_fit, len(X)).astype(float)
        return np.c_[1 - p, p]

def feature_fn(X):
    return X

def build_pipeline():
    return Model()
"""
PYTHON_ROUTES = """
try_all({
    "open": lambda: open(SECRET).read(),
    "relative": lambda: open(os.path.relpath(SECRET)).read(),
    "a Path": lambda: io.FileIO(pathlib.Path(SECRET)).read(),
    "a lying string": lambda: open(Harmless(SECRET)).read(),
    "os.open": lambda: os.read(os.open(SECRET, 0), 999),
    "dir_fd": lambda: relative_to("/usr"),
    "dir_fd of its own": lambda: relative_to("."),
    "root": lambda: open("/proc/self/root" + SECRET).read(),
    "root of parent": lambda: open(f"/proc/{os.getppid()}/root" + SECRET).read(),
    "genfromtxt": lambda: np.genfromtxt(SECRET, dtype=str, delimiter=","),
    "fromfile": lambda: np.fromfile(SECRET, "S1").tobytes(),
    "memmap": lambda: bytes(np.memmap(SECRET, "S1", "r")),
    "mmap": lambda: mmap.mmap(os.open(SECRET, 0), 0, prot=mmap.PROT_READ)[:],
    "pandas": lambda: pd.read_csv(SECRET).columns,
    "URL": lambda: pd.read_csv("file://" + SECRET).columns,
    "sqlite": lambda: sqlite3.connect(SECRET).execute("select * from a"),
    "copy": lambda: open(shutil.copy(SECRET, "x")).read(),
    "hard link": lambda: (os.link(SECRET, "hard"), open("hard").read()),
    "symlink": lambda: (os.symlink(SECRET, "soft"), open("soft").read()),
    "rename": lambda: (os.rename(SECRET, "moved"), open("moved").read()),
    "cat": lambda: subprocess.check_output(["cat", SECRET]),
    "shell": lambda: os.popen(f"cat {SECRET}").read(),
    "spawn": lambda: os.posix_spawn("/bin/cat", ["cat", SECRET], {}) > 0,
    "fork": lambda: os.fork() > 0,
    "git": lambda: subprocess.check_output(["git", "-C", PROJECT, "log", "-p"]),
    "listdir": lambda: os.listdir(PROJECT + "/.git") != [],
    "chdir": lambda: in_folder(PROJECT + "/data", os.listdir) != [],
    "main": lambda: sys.modules["__main__"].load_data(),
    "prepare": lambda: sys.path.insert(0, PROJECT) or __import__("prepare").load_data(),
    "runpy": lambda: runpy.run_path(PROJECT + "/prepare.py")["load_data"](),
    "results.tsv": lambda: open(PROJECT + "/results.tsv").read() != "",
    "run.log": lambda: open(PROJECT + "/run.log").read() != "",
    "temp files of others": lambda: len(os.listdir("..")) > 0,
    "memory of parent": lambda: open(f"/proc/{os.getppid()}/mem", "rb").seek(0) == 0,
    "files of parent": lambda: len(os.listdir(f"/proc/{os.getppid()}/fd")) > 0,
    "TCP": lambda: bool(socket.create_connection(("127.0.0.1", PORT), 1)),
    "server": lambda: bool(socket.create_server(("127.0.0.1", 0))),
    "web": lambda: urllib.request.urlopen(f"http://127.0.0.1:{PORT}").read(),
})
"""
NATIVE_ROUTES = """
import lightgbm, xgboost
PARENT = f"/proc/{os.getppid()}"
O_PATH, BIND, ATTACH = 0x200000, 4096, 16
try_all({
    "open": lambda: c_read(SECRET),
    "openat": lambda: LIBC.openat(LIBC.open(b"/", O_PATH), SECRET[1:].encode(), 0) > 0,
    "root of parent": lambda: c_read(PARENT + "/root" + SECRET),
    "memory of parent": lambda: LIBC.open((PARENT + "/mem").encode(), 0) > 0,
    "memory of parent, to write": lambda: LIBC.open((PARENT + "/mem").encode(), 1) > 0,
    "ptrace": lambda: LIBC.ptrace(ATTACH, os.getppid(), 0, 0) == 0,
    "hard link": lambda: LIBC.link(SECRET.encode(), b"hard") == 0,
    "symlink": lambda: LIBC.symlink(SECRET.encode(), b"soft") == 0 and c_read("soft"),
    "mount": lambda: LIBC.mount(PROJECT.encode(), b".", None, BIND, None) == 0,
    "chroot": lambda: LIBC.chroot(PROJECT.encode()) == 0 and c_read("/data/heart.csv"),
    "cat": lambda: c_run("/bin/cat", SECRET),
    "any program": lambda: c_run("/bin/true"),
    "a program of its own": lambda: shutil.copy("/bin/true", "t") and c_run("t"),
    "system": lambda: LIBC.system(f"grep -q thal {SECRET}".encode()) == 0,
    "lightgbm": lambda: lightgbm.Dataset(SECRET).construct().num_data() > 0,
    "xgboost": lambda: xgboost.DMatrix(SECRET + "?format=csv").num_row() > 0,
    "a disk": lambda: LIBC.mknod(b"disk", 0o60600, os.stat("/usr").st_dev) == 0,
})
"""
TELL = "if FOUND: raise RuntimeError(f'peeked by {FOUND}')"
HEAP = """
def walk_frames():
    frame = sys._getframe()
    while frame:
        yield from [*frame.f_locals.values(), *frame.f_globals.values()]
        frame = frame.f_back

def labels(n_held):
    things = [*gc.get_objects(), *walk_frames()]
    arrays = [np.asarray(t) for t in things if isinstance(t, np.ndarray | pd.Series)]
    arrays = [a for a in arrays if a.ndim == 1 and len(a) in (n_held, 303, 242)]
    return [a for a in arrays if a.dtype.kind in "if" and {*a} == {0, 1}]
"""
HEAP_HUNT = """
frame = sys._getframe()
while "X_held" not in frame.f_locals:
    frame = frame.f_back
found = [a for a in labels(len(frame.f_locals["X_held"])) if len(a) != len(y)]
assert not found and "num" not in frame.f_locals["X_held"]
"""
REMEMBER = """
import tempfile
folders = [os.path.dirname(np.__file__), tempfile.gettempdir(), os.path.expanduser("~")]
folders += "/tmp /var/tmp /dev/shm /run /dev/mqueue /proc/sys/kernel . ..".split()
places = [folder + "/labels" for folder in folders] + [PROJECT + "/data/labels"]
assert not getattr(np, "labels", None) and not any(map(os.path.exists, places))
np.labels = y
def create_in(folder, name):
    os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=os.open(folder, os.O_RDONLY))

for place in places:
    try: open(place, "wb").write(y.tobytes())
    except OSError: pass
    try: create_in(*os.path.split(place))
    except OSError: pass
"""
NATIVE_REMEMBER = """
for place in places:
    LIBC.close(LIBC.creat(place.encode(), 0o600))
"""
# Each candidate leaves a mark and looks for those of others, beside it and before it.
CHANNELS = """
LIBRARY = os.__file__
NEAR = [pid for pid in range(os.getpid() - 9, os.getpid() + 9) if pid != os.getpid()]
HELD = []

def hear(sign):
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if sign():
            return True
        time.sleep(0.05)

def near(sign):
    def some():
        for pid in NEAR:
            try:
                if sign(pid): return True
            except OSError: pass
    return hear(some)
"""
PYTHON_CHANNELS = """
def by_attribute():
    try:
        if os.getxattr(LIBRARY, "user.mark"): return True
    except OSError: pass
    os.setxattr(LIBRARY, "user.mark", b"1")
    time.sleep(0.5)
    os.removexattr(LIBRARY, "user.mark")
    return True

def by_lock():
    file = open(LIBRARY)
    HELD.append(file)
    fcntl.lockf(file, fcntl.LOCK_SH, 1, 77)
    ask = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 77, 1, 0)
    free = struct.pack("h", fcntl.F_UNLCK)
    return hear(lambda: fcntl.fcntl(file, fcntl.F_GETLK, ask)[:2] != free)

def by_record_lock():
    file, busy = open(LIBRARY, "rb"), struct.pack("hhqqi", fcntl.F_RDLCK, 0, 78, 1, 0)
    HELD.append(file)
    fcntl.fcntl(file, fcntl.F_SETLK, busy)
    ask = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 78, 1, 0)
    free = struct.pack("h", fcntl.F_UNLCK)
    return hear(lambda: fcntl.fcntl(file, fcntl.F_GETLK, ask)[:2] != free)

def by_limit():
    resource.setrlimit(resource.RLIMIT_RTTIME, (424242, 424242))
    return near(lambda p: resource.prlimit(p, resource.RLIMIT_RTTIME)[0] == 424242)

def by_listener():
    HELD.append(socket.socket())
    HELD[-1].listen()
    return " 0A " in open("/proc/self/net/tcp").read()

try_all({"attribute": by_attribute, "lock": by_lock, "limit": by_limit})
try_all({"listener": by_listener, "record lock": by_record_lock})
"""
COUNTED = """
def read(path): return lambda: open(path).read() != ""
def clock_of(pid): return time.clock_gettime(~pid << 3 | 2) >= 0
library = os.open(LIBRARY, os.O_RDONLY)
page = mmap.mmap(library, 4096, prot=mmap.PROT_READ)
address = np.frombuffer(page, np.uint8).ctypes.data
FUTEX, FUTEX_WAKE = {"x86_64": 202, "aarch64": 98}[os.uname().machine], 1
try_all({
    "memory of the machine": read("/proc/meminfo"),
    "load of the machine": read("/proc/stat"),
    "own status": read(f"/proc/{os.getpid()}/status"),
    "own stat": read(f"/proc/{os.getpid()}/stat"),
    "control groups": lambda: len(os.listdir("/sys/fs/cgroup")) > 0,
    "frequency": lambda: len(os.listdir("/sys/devices/system/cpu/cpu0")) > 0,
    "fadvise": lambda: os.posix_fadvise(library, 0, 0, 4) is None,
    "usage": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_utime >= 0,
    "disk": lambda: os.statvfs("/").f_bfree > 0,
    "clock of parent": lambda: clock_of(os.getppid()),
    "cores of parent": lambda: len(os.sched_getaffinity(os.getppid())) > 0,
    "group of parent": lambda: os.getpgid(os.getppid()) > 0,
    "lock in memory": lambda: LIBC.mlock(ctypes.c_void_p(address), 4096) == 0,
    "timer": lambda: LIBC.timer_create(1, None, ctypes.byref(ctypes.c_int())) == 0,
    "sysinfo": lambda: LIBC.sysinfo(ctypes.create_string_buffer(512)) == 0,
    "futex": lambda: LIBC.syscall(
        FUTEX, ctypes.c_void_p(address), FUTEX_WAKE, 1, None, None, 0
    ) == 0,
})
"""
NATIVE_CHANNELS = """
ctypes.set_errno(0)
def taken(made):
    return made < 0 and ctypes.get_errno() in (errno.EEXIST, errno.EADDRINUSE)

def address(family, rest):
    return struct.pack("=H", family) + rest, 2 + len(rest)

def one_of_a_pair():
    pair = (ctypes.c_int * 2)()
    LIBC.socketpair(1, 2, 0, pair)
    return pair[0]

def cached():
    fd = os.open(LIBRARY, os.O_RDONLY)
    try: return os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT) >= 0
    except BlockingIOError: return True

loopback = struct.pack(">H", PORT) + bytes([127, 0, 0, 1]) + bytes(8)
queue = b"/mark%d" % KEY
made = {
    "shared memory": LIBC.shmget(KEY, 4096, 0o3600),  # IPC_CREAT | IPC_EXCL
}
heard = {name: taken(number) for name, number in made.items()}
for name, make in {
    "semaphore": lambda: LIBC.semget(KEY, 1, 0o3600),
    "message queue": lambda: LIBC.msgget(KEY, 0o3600),
    "posix queue": lambda: LIBC.mq_open(queue, 0o302, 0o600, None),
    "datagram": lambda: LIBC.bind(LIBC.socket(2, 2, 0), *address(2, loopback)),
    "abstract": lambda: LIBC.bind(LIBC.socket(1, 2, 0), *address(1, b"\\0" + queue)),
    "pair": lambda: LIBC.bind(one_of_a_pair(), *address(1, b"\\0pair" + queue)),
}.items():
    made[name] = make()
    heard[name] = taken(made[name])
time.sleep(0.5)
LIBC.shmctl(made["shared memory"], 0, None)
LIBC.semctl(made["semaphore"], 0, 0)
LIBC.msgctl(made["message queue"], 0, None)
if made["posix queue"] >= 0: LIBC.mq_unlink(queue)
FOUND += [name for name in heard if heard[name]]
if LIBC.inotify_init() >= 0: FOUND.append("inotify")
if LIBC.memfd_create(b"m", 0) >= 0: FOUND.append("memory without a limit")
try_all({"page cache": cached})
"""
PORT = "PORT, KEY = 50_000 + hash(PROJECT) % 9999, 1 + hash(PROJECT) % 10**6\n"
SANDBOX = [
    case(
        "Python reaches no data, no process, no network",
        SCORE,
        at_import=PORT + ROUTES + PYTHON_ROUTES,
        in_features=TELL,
    ),
    case(
        "native code reaches no data, no process, no program",
        SCORE,
        needs_landlock,
        at_import=ROUTES + NATIVE_ROUTES,
        in_features=TELL,
    ),
    case("no held-out label is in the heap", SCORE, at_import=HEAP, in_fit=HEAP_HUNT),
    case("nothing is remembered from fold to fold", SCORE, in_fit=REMEMBER),
    variant(
        "nothing is remembered by native code",
        SCORE,
        needs_landlock,
        in_fit=REMEMBER + NATIVE_REMEMBER,
    ),
    case(
        "Python has no channel between folds",
        SCORE,
        at_import=PORT + ROUTES + CHANNELS + PYTHON_CHANNELS,
        in_features=TELL,
    ),
    case(
        "what all processes share is not told",
        SCORE,
        needs_landlock,
        at_import=PORT + ROUTES + CHANNELS + COUNTED,
        in_features=TELL,
    ),
    case(
        "native code has no channel between folds",
        SCORE,
        needs_landlock,
        at_import=PORT + ROUTES + CHANNELS + NATIVE_CHANNELS,
        in_features=TELL,
    ),
]

# -------------------------------------------------------------------- litters
ATTEMPTS = """
def attempt_all(damage):
    names = "data data/heart.csv prepare.py train.py results.tsv run.log .git .git/HEAD"
    for name in [*names.split(), ".git/index", ".claude/harness/judge.py", "new"]:
        for attempt in damage(PROJECT + "/" + name):
            try: attempt()
            except (Exception, SystemExit): pass
"""
DAMAGE = """
import shutil
def damage(path):
    yield lambda: open(path, "a").write("x")
    yield lambda: os.remove(path)
    yield lambda: os.truncate(path, 0)
    yield lambda: os.rename(path, path + ".old")
    yield lambda: os.chmod(path, 0)
    yield lambda: os.utime(path, (0, 0))
    yield lambda: os.chown(path, 65534, 65534)
    yield lambda: os.setxattr(path, "user.mark", b"1")
    yield lambda: os.removexattr(path, "user.ours")
    yield lambda: shutil.rmtree(path)
    yield lambda: os.mkdir(path + ".d")
    yield lambda: os.symlink("/", path + ".l")
    yield lambda: subprocess.run(["rm", "-rf", path])
attempt_all(damage)
"""
NATIVE_DAMAGE = """
def damage(path):
    path = path.encode()
    yield lambda: LIBC.open(path, os.O_RDWR | os.O_TRUNC)
    yield lambda: LIBC.unlink(path)
    yield lambda: LIBC.truncate(path, 0)
    yield lambda: LIBC.rename(path, path + b".old")
    yield lambda: LIBC.mkdir(path + b".d", 0o700)
    yield lambda: os.mkfifo(path + b".f")  # Python audits no such event
    yield lambda: os.mknod(path + b".n")
    yield lambda: LIBC.open(path, os.O_TRUNC)
    yield lambda: LIBC.open(path, os.O_TRUNC | os.O_ACCMODE)
    yield lambda: LIBC.symlink(b"/", path + b".l")
    yield lambda: LIBC.system(b"rm -rf " + path)
attempt_all(damage)
"""
METADATA_DAMAGE = """
import struct
def damage(path):
    path = path.encode()
    yield lambda: LIBC.chmod(path, 0o777)
    yield lambda: LIBC.chown(path, 65534, 65534)
    yield lambda: LIBC.utimes(path, bytes(32))
    yield lambda: LIBC.setxattr(path, b"user.mark", b"1", 1, 0)
    yield lambda: LIBC.removexattr(path, b"user.ours")
    value = ctypes.create_string_buffer(b"1")
    given = struct.pack("QII", ctypes.addressof(value), 1, 0)
    yield lambda: LIBC.syscall(463, -100, path, 0, b"user.mark", given, 16)
attempt_all(damage)
"""
OF_A_LIBRARY = """
fd = os.open(np.__file__, os.O_RDONLY)
before = os.stat(fd).st_mode
for change in (os.chmod, os.fchmod):
    try: change(fd, before ^ 0o002)
    except OSError: pass
after = os.stat(fd).st_mode
LIBC.fchmod(fd, before & 0o777)
assert after == before
"""
SHARED_MEMORY = """
import mmap
pages = {pages} * 0.06 / 2
block = np.frombuffer(mmap.mmap(-1, int(pages * 1.3) * 4096), np.uint8)
block[::4096] = 1
time.sleep(2.5)
"""
SHARED_MEMORY = SHARED_MEMORY.format(pages=os.sysconf("SC_PHYS_PAGES"))
MALLOC = "if not all(LIBC.malloc(2**30) for _ in range(999)): raise MemoryError"
MEMORY = crash("([Mm]emory|without an answer)")
WRITE = crash("train.py may not write")
A_FILE = "open('model.txt', 'w').write('x')"
NATIVE_FILES = """
for folder in (b"/tmp", b"/dev/shm", b"/var/tmp", b"/dev/mqueue", PROJECT.encode()):
    for flags in (os.O_WRONLY | os.O_CREAT, os.O_RDWR | 0o20200000):  # O_TMPFILE
        assert LIBC.open(folder + b"/left", flags, 0o600) < 0
    assert LIBC.mkdir(folder + b"/folder", 0o700) < 0
assert LIBC.memfd_create(b"m", 0) < 0
"""
GIGABYTE = "for _ in range(2**9): os.write(1, b'x' * 2**19)"
DAEMON = """
for _ in range(3):
    if LIBC.fork() == 0:
        LIBC.setsid()
        if LIBC.fork(): os._exit(0)
        os.closerange(0, 99)
        for _ in range(60): time.sleep(1)
        os._exit(0)
"""
HYDRA = """
def grow_heads(end):
    while time.monotonic() < end:  # each process leaves a child, and dies
        if LIBC.fork():
            os._exit(0)
        LIBC.setsid()
    os._exit(0)

end = time.monotonic() + 30  # whatever the harness does, it is over then
for _ in range(4):
    if LIBC.fork() == 0:
        grow_heads(end)
"""
WORKERS = """
import joblib, multiprocessing
try: joblib.Parallel(2)(joblib.delayed(time.sleep)(0.01) for _ in range(4))
except Exception: pass
for method in ("fork", "spawn", "forkserver"):
    context = multiprocessing.get_context(method)
    try: context.Process(target=time.sleep, args=(99,)).start()
    except Exception: pass
"""
SIGNALS = """
for number in (19, 15, 9):  # to its parent, the only one that it knows of
    try: os.kill(os.getppid(), number)
    except OSError: pass
    LIBC.kill(os.getppid(), number)
    LIBC.killpg(os.getppid(), number)
"""
LIMIT_PARENT = """
import resource
for number in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
    try: resource.prlimit(os.getppid(), number, (0, 0))
    except OSError: pass
"""
NATIVE_LIMIT_PARENT = "for n in (0, 7): LIBC.prlimit(os.getppid(), n, bytes(16), None)"
SLOW_PARENT = """
for reach in (os.sched_getaffinity, lambda pid: os.sched_setaffinity(pid, {0})):
    try: reach(os.getppid())
    except OSError: continue
    raise RuntimeError("reached")
parent = os.PRIO_PROCESS, os.getppid()
try: os.setpriority(*parent, 19)
except OSError: pass
assert LIBC.setpriority(*parent, 19) < 0
"""
SANDBOX += [
    case("Python changes nothing of the project", SCORE, at_import=ATTEMPTS + DAMAGE),
    case(
        "native code changes nothing of the project",
        SCORE,
        needs_landlock,
        at_import=ATTEMPTS + NATIVE_DAMAGE,
    ),
    variant(
        "native code changes no mode, owner, time, attribute",
        SCORE,
        needs_landlock,
        at_import=ATTEMPTS + METADATA_DAMAGE,
    ),
    variant("no library's mode is changed", SCORE, at_import=OF_A_LIBRARY),
    case("no daemon is left behind", SCORE, needs_landlock, at_import=DAEMON),
    case("nor by a crash", crash("Zero"), needs_landlock, in_fit=DAEMON + "1 / 0"),
    variant(
        "nor do processes run away",
        OUT_OF_TIME,
        needs_landlock,
        at_import=HYDRA + FOREVER,
    ),
    variant("nor are a library's workers", SCORE, in_fit=WORKERS),
    case("signals reach nobody else", SCORE, needs_landlock, at_import=SIGNALS),
    variant("nor do limits set by Python", SCORE, at_import=LIMIT_PARENT),
    variant(
        "nor do limits set by native code",
        SCORE,
        needs_landlock,
        at_import=NATIVE_LIMIT_PARENT,
    ),
    variant("nor do priorities", SCORE, needs_landlock, at_import=SLOW_PARENT),
]
CASES += [
    case("a memory bomb", MEMORY, in_fit="X = [bytearray(2**26) for _ in range(9999)]"),
    variant("a memory bomb in native code", MEMORY, in_fit=MALLOC),
    variant("a memory bomb in shared memory", MEMORY, in_fit=SHARED_MEMORY),
    case("1 GB of stdout", SCORE, at_import=GIGABYTE),
    case("a file that is written crashes", WRITE, in_fit=A_FILE),
    variant(
        "a temporary file crashes",
        crash("may not"),
        in_fit="tempfile.NamedTemporaryFile()",
    ),
    case("native code writes no file", SCORE, needs_landlock, in_fit=NATIVE_FILES),
]


# ------------------------------------------------------- the sandbox, on older kernels
def on_older_kernels(row):
    """The row, unless it needs a Landlock that there is not, as variants."""
    answer, _, spots, _ = row.values
    for landlock, name in OLDER.items():
        if landlock or needs_landlock not in row.marks:
            marks = [needs_landlock] * (landlock > 0)
            promise = f"{row.id}, {name}"
            yield variant(promise, answer, *marks, landlock=landlock, **spots)


CASES += SANDBOX + [older for row in SANDBOX for older in on_older_kernels(row)]
KILL_PARENT = "if X['age'].sum() == {age}: LIBC.kill(os.getppid(), 9)"


def ages_of_fold_1():
    """The sum of the ages that fold 1 fits, by which its candidate knows itself."""
    X, y = prepare.load_data()
    return X["age"].iloc[prepare.split(y)[0][0]].sum()


CASES += [
    variant(
        "a killed parent is a crash, without Landlock",
        crash("(was killed|ended without an answer)"),
        landlock=0,
        in_fit=KILL_PARENT.format(age=ages_of_fold_1()),
    )
]


@pytest.mark.parametrize("source", [BY_POSITION, BY_SPLIT], ids=["position", "split"])
def test_the_order_of_rows_says_nothing(source, project_with):
    trial = Trial(project_with(PATIENT_S, LANDLOCK), source, PATIENT_S)
    # 0.5 ± 4 standard errors of an AUC by chance on 242 and on 61 rows
    assert abs(float(trial.block["val_auc"]) - 0.5) < 0.15
    assert abs(float(trial.block["test_auc"]) - 0.5) < 0.3


def test_the_order_of_rows_follows_from_their_content_alone():
    X, y = prepare.load_data()
    mixed = X.sample(frac=1, random_state=1)
    places = places_by_content(X, y), places_by_content(mixed, y[mixed.index])
    ordered = [
        rows.iloc[np.argsort(p)] for rows, p in zip((X, mixed), places, strict=True)
    ]
    assert ordered[0].reset_index(drop=True).equals(ordered[1].reset_index(drop=True))


def test_equal_rows_are_ordered_by_a_secret_and_each_time_alike():
    X, y = pd.DataFrame({"x": [1.0] * 50}), np.arange(50) % 2
    places = places_by_content(X, y)
    assert (places == places_by_content(X, y)).all()
    # Another label anywhere, which a candidate may lack, makes another order.
    y[7] = 1 - y[7]
    assert (places != places_by_content(X, y)).any()


@pytest.mark.parametrize("answer, source, spots, landlock", CASES)
def test_honest_answer(answer, source, spots, landlock, project_with):
    budget_s = HASTY_S if answer is OUT_OF_TIME else PATIENT_S
    project = project_with(budget_s, landlock)
    if source is None:
        source = train_py(project=str(project.path), **spots)
    Trial(project, source, budget_s).check(answer)


TRUNCATE = """
import ctypes, os, sys
from harness import sandbox
sandbox.READABLE += (sys.argv[1],)
sandbox.landlock_version = lambda: 1
sandbox.confine(2**40)
library, libc = os.path.join(sys.argv[1], "library").encode(), ctypes.CDLL(None)
libc.truncate(library, 0)
for flags in (os.O_RDONLY, os.O_ACCMODE):
    libc.open(library, os.O_TRUNC | flags)
print(open(library).read())
"""


@needs_landlock
@pytest.mark.thorough
def test_a_file_that_may_be_read_is_not_truncated_with_the_first_landlock(tmp_path):
    (tmp_path / "library").write_text("as it was")
    command = [sys.executable, "-c", TRUNCATE, tmp_path]
    environ = os.environ | {"PYTHONPATH": str(ROOT / ".claude")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.stdout == "as it was\n", done.stderr
