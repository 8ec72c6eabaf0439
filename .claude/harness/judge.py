"""The labels' side of the trust boundary: asks candidates, holds the clock.

The judge is the command's own process. Before it has data it forks the fork server,
which forks a candidate a job: so libraries are loaded once for all, and no candidate
comes from a process with labels. The judge sends a job what it may know, and takes raw
float64 bytes back: there is nothing to unpickle. It never runs a line of train.py.
"""

import ast
import contextlib
import importlib
import io
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass

from harness.candidate import (
    NUMBER,
    adopt_orphans,
    children,
    kill_orphans,
    serve_forks,
)
from harness.machine import memory, n_cores, oom_kills
from harness.ratchet import Refused

# ---------------------------------------------------------------- constants
# Loaded before the fork: what the judge needs, and, where train.py imports them, these.
OWN_LIBRARIES = ["numpy", "pandas", "sklearn.metrics", "sklearn.model_selection"]
LIBRARIES = ["sklearn", "pandas", "numpy", "scipy", "lightgbm", "xgboost", "flaml"]
THREAD_POOLS = ["OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM"]
# The job on the test part: of it the agent is to see nothing.
TEST = "test"
# More descriptors than the judge has open when it forks.
FILES = 256
# From one look at clock and disk to the next; and what the fork server has to end all.
LOOK_S = 0.2  # seconds
END_S = 1  # seconds
# Of what a candidate prints the end is shown.
OUTPUT_BYTES = 3000  # bytes
# Where du and rm may be: not all systems have them in /usr/bin.
PROGRAMS = {"PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{os.defpath}"}


class Crash(Exception):
    """The candidate's fault: the reason why there is no score."""


# ------------------------------------------------------------ the fork server
@dataclass
class ForkServer:
    """The parent of all candidates of one train.py, as the judge sees it."""

    control: socket.socket
    # Each candidate gets a folder of its own in this one, for temporary files.
    folder: str
    source: bytes
    seed: int
    # What all candidates together may use more than the server.
    memory: int  # bytes
    disk_bytes: int  # bytes
    # Show what all candidates print, or what one prints that crashes.
    prints: bool
    # Its replies are waited for until then: a time of time.monotonic.
    deadline: float = 0.0

    def fork(self, link, output):
        """The process id of a new candidate; OSError if the system has no room."""
        socket.send_fds(self.control, [NUMBER.pack(0)], [link, output])
        if (pid := self.reply()) < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def end(self, pid):
        """Kill the candidate and its group, and wait; its wait status."""
        self.control.sendall(NUMBER.pack(pid))
        return self.reply()

    def reply(self):
        """The number it answers; ConnectionError if it was killed or stopped."""
        left = max(END_S, self.deadline - time.monotonic())
        if not select.select([self.control], [], [], left)[0]:
            raise ConnectionResetError
        if len(said := self.control.recv(NUMBER.size)) < NUMBER.size:
            raise ConnectionResetError
        return NUMBER.unpack(said)[0]


@contextlib.contextmanager
def fork_server(source, seed, n_jobs, memory_share, disk_bytes, prints=False):
    """The ForkServer of a train.py; at the end of the block all its processes are dead.

    memory_share: of the memory that this process may use, for all candidates together.
    To be called before it has data: candidates start with a copy of what it has.
    """
    limits = int(memory() * memory_share), disk_bytes
    load_own_libraries(n_jobs)
    # Children that a shell had, before it became this process by exec, are spared.
    others = children()
    adopt_orphans()
    with temporary_folder(disk_bytes) as folder:
        control, theirs = socket.socketpair()
        pid = fork_with(theirs, libraries(source))
        try:
            yield ForkServer(control, folder, source, seed, *limits, prints)
        finally:
            # It hangs up when all are dead.
            control.shutdown(socket.SHUT_WR)
            select.select([control], [], [], END_S)
            control.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kill_orphans(others)


