"""Hostile, broken and careless train.py files: each gets an honest answer.

The answer is the score that the same model honestly has, digit by digit, or a crash
with its reason. Candidates of one fork server score most of these files, in the real
sandbox, and `Trials.check` holds what is promised whatever the answer is. What is
promised of the printed block goes through the real `prepare.py evaluate`.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import re
import select
import sys
import textwrap
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import (
    SCORES,
    Project,
    needs_landlock,
    needs_seccomp,
    processes_with,
    replace,
    scores_of,
)

import prepare
from harness import judge
from harness.errors import Crash
from harness.judge import libraries, places_by_content
from harness.records import Block

BLOCK = [field.name for field in dataclasses.fields(Block)]
SCORE = "the baseline's true score"
HASTY_S = 1  # budget of the trials that are to use it up
PATIENT_S = 60  # budget of all others
MARGIN_S = 30  # after the budget, on a machine that is busy
MEMORY = 2**29  # bytes for all candidates, so that a memory bomb stays a small one
needs_limit = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is limited on Linux alone"
)
# The newest Landlock that there is, the first one, and none. A kernel that has none, or
# a container that forbids it, has no seccomp either: Python's audit hooks are left.
WHOLE, FIRST, NONE = 99, 1, 0

# ------------------------------------------------------------- a hostile train.py
TRAIN = """
HYPOTHESIS = "hostile"
import ctypes, gc, os, signal, socket, subprocess, sys, threading, time
import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

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
    return TRAIN.format(project=project, at_import=at_import, at_end=at_end, **indented)


def case(promise, answer, *marks, source=None, sandbox=WHOLE, **spots):
    """A row of the table: a source, or the baseline with hostile lines in it."""
    return pytest.param(answer, source, spots, sandbox, marks=marks, id=promise)


def crash(reason):
    """The answer: a crash with this reason."""
    return re.compile(rf".*{reason}", re.DOTALL)


OUT_OF_TIME = crash("no answer within the budget")
NO_ANSWER = crash("ended without an answer")


# ------------------------------------------------------------------ the trials of it
@dataclasses.dataclass
class Trials:
    """A fork server whose candidates try one file after the other on a project."""

    project: Project
    server: judge.ForkServer
    # In PATH, and so in the environment of all offspring.
    token: str
    # The temporary folder that the environment names.
    temporary: Path

    def check(self, source, answer, err):
        """The expected answer, and whatever it is: nothing changed, left or late.

        err: a function that returns what was written to stderr.
        """
        before, processes = snapshot(self.project.path), processes_with(self.token)
        budget_s = HASTY_S if answer is OUT_OF_TIME else PATIENT_S
        start = time.monotonic()
        result = self.answer(source, budget_s, 1 if answer is OUT_OF_TIME else None)
        assert time.monotonic() - start < budget_s + MARGIN_S
        if answer == SCORE:
            assert result == SCORES
        else:
            assert isinstance(result, str) and answer.match(result), result
        assert changes(before, snapshot(self.project.path)) == []
        assert self.others_than(processes) == set()
        assert list(self.temporary.iterdir()) == []
        assert is_harmless(err())

    def answer(self, source, budget_s, n_at_once):
        """The scores of a train.py, or why there are none."""
        server = dataclasses.replace(self.server, source=source, memory=MEMORY)
        (X, y), start = prepare.load_data(), time.monotonic() - prepare.BUDGET_S
        try:
            scores, _ = prepare.score(
                server, X, y, start=start + budget_s, n_at_once=n_at_once
            )
        except Crash as crash:
            return str(crash)
        return {name: f"{value:.6f}" for name, value in scores.items()}

    def others_than(self, processes, seconds=5):
        """Other processes that carry the token, and still live some seconds later."""
        end = time.monotonic() + seconds
        while (new := processes_with(self.token) - processes) and (
            time.monotonic() < end
        ):
            time.sleep(0.05)
        return new


