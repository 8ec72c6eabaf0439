"""The labels' side of the trust boundary: it starts candidates and holds the clock.

The judge is the command's own process. It starts the fork server, a fresh process that
loads libraries once and forks a candidate for each job, so no candidate comes from a
process with labels. The judge sends a candidate what it may know and takes raw float64
bytes back: there is nothing to unpickle. It never runs a line of train.py.
"""

import ast
import contextlib
import math
import os
import pickle
import select
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Crash, Refused, one_line, say

# -------------------------------------------------------------------- constants
# The fork server loads these, where train.py imports them.
PRELOADED = ("sklearn", "pandas", "numpy", "scipy", "lightgbm", "xgboost", "flaml")
# It always loads these: every candidate needs them to read its job.
ALWAYS = ("numpy", "pandas")
SERVE = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from harness.candidate import serve; serve(*sys.argv[2:])"
)
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
THREAD_POOLS = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM")
# The job on the test part, of which the agent is to see nothing.
TEST = "test"
# The time that the fork server has to kill all candidates, and to end.
KILL_S = 5  # seconds
# The end of what a candidate prints is kept.
OUTPUT_BYTES = 3000  # bytes


# ------------------------------------------------------------------ the machine
def n_cores() -> int:
    """Cores that this process may use; a container's quota of CPU time counts."""
    cores = os.cpu_count() or 1
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
        with contextlib.suppress(OSError, ValueError):
            # Microseconds of CPU time in each period; "max", which is no limit, is
            # a ValueError.
            quota, period = map(int, CPU_QUOTA.read_text().split())
            cores = min(cores, math.ceil(quota / period))
    return cores


def memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# -------------------------------------------------------------- the fork server
@dataclass
class ForkServer:
    """The parent of all candidates of one train.py, as the judge sees it."""

    control: socket.socket
    source: bytes
    seed: int
    # What all candidates together may use more than the server does.
    memory: int  # bytes
    # Show what every candidate prints, and not only what one that crashed did.
    prints: bool

    def fork(self, link: int, output: int, deadline: float) -> None:
        """Start a candidate at these descriptors, which may be closed afterwards.

        ConnectionError without a server, TimeoutError if it does not answer in time.
        """
        socket.send_fds(self.control, [b"f"], [link, output])
        # macOS may empty a socket that its sender closes before it has been received.
        self.wait_for(b"f", max(0.01, deadline - time.monotonic()))

    def kill_all(self) -> None:
        """Return when all candidates are dead; a server that is dead has none."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            self.control.send(b"k")
            self.wait_for(b"k", KILL_S)

    def wait_for(self, answer: bytes, seconds: float) -> None:
        """Wait for an answer of the server; ConnectionError, or TimeoutError.

        Answers that came too late for the message before are skipped.
        """
        self.control.settimeout(seconds)
        while (said := self.control.recv(1)) != answer:
            if not said:
                raise ConnectionError


@contextlib.contextmanager
def fork_server(
    source: bytes, seed: int, n_jobs: int, memory_share: float, prints: bool = False
) -> Iterator[ForkServer]:
    """The ForkServer of a train.py; after the block all its processes are dead.

    n_jobs: how many candidates may run side by side, which share the cores;
    memory_share: of the machine's memory, for all candidates together.
    """
    control, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-s", "-u", "-c", SERVE]
    command += [str(Path(__file__).parents[1]), *sorted({*ALWAYS, *libraries(source)})]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        # A stderr that is closed can't be inherited.
        stderr=None if sys.stderr else subprocess.DEVNULL,
        env=candidates_environment(seed, n_cores() // min(n_cores(), n_jobs)),
        # A Ctrl-C is the judge's to handle.
        start_new_session=True,
    )
    theirs.close()
    try:
        yield ForkServer(control, source, seed, int(memory() * memory_share), prints)
    finally:
        control.close()
        try:
            process.wait(KILL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def candidates_environment(seed: int, n_threads: int) -> dict[str, str]:
    """The user's environment, without what changes Python, with the limits of threads.

    Sets of strings have the same order each time (PYTHONHASHSEED). Libraries use
    n_threads, whatever n_jobs train.py asks for; LightGBM asks joblib.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if sys.platform == "darwin":
        # There LightGBM and XGBoost load Homebrew's OpenMP, and scikit-learn brings its
        # own. With two of them in one process, fits on several threads hang or crash.
        n_threads = 1
    limits = {f"{pool}_THREADS": str(n_threads) for pool in THREAD_POOLS}
    limits |= {"OMP_THREAD_LIMIT": str(n_threads), "JOBLIB_MULTIPROCESSING": "0"}
    return kept | limits | {"PYTHONHASHSEED": str(seed)}