def load_own_libraries(n_jobs):
    """Import what the judge needs, once for all; threads shared out among n_jobs."""
    os.environ |= thread_limits(n_cores() // min(n_cores(), n_jobs))
    try:
        for name in OWN_LIBRARIES:
            importlib.import_module(name)
    except ImportError as error:
        raise Refused(f"{error}: uv sync") from None
    # check_array imports more when it is first called.
    one_cell = sys.modules["pandas"].DataFrame({"x": [0.0]})
    sys.modules["sklearn.utils"].check_array(one_cell)


def thread_limits(n_threads):
    """Environment by which libraries use n_threads, whatever n_jobs train.py says.

    LightGBM asks joblib.
    """
    limits = {f"{pool}_THREADS": str(n_threads) for pool in THREAD_POOLS}
    limits |= {"OMP_THREAD_LIMIT": str(n_threads)}
    return limits | {"JOBLIB_MULTIPROCESSING": "0"}


def fork_with(control, modules):
    """Fork the fork server, with nothing of ours but control; its process id."""
    if (pid := os.fork()) == 0:
        try:
            # In a session of its own: a Ctrl-C is the judge's to handle.
            os.setsid()
            os.dup2(control.fileno(), 0)
            os.closerange(3, FILES)
            serve_forks(socket.socket(fileno=0), modules)
        finally:
            # It never returns: this is an error.
            traceback.print_exc()
            os._exit(1)
    control.close()
    return pid


def libraries(source):
    """Modules of LIBRARIES that train.py imports: safe to load before the fork."""
    nodes = syntax_nodes(source)
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    names += [f"{n.module}.{a.name}" for n in froms for a in n.names]
    # Deeper ones may be scripts.
    parts = [name.split(".")[:2] for name in names]
    return sorted({".".join(part) for part in parts if part[0] in LIBRARIES})


def syntax_nodes(source):
    """All nodes of the syntax tree; [] if it does not parse (a candidate will say)."""
    try:
        # The candidate says its warnings.
        with warnings.catch_warnings(action="ignore"):
            return list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


# ------------------------------------------------------------------ the jobs
@dataclass
class Candidate:
    """One that runs: what it is for, and what it has said and printed so far."""

    # Number and name of its job.
    number: int
    name: str
    pid: int
    # Its job and its answer go through link; output is the pipe that it prints to.
    link: socket.socket
    output: io.FileIO
    # Of the held-out rows, as they were sent.
    order: object
    # The kernel's count of those it killed for want of memory, when this one began.
    oom_kills: int
    said: bytes = b""
    printed: bytes = b""

    @property
    def size(self):
        """Bytes of a whole answer: its first two bytes, threshold and scores."""
        return 2 + 8 * (1 + len(self.order))

    def hear(self):
        """Take what it says; True once there is no more to come."""
        try:
            chunk = os.read(self.link.fileno(), 2**16)
        except ConnectionError:
            # It died before it had read its job.
            chunk = b""
        self.said = (self.said + chunk)[: self.size]
        return not chunk or len(self.said) == self.size

    def take_output(self):
        """Take what it has printed, the tail of it; False if that is nothing."""
        chunk = self.output.read(2**16) or b""
        self.printed = (self.printed + chunk)[-OUTPUT_BYTES:]
        return bool(chunk)


def ask_all(server, jobs, X, y, deadline, tell):
    """tell(number, answer) for each job as it ends; Crash at the first without one.

    jobs: (name, fit rows, held-out rows); deadline: a time of time.monotonic. An answer
    is the threshold between the classes, then the scores: float64 (1 + n_held,).
    """
    import numpy as np

    waiting, running = list(enumerate(jobs))[::-1], []
    n_at_once, disk = min(n_cores(), len(jobs)), DiskWatch(server)
    server.deadline = deadline
    place = places_by_content(X)
    try:
        while waiting or running:
            while waiting and len(running) < n_at_once:
                number, (name, fit, held) = waiting.pop()
                fit, order = fit[np.argsort(place[fit])], np.argsort(place[held])
                running.append(start(server, number, name, order, running))
                limits = server.memory // n_at_once, server.disk_bytes
                send(running[-1], server, limits, X, y, fit, held[order], deadline)
            ended = listen(running, server, deadline)
            for candidate in ended:
                running.remove(candidate)
                tell(candidate.number, answer_of(candidate, server))
            if not ended and disk.is_short():
                raise Crash(f"over {server.disk_bytes >> 20} MiB of temporary files")
    finally:
        # After a crash too, none lives beside later fits. A server that was stopped is
        # not waited for: fork_server() kills it.
        server.deadline = 0.0
        with contextlib.suppress(ConnectionError):
            for candidate in running:
                server.end(candidate.pid)


def places_by_content(X):
    """The place of each row in an order made of their contents: (n_rows,).

    The class at a position of a stratified split follows from its seed and the class
    counts, so rows in split order would give their labels away, and rows in file order
    almost. Between equal rows chance decides, anew each time.
    """
    import numpy as np
    from pandas.util import hash_pandas_object

    chance = np.random.default_rng().permutation(len(X))
    order = np.lexsort((chance, hash_pandas_object(X, index=False)))
    return np.argsort(order)


def start(server, number, name, order, running):
    """A Candidate, forked; Crash if the server is gone, or train.py leaves no room.

    order: of the held-out rows as they are sent, (n_held,). Refused if nothing of ours
    runs and there is no room for a process all the same.
    """
    link, theirs = socket.socketpair()
    output, writer = os.pipe()
    os.set_blocking(output, False)
    try:
        with theirs, open(writer, "wb", 0):
            pid = server.fork(theirs.fileno(), writer)
    except ConnectionError:
        raise Crash(f"{name}: the fork server was killed") from None
    except OSError as error:
        if running:
            raise Crash(f"{running[0].name}: no room for more processes") from None
        cure = "raise the limit of processes (ulimit -u, or the container's)"
        reason = f"no process can be started ({error.strerror})"
        raise Refused(f"{reason}: {cure}") from None
    kills = oom_kills()
    return Candidate(number, name, pid, link, open(output, "rb", 0), order, kills)


def send(candidate, server, limits, X, y, fit, held, deadline):
    """Give a candidate its limits, then its job, of which it frees what it can."""
    candidate.link.settimeout(max(0.01, deadline - time.monotonic()))
    folder = tempfile.mkdtemp(dir=server.folder)
    X_fit, X_held = (X.iloc[rows].reset_index(drop=True) for rows in (fit, held))
    job = [server.seed, server.source, X_fit, y[fit], X_held]
    # One that is dead already, or late, is listen()'s to tell.
    late_or_dead = contextlib.suppress(ConnectionError, TimeoutError)
    with late_or_dead, candidate.link.makefile("wb") as pipe:
        pickle.dump((folder, *limits), pipe)
        pickle.dump(job, pipe, protocol=5)


def listen(running, server, deadline):
    """Those that end within LOOK_S, be it none; Crash when the deadline has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        show_crash(running[0], server)
        raise Crash(f"{running[0].name}: no answer within the budget")
    pipes = [pipe for c in running for pipe in (c.output, c.link)]
    ready = select.select([*pipes, server.control], [], [], min(left, LOOK_S))[0]
    # It says nothing by itself.
    if server.control in ready:
        raise Crash(f"{running[0].name}: the fork server was killed")
    for candidate in running:
        if candidate.output in ready:
            candidate.take_output()
    return [c for c in running if c.link in ready and c.hear()]


def answer_of(candidate, server):
    """The answer of a candidate that has ended, rows as in its job; Crash without.

    Refused if it ended before it ran train.py.
    """
    try:
        server.end(candidate.pid)
    except ConnectionError:
        raise Crash(f"{candidate.name}: the fork server was killed") from None
    while candidate.take_output():
        pass
    if server.prints:
        show(candidate)
    try:
        return read_answer(candidate)
    except (Crash, Refused):
        show_crash(candidate, server)
        raise


def read_answer(candidate):
    """The answer in what it said: see answer_of()."""
    import numpy as np

    name, said = candidate.name, candidate.said
    reason = one_line(said.lstrip(b"+")[1:].decode(errors="replace"))
    if said[:1] != b"+":
        raise Refused(f"{name}: no sandbox ({reason or 'ended'}): uv run prepare.py")
    if said[1:2] == b"!":
        raise Crash(f"{name}: {reason}")
    if said[1:2] != b"=" or len(said) != candidate.size:
        killed = oom_kills() > candidate.oom_kills
        how = "killed: out of memory" if killed else "ended without an answer"
        raise Crash(f"{name}: {how}")
    sent = np.frombuffer(said[2:])
    if not np.isfinite(sent).all():
        raise Crash(f"{name}: NaN or infinity among the scores")
    answer = sent.copy()
    answer[1 + candidate.order] = sent[1:]
    return answer


# ------------------------------------------------------------------ the disk
class DiskWatch:
    """Looks at the temporary files of a server's candidates, one du after another."""

    def __init__(self, server):
        """No du runs yet."""
        self.server, self.du = server, None

    def is_short(self):
        """Whether the disk is nearly full, or the files were too large at du's last."""
        folder, limit, size = self.server.folder, self.server.disk_bytes, 0
        if self.du is None:
            quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            # Where no process can be started there is no look: start() tells of it.
            with contextlib.suppress(BlockingIOError):
                self.du = subprocess.Popen(["du", "-sk", folder], env=PROGRAMS, **quiet)
        elif self.du.poll() is not None:
            words = self.du.stdout.read().split()
            # Killed, it says nothing.
            size = 1024 * int(words[0]) if words else 0
            self.du = None
        return size > limit or shutil.disk_usage(folder).free < limit


@contextlib.contextmanager
def temporary_folder(disk_bytes):
    """A folder that is removed in the end, however deep and locked it has become.

    Refused if the disk it is on is nearly full: that would look like train.py's fault.
    """
    try:
        folder = tempfile.mkdtemp(prefix="autoresearch-")
    except OSError as error:
        raise no_temporary_folder(error) from None
    try:
        if shutil.disk_usage(folder).free < 2 * disk_bytes:
            room = f"{2 * disk_bytes >> 20} MiB"
            raise Refused(f"{folder} is on a disk with less than {room} free")
        yield folder
    finally:
        system("rm", "-rf", folder)
        # Something in it may be locked by its mode.
        if os.path.exists(folder):
            system("chmod", "-R", "u+rwx", folder)
            system("rm", "-rf", folder)


def no_temporary_folder(error):
    """The Refused that says so."""
    cure = "export TMPDIR=<a folder that you may write>"
    return Refused(f"no folder for temporary files ({error}): {cure}")


def system(*command):
    """Run a system program, quietly: no depth of folders outdoes it, unlike Python."""
    subprocess.run(command, env=PROGRAMS, capture_output=True)


# ------------------------------------------------------------------ the words
def show_crash(candidate, server):
    """What a candidate that crashed has printed, if it is not shown anyway."""
    if not server.prints and candidate.name != TEST:
        show(candidate)


def show(candidate):
    """A candidate's output on stderr, indented: it can't pass for the block."""
    lines = candidate.printed.decode(errors="replace").splitlines()
    say("".join(f"    {candidate.name} | {one_line(line)}\n" for line in lines))


def say(text):
    """The text on stderr, at once."""
    sys.stderr.write(text)
    sys.stderr.flush()


def one_line(text, width=200):
    """The text in printable characters and single spaces, cut to width."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= width else text[: width - 1] + "…"