@contextlib.contextmanager
def trials_in(folder, sandbox):
    """The Trials in a new project whose kernel has this Landlock at the most."""
    project, temporary = make_project(folder / "project", sandbox), folder / "temporary"
    temporary.mkdir()
    token = f"/trials-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", os.environ["PATH"] + os.pathsep + token)
            patch.setenv("TMPDIR", str(temporary))
            # A fork server runs the modules beside the judge's.
            beside = project.path / ".claude" / "harness" / "judge.py"
            patch.setattr(judge, "__file__", str(beside))
            warm = train_py(at_import="import lightgbm, xgboost").encode()
            server = stack.enter_context(prepare.server_of(warm))
        yield Trials(project, server, token, temporary)


def make_project(path, landlock):
    """A copy of the project in the middle of a run."""
    project = Project(path)
    sandbox, version = path / ".claude/harness/sandbox.py", "max(0, LIBC.syscall(*ask))"
    replace(sandbox, version, f"min({landlock}, {version})")
    if landlock == NONE:
        replace(sandbox, "ctypes.CDLL(SECCOMP_LIBRARY)", "None")
    for name in ("results.tsv", "run.log"):
        (path / name).write_text("val_auc: 0.5\n")
    if hasattr(os, "setxattr"):
        # An attribute that can be taken away; some file systems have none.
        with contextlib.suppress(OSError):
            os.setxattr(path / "data" / "heart.csv", "user.ours", b"1")
    return project


@pytest.fixture(scope="session")
def trials(tmp_path_factory):
    """A function of a sandbox: its Trials, with a new server if the last one died."""
    with contextlib.ExitStack() as stack:
        new = lambda kind: trials_in(tmp_path_factory.mktemp("trials"), kind)  # noqa: E731
        started = functools.cache(lambda kind: stack.enter_context(new(kind)))

        def trials_of(kind):
            # A fork server says nothing unless it is asked, or dead.
            if select.select([started(kind).server.control], [], [], 0)[0]:
                started.cache_clear()
            return started(kind)

        yield trials_of


def snapshot(folder):
    """What can be changed of each file below folder, .git included.

    Python's cache of compiled modules is left out, with the folders that it is in.
    """
    paths = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    caches = "harness", "review", "hooks"
    return {str(path): facts(path) for path in paths if path.name not in caches}


def facts(path):
    """Mode, times, attributes and content of a file."""
    status = path.lstat()
    attributes = os.listxattr(path) if hasattr(os, "listxattr") else []
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return status.st_mode, status.st_uid, status.st_mtime_ns, attributes, digest


def changes(before, after):
    """Files that came, went or are not as they were."""
    return sorted(p for p in before | after if before.get(p) != after.get(p))


def is_harmless(text):
    """Whether no line of it can pass for the block's, and no terminal acts on it."""
    lines_of_block = re.search(rf"^({'|'.join(BLOCK)}):", text, re.MULTILINE)
    return not lines_of_block and all(c.isprintable() or c == "\n" for c in text)


# ================================================================== the table
CASES = []

# ---------------------------------------------------------------- never ends
DEAF = """
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.alarm(0)
while True:
    try: time.sleep(0.01)
    except BaseException: pass
"""
ROUNDS = "lightgbm.LGBMClassifier(n_estimators=10**9, verbose=-1).fit(X, y)"
SLOW_STR = """
class Slow(Exception):
    def __str__(self): time.sleep(999)
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
STOP = "os.kill(os.getpid(), signal.SIGSTOP)"
CASES += [
    case("a loop deaf to signals and exceptions", OUT_OF_TIME, at_import=DEAF),
    case("LightGBM with 10^9 rounds", OUT_OF_TIME, in_fit=f"import lightgbm; {ROUNDS}"),
    case("a process that stops itself", OUT_OF_TIME, in_predict=STOP),
    case("endless output", OUT_OF_TIME, in_features=f"while True: print({FAKE!r})"),
    case("an exception whose str() never ends", OUT_OF_TIME, in_build=SLOW_STR),
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
SAY = """
import stat
for fd in range(3, 20):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, b"{first}" + np.r_[0.5, P[:, 1]].tobytes())
    except OSError: pass