def libraries(source: bytes) -> set[str]:
    """Modules of PRELOADED that train.py imports, which are safe to load in advance."""
    nodes = syntax_nodes(source)
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    names += [f"{n.module}.{a.name}" for n in froms for a in n.names]
    # Modules that lie deeper may be scripts.
    parts = [name.split(".")[:2] for name in names]
    return {".".join(part) for part in parts if part[0] in PRELOADED}


def syntax_nodes(source: bytes) -> list[ast.AST]:
    """All nodes of the syntax tree; [] if it does not parse (a candidate will say)."""
    try:
        # The candidate repeats the warnings.
        with warnings.catch_warnings(action="ignore"):
            return list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


# --------------------------------------------------------------------- the jobs
@dataclass
class Candidate:
    """A running candidate: what it is for, and what it has said and printed so far."""

    number: int
    name: str
    # Its job and its answer go through link; it prints to output.
    link: socket.socket
    output: socket.socket
    # The order in which the held-out rows were sent: (n_held,).
    order: "np.ndarray"  # noqa: F821
    said: bytes = b""
    printed: bytes = b""
    is_printing: bool = True

    def take_answer(self) -> bool:
        """Take what it says; True once the answer is whole, or the candidate dead."""
        size = 2 + 8 * (1 + len(self.order))
        chunk = received(self.link)
        self.said = (self.said + chunk)[:size]
        return not chunk or len(self.said) == size

    def take_output(self) -> None:
        """Take what there is of its output, of which the end is kept."""
        chunk = received(self.output)
        self.printed = (self.printed + chunk)[-OUTPUT_BYTES:]
        self.is_printing = bool(chunk)

    def show(self) -> None:
        """Write what it printed to stderr, indented: it can't pass for the block."""
        while self.is_printing:
            self.take_output()
        lines = self.printed.decode(errors="replace").splitlines()
        say("".join(f"    {self.name} | {one_line(line)}\n" for line in lines))


def received(sender: socket.socket) -> bytes:
    """What is there to be received; b"" at the end, or where nothing is there."""
    try:
        return sender.recv(2**16)
    except (ConnectionError, BlockingIOError):
        return b""


def answers(server: ForkServer, jobs, X, y, deadline: float, n_at_once=None):
    """Pairs (number of a job, its answer), each as soon as it is there.

    jobs: (name, fit rows, held-out rows); deadline: a time of time.monotonic;
    n_at_once: candidates side by side, by default one for each core. An answer is the
    threshold between the classes, then the scores: float64 (1 + n_held,). Crash at the
    first job without an answer; after that, too, all candidates are dead.
    """
    import numpy as np

    place = places_by_content(X, y)
    n_at_once = n_at_once or min(n_cores(), len(jobs))
    waiting, running = list(enumerate(jobs)), []
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                number, (name, fit, held) = waiting.pop(0)
                fit, order = fit[np.argsort(place[fit])], np.argsort(place[held])
                running.append(start(server, number, name, order, deadline))
                job = server.memory // n_at_once, server.seed, server.source
                send(running[-1], (*job, *parts(X, y, fit, held[order])), deadline)
            for candidate in ended(running, server, deadline):
                running.remove(candidate)
                yield candidate.number, answer_of(candidate, server)
    finally:
        server.kill_all()