while True: time.sleep(1)
"""
DOS = b"\xef\xbb\xbf" + train_py().replace("\n", "\r\n").encode()
NOT_UTF_8 = crash("(SyntaxError|Unicode)")
CASES += [
    case("a syntax error", crash("SyntaxError"), source=b"def feature_fn(X:"),
    case("an empty file", crash("feature_fn"), source=b""),
    case("a null byte", crash("null bytes"), source=b"x = 1\0"),
    case("what is not UTF-8", NOT_UTF_8, source=b"x = '\xff'"),
    case("too many brackets", crash("(Syntax|Memory)Error"), source=b"(" * 99_000),
    case("too long a chain", crash("RecursionError"), source=b"x" + b"()" * 40_000),
    case("a byte-order mark and CRLF are fine", SCORE, source=DOS),
    case("no build_pipeline", crash("build_pipeline"), at_end="del build_pipeline"),
    case("an import error", crash("No module named 'nil'"), at_import="import nil"),
    case("sys.exit(0)", crash("SystemExit"), in_fit="sys.exit(0)"),
    case("os._exit(0)", NO_ANSWER, at_import="os._exit(0)"),
    case("a segmentation fault", NO_ANSWER, in_fit="ctypes.string_at(0)"),
    case("a stack overflow", NO_ANSWER, in_fit=DEEP),
    case("every descriptor closed", NO_ANSWER, in_fit="os.closerange(0, 999)"),
    case("stray bytes are no answer", NO_ANSWER, in_predict=SAY.format(first="x")),
    case("an answer by its own hand is one", SCORE, in_predict=SAY.format(first="=")),
    case("KeyboardInterrupt", crash("Keyboard"), in_fit="raise KeyboardInterrupt"),
    case("an exception without a str()", crash("Mute"), in_fit=MUTE),
]

# -------------------------------------------------------------- answers badly
KEEP_STATE = """
assert not getattr(np, "labels", None) and "y" not in SEEN
SEEN["y"] = np.labels = y.copy()
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
    case("None as pipeline", crash("NoneType"), in_build="return None"),
    case("NaN", crash("NaN or infinity"), in_predict="P[0] = np.nan"),
    case("one column", SHAPE, in_predict="P = P[:, :1]"),
    case("a row too few", SHAPE, in_predict="P = P[:-1]"),
    case("words", crash("ValueError"), in_predict="P = np.full(P.shape, 'high')"),
    case("numbers as objects are fine", SCORE, in_predict="P = P.astype(object)"),
    case("swapped classes are told by classes_", SCORE, **SWAP),
    case("classes of other names", crash("ValueError"), in_fit="self.classes_ = 'ab'"),
    case("no answer", crash("decision_function"), at_end="del Model.predict_proba"),
    case("sorted rows", crash("moved rows"), in_features="X = X.sort_values('age')"),
    case("dropped rows", crash("rows in"), in_features="X = X.dropna()"),
    case("no rows at all", crash("rows in"), in_features="X = None"),
    case(
        "nothing is remembered, and mutation in place harms nobody",
        SCORE,
        at_end=ONE_MODEL,
        in_fit=KEEP_STATE,
        in_features="Y = X.copy(); X[:] = 0; X = Y",
    ),
]

# ----------------------------------------------------- what is refused says why
OWN_SOURCE = """
import asyncio, inspect
class Own: pass
async def nothing(): await asyncio.sleep(0.01)
asyncio.run(nothing())
assert "class Own" in inspect.getsource(Own)
with open(os.devnull, "w") as nowhere: print("x", file=nowhere)
os.write(1, b"x" * 2**26)
"""
POOL = "import multiprocessing; multiprocessing.Pool(2)"
CONNECT = "socket.create_connection(('127.0.0.1', 9))"
BOMB = "bomb = [bytearray(2**26) for _ in range(16)]"
A_FILE, A_TABLE = "open('model.txt', 'w')", "open(PROJECT + '/data/heart.csv')"
CASES += [
    case("its own source, asyncio, much output", SCORE, at_import=OWN_SOURCE),
    case("a pool of processes", crash("may not start processes"), in_fit=POOL),
    case("the network", crash("may not use the network"), in_fit=CONNECT),
    case("a file that is written", crash("may not write .*model.txt"), in_fit=A_FILE),
    case("a file that is read", crash("may not read .*heart.csv"), in_fit=A_TABLE),
    case("a memory bomb", crash("out of memory"), needs_limit, in_fit=BOMB),
]

# ------------------------------------------------------------------ the sandbox
# One candidate tries all ways, and crashes with the names of those that led somewhere.
ROUTES = """
import fcntl, io, mmap, pathlib, resource, runpy, shutil
SECRET, PARENT = PROJECT + "/data/heart.csv", f"/proc/{os.getppid()}"
LIBRARY, HELD, FOUND = os.__file__, [], []

def try_all(routes):
    for name, route in routes.items():
        try:
            found = route()
        except (Exception, SystemExit):
            continue
        if found is True or "thal" in str(found):
            FOUND.append(name)

def ran(found): return True
"""
TELL = "if FOUND: raise RuntimeError(f'reached by {FOUND}')"
PYTHON_ROUTES = """
class Harmless(str):
    def __getitem__(self, key): return "" if key == slice(0) else "dev/null"

def listed(folder):
    os.chdir(folder)
    return os.listdir() != []

def below(folder, path, flags):
    return os.open(path, flags, dir_fd=os.open(folder, os.O_RDONLY))

def connected():
    try: socket.create_connection(("127.0.0.1", 9))
    except ConnectionRefusedError: pass  # nobody listens there
    return True

try_all({
    "open": lambda: open(SECRET).read(),
    "relative": lambda: open(os.path.relpath(SECRET)).read(),
    "a Path": lambda: io.FileIO(pathlib.Path(SECRET)).read(),
    "a lying string": lambda: open(Harmless(SECRET)).read(),
    "os.open": lambda: os.read(os.open(SECRET, 0), 999),
    "dir_fd": lambda: os.read(below("/usr", os.path.relpath(SECRET, "/usr"), 0), 999),
    "root": lambda: open("/proc/self/root" + SECRET).read(),
    "root of parent": lambda: open(PARENT + "/root" + SECRET).read(),
    "memory of parent": lambda: open(PARENT + "/mem", "rb").seek(0) == 0,
    "files of parent": lambda: len(os.listdir(PARENT + "/fd")) > 0,
    "genfromtxt": lambda: np.genfromtxt(SECRET, dtype=str, delimiter=","),
    "fromfile": lambda: np.fromfile(SECRET, "S1").tobytes(),
    "mmap": lambda: mmap.mmap(os.open(SECRET, 0), 0, prot=mmap.PROT_READ)[:],
    "pandas": lambda: pd.read_csv(SECRET).columns,
    "URL": lambda: pd.read_csv("file://" + SECRET).columns,
    "copy": lambda: open(shutil.copy(SECRET, "/tmp/x")).read(),
    "hard link": lambda: ran(os.link(SECRET, "/tmp/hard")),
    "symlink": lambda: ran(os.symlink(SECRET, "/tmp/soft")),
    "cat": lambda: subprocess.check_output(["cat", SECRET]),
    "shell": lambda: os.popen(f"cat {SECRET}").read(),
    "spawn": lambda: os.posix_spawn("/bin/cat", ["cat", SECRET], {}) > 0,
    "fork": lambda: os.fork() > 0 or os._exit(0),
    "listdir": lambda: os.listdir(PROJECT + "/.git") != [],
    "chdir": lambda: listed(PROJECT + "/data"),
    "prepare": lambda: runpy.run_path(PROJECT + "/prepare.py")["load_data"](),
    "run.log": lambda: open(PROJECT + "/run.log").read() != "",
    "temporary file": lambda: ran(open("/tmp/labels", "wb")),
    "in a library": lambda: ran(below("/usr", "labels", os.O_CREAT | os.O_WRONLY)),
    "TCP": connected,
    "server": lambda: ran(socket.create_server(("127.0.0.1", 0))),
    "listener": lambda: ran(socket.socket().listen()),
    "lock": lambda: ran(fcntl.lockf(open(LIBRARY), fcntl.LOCK_SH, 1, 77)),
    "flock": lambda: ran(fcntl.flock(open(LIBRARY), fcntl.LOCK_SH)),
    "attribute": lambda: ran(os.setxattr(LIBRARY, "user.mark", b"1")),
    "mode": lambda: ran(os.chmod(LIBRARY, os.stat(LIBRARY).st_mode)),
    "signal": lambda: ran(os.kill(os.getppid(), 0)),
    "limit": lambda: ran(resource.prlimit(os.getppid(), resource.RLIMIT_CPU)),
    "memory of the machine": lambda: open("/proc/meminfo").read() != "",
    "load of the machine": lambda: open("/proc/stat").read() != "",
    "own status": lambda: open(f"/proc/{os.getpid()}/status").read() != "",
    "sockets of others": lambda: open("/proc/self/net/tcp").read() != "",
    "control groups": lambda: len(os.listdir("/sys/fs/cgroup")) > 0,
})
"""
NATIVE_ROUTES = """
import lightgbm, xgboost
O_PATH, HEADED = 0x200000, {"header": True, "verbose": -1}
FOLDERS = "/tmp", "/dev/shm", "/var/tmp", PROJECT
CREATE, NO_NAME = os.O_CREAT | os.O_WRONLY, os.O_RDWR | 0o20200000  # O_TMPFILE

def opens(path, flags=0): return LIBC.open(path.encode(), flags, 0o600) >= 0

def makes(folder): return LIBC.mkdir(folder.encode(), 0o700) == 0

try_all({
    "open": lambda: opens(SECRET),
    "openat": lambda: LIBC.openat(LIBC.open(b"/", O_PATH), SECRET[1:].encode(), 0) > 0,
    "root of parent": lambda: opens(PARENT + "/root" + SECRET),
    "memory of parent": lambda: opens(PARENT + "/mem", 2),
    "to change": lambda: opens(SECRET, os.O_RDWR),
    "to empty": lambda: opens(SECRET, os.O_TRUNC | os.O_ACCMODE),
    "output of parent": lambda: opens(PARENT + "/fd/2", 1),
    "run.log": lambda: opens(PROJECT + "/run.log", 1),
    "memory of the machine": lambda: opens("/proc/meminfo"),
    "own stat": lambda: opens(f"/proc/{os.getpid()}/stat"),
    "signal": lambda: LIBC.kill(os.getppid(), 9) == 0,
    "signal to the group": lambda: LIBC.killpg(os.getppid(), 9) == 0,
    "system": lambda: LIBC.system(f"grep -q thal {SECRET}".encode()) == 0,
    "lightgbm": lambda: ran(lightgbm.Dataset(SECRET, params=HEADED).construct()),
    "xgboost": lambda: ran(xgboost.DMatrix(SECRET + "?format=csv")),
} | {
    f"file in {folder}": lambda folder=folder: opens(folder + "/x", CREATE)
    for folder in FOLDERS
} | {
    f"folder in {folder}": lambda folder=folder: makes(folder + "/d")
    for folder in FOLDERS
} | {
    f"no name in {folder}": lambda folder=folder: opens(folder, NO_NAME)
    for folder in FOLDERS
})
"""
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