def places_by_content(X, y):
    """The place of each row in an order made of the contents of rows: (n_rows,).

    The class at a position of a stratified split follows from its seed and the class
    counts, so rows in split order would give their labels away, and rows in file order
    almost. Equal rows are ordered by chance, which a secret decides that no candidate
    has: all labels. So the order is the same in each evaluation.
    """
    import hashlib

    import numpy as np
    from pandas.util import hash_pandas_object

    secret = int.from_bytes(hashlib.sha256(y.tobytes()).digest())
    chance = np.random.default_rng(secret).permutation(len(X))
    order = np.lexsort((chance, hash_pandas_object(X, index=False)))
    return np.argsort(order)


def parts(X, y, fit, held):
    """What a candidate gets: rows to fit on, their labels, and held-out rows."""
    X_fit, X_held = (X.iloc[rows].reset_index(drop=True) for rows in (fit, held))
    return X_fit, y[fit], X_held


def start(server: ForkServer, number: int, name: str, order, deadline) -> Candidate:
    """A new Candidate; Crash if the fork server is dead, or late."""
    (link, theirs), (output, writer) = socket.socketpair(), socket.socketpair()
    output.setblocking(False)
    with theirs, writer:
        try:
            server.fork(theirs.fileno(), writer.fileno(), deadline)
        except ConnectionError:
            raise Crash(f"{name}: the fork server was killed") from None
        except TimeoutError:
            raise Crash(f"{name}: no answer within the budget") from None
    return Candidate(number, name, link, output, order)


def send(candidate: Candidate, job: tuple, deadline: float) -> None:
    """Send a candidate its job; ended() tells of one that is dead or late."""
    candidate.link.settimeout(max(0.01, deadline - time.monotonic()))
    with (
        contextlib.suppress(ConnectionError, TimeoutError),
        candidate.link.makefile("wb") as pipe,
    ):
        pickle.dump(job, pipe, protocol=5)


def ended(running: list, server: ForkServer, deadline: float) -> list[Candidate]:
    """The candidates that have ended, once one has; Crash at the deadline."""
    while True:
        sockets = [c.link for c in running]
        sockets += [c.output for c in running if c.is_printing]
        left = max(0, deadline - time.monotonic())
        ready = select.select([*sockets, server.control], [], [], left)[0]
        if not ready:
            running[0].show()
            raise Crash(f"{running[0].name}: no answer within the budget")
        # The server says nothing unless it is asked: if it can be read, it is dead.
        if server.control in ready:
            raise Crash(f"{running[0].name}: the fork server was killed")
        for candidate in running:
            if candidate.output in ready:
                candidate.take_output()
        if found := [c for c in running if c.link in ready and c.take_answer()]:
            return found


def answer_of(candidate: Candidate, server: ForkServer):
    """The answer of a candidate that has ended, rows as in its job.

    Crash if there is none; Refused if it ended before it ran train.py.
    """
    try:
        answer = read_answer(candidate)
    except (Crash, Refused):
        if candidate.name != TEST or server.prints:
            candidate.show()
        raise
    if server.prints:
        candidate.show()
    return answer


def read_answer(candidate: Candidate):
    """The answer in what a candidate said, as answer_of() has it."""
    import numpy as np

    name, said = candidate.name, candidate.said
    reason = one_line(said[1:].lstrip(b"!").decode(errors="replace"))
    if said[:1] == b"-":
        cure = "raise the limit of processes (ulimit -u, or the container's)"
        raise Refused(f"no process can be started ({reason}): {cure}")
    if said[:1] != b"+":
        raise Refused(f"{name}: no sandbox ({reason or 'ended'}): uv run prepare.py")
    if said[1:2] == b"!":
        raise Crash(f"{name}: {reason}")
    if said[1:2] != b"=" or len(said) != 2 + 8 * (1 + len(candidate.order)):
        why = "killed, perhaps for want of memory, or crashed in native code"
        raise Crash(f"{name}: ended without an answer ({why})")
    sent = np.frombuffer(said[2:])
    if not np.isfinite(sent).all():
        raise Crash(f"{name}: NaN or infinity among the scores")
    answer = sent.copy()
    answer[1 + candidate.order] = sent[1:]
    return answer