names = "data", "data/heart.csv", "prepare.py", "run.log", ".git", ".git/index", "new"
for name in (*names, ".claude/harness/judge.py"):
    for attempt in damage(PROJECT + "/" + name):
        try: attempt()
        except (Exception, SystemExit): pass
"""
DAEMON = """
for _ in range(3):
    if LIBC.fork() == 0:
        LIBC.setsid()
        if LIBC.fork(): os._exit(0)
        os.closerange(0, 99)
        for _ in range(60): time.sleep(1)
        os._exit(0)
1 / 0
"""
KERNEL = needs_landlock, needs_seccomp
BY_PYTHON = {"at_import": ROUTES + PYTHON_ROUTES, "in_features": TELL}
BY_NATIVE_CODE = {"at_import": ROUTES + NATIVE_ROUTES, "in_features": TELL}
CASES += [
    case("no held-out label is in the heap", SCORE, at_import=HEAP, in_fit=HEAP_HUNT),
    case("no daemon is left behind", crash("Zero"), needs_seccomp, in_fit=DAEMON),
]
for sandbox, name in {WHOLE: "", NONE: ", by audit hooks alone"}.items():
    damage = {"at_import": DAMAGE, "sandbox": sandbox}
    CASES += [
        case(f"Python reaches nothing{name}", SCORE, sandbox=sandbox, **BY_PYTHON),
        case(f"Python changes nothing of the project{name}", SCORE, **damage),
    ]
for sandbox, name in {WHOLE: "", FIRST: ", by the first Landlock"}.items():
    reach = {"sandbox": sandbox, **BY_NATIVE_CODE}
    CASES += [case(f"native code reaches nothing{name}", SCORE, *KERNEL, **reach)]


@pytest.mark.parametrize("answer, source, spots, sandbox", CASES)
def test_honest_answer(answer, source, spots, sandbox, trials, capsys):
    trial = trials(sandbox)
    if source is None:
        source = train_py(project=str(trial.project.path), **spots).encode()
    prepare.hypothesis(source)  # the judge parses it as well
    trial.check(source, answer, lambda: capsys.readouterr().err)


# ------------------------------------------------------------------- the block
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

def shout():
    while True:
        print_all()
        time.sleep(0.01)

print_all()
"""
PRINT_MORE = """
print_all()
atexit.register(print_all)
threading.Thread(target=shout, daemon=True).start()
"""
PATCH = """
import random, sklearn.metrics, sklearn.model_selection, types
for module in (sklearn.metrics, sklearn.model_selection, random):
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
"""
CONTROL = r"'a\r\x1b[2Kval_auc: 1\t\u2028\x85\x00\u202e\ud800\nstatus: ok'"


def check_block(block, done):
    """A whole block, and no line or control character of the candidate's in it."""
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == BLOCK
    assert is_harmless(done.stderr) and done.stdout.replace("\n", "").isprintable()
    is_ok = block["status"] == "ok"
    assert done.returncode == (0 if is_ok else 1)
    for key in SCORES:
        assert re.fullmatch(r"\d\.\d{6}" if is_ok else "", block[key])


def test_whatever_is_printed_and_patched_the_block_is_whole_and_true(project):
    source = train_py(at_import=PRINT, in_fit=PRINT_MORE + PATCH)
    block, done = project.evaluate(source.replace('"hostile"', CONTROL))
    check_block(block, done)
    assert block["status"] == "ok", done.stderr
    assert {key: block[key] for key in SCORES} == SCORES
    assert "val_auc: 1" in block["hypothesis"]


def test_a_crash_that_says_a_block_is_told_in_one_short_line(project):
    fake = f"{FAKE!r} + {CONTROL}"
    message = f"raise ValueError({fake} + 'x' * 5 * 10**7 + '\\n' + {fake})"
    block, done = project.evaluate(train_py(at_import=PRINT, in_fit=message))
    check_block(block, done)
    assert re.match(r"crashed \(fold \d: ValueError: commit: 0.9", block["status"])
    assert len(block["status"]) < 500


def test_an_evaluation_ends_at_its_budget(tmp_path):
    project = Project(tmp_path / "project", budget_s=4)
    block, done = project.evaluate("import time\ntime.sleep(99)")
    check_block(block, done)
    assert re.fullmatch(r"crashed \(.*no answer within the budget\)", block["status"])
    assert 4 <= float(block["wall_time_s"]) < 4 + MARGIN_S


def test_a_library_that_is_a_script_is_loaded_by_candidates_alone():
    # Its import ends the process, which in the fork server would be the end of it.
    assert libraries(b"import numpy.f2py.__main__") == {"numpy.f2py"}


# --------------------------------------------------------------- the order of rows
# The class at each position of a stratified split follows from seed and counts alone.
BY_SPLIT = """
import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

def guess(n_held):
    counted = np.repeat([0, 1], [164, 139])
    train, test = train_test_split(
        np.arange(303), test_size=0.2, stratify=counted, random_state=42
    )
    if n_held == len(test):
        return counted[test]
    folds = StratifiedKFold(5, shuffle=True, random_state=42)
    pairs = folds.split(train, counted[train])
    return next(counted[train][h] for f, h in pairs if len(h) == n_held)

class build_pipeline:
    def fit(self, X, y): pass

    def predict_proba(self, X):
        p = guess(len(X)).astype(float)
        return np.c_[1 - p, p]

def feature_fn(X):
    return X
"""


def test_the_order_of_rows_says_nothing(server):
    scores = scores_of(server, BY_SPLIT)
    # 0.5 ± 4 standard errors of an AUC by chance on 242 and on 61 rows
    assert abs(float(scores["val_auc"]) - 0.5) < 0.15
    assert abs(float(scores["test_auc"]) - 0.5) < 0.3


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
