"""The candidates' side of the trust boundary: only here runs a line of train.py.

The fork server, forked from the judge before that has data, loads libraries and forks a
candidate a job; it never runs train.py, never holds data and never fits (a fork after
an OpenMP fit may hang). A candidate gets rows and labels to fit, and held-out rows
without their labels.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import random
import signal
import socket
import struct
import sys
import traceback
import types
from pathlib import Path

from harness.sandbox import PR_SET_CHILD_SUBREAPER, confine

# What judge and fork server say to each other.
NUMBER = struct.Struct("=i")


# ------------------------------------------------------------ the fork server
def serve_forks(control, libraries):
    """Do what control asks for, a number at a time, until it ends; then all die.

    0, with a socket for job and answer and a pipe for what it prints: fork a candidate;
    the reply is its process id, or -errno. A process id: end that candidate; the reply
    is its wait status.
    """
    adopt_orphans()
    load(libraries)
    alive = set()
    # A judge that was killed between its request and our reply ends this as well.
    with contextlib.suppress(ConnectionError):
        while (request := socket.recv_fds(control, NUMBER.size, 2))[0]:
            (number,) = NUMBER.unpack(request[0])
            if number == 0:
                number = fork_candidate(control, *request[1])
                alive |= {number} if number > 0 else set()
            else:
                alive.remove(number)
                number = end(number)
            control.sendall(NUMBER.pack(number))
    for pid in alive:
        end(pid)
    kill_orphans()
    # No teardown of the libraries: 0.1 s.
    os._exit(0)


def fork_candidate(control, link, output):
    """The process id of a new candidate, or -errno."""
    try:
        pid = os.fork()
    except OSError as error:
        pid = -error.errno
    if pid == 0:
        control.close()
        run_candidate(link, output)
    os.close(link)
    os.close(output)
    return pid


def end(pid):
    """Kill a candidate and its group, and wait until it is dead; its wait status."""
    # It may not lead its group yet.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def load(modules):
    """Import what candidates need, once for all of them."""
    for name in modules:
        # SystemExit too: a candidate says it.
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
    # Candidates share these pages: nobody writes marks into them.
    gc.freeze()
    gc.enable()


def adopt_orphans():
    """Become the parent of whatever flees from a candidate's group (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans(spared=frozenset()):
    """Kill all children, and theirs as they become ours, until none is left (Linux)."""
    while pids := children() - spared:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def children():
    """Process ids of the children of this process (Linux)."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {as_here(pid) for task in tasks for pid in task.read_text().split()}


def as_here(pid):
    """A process id of /proc's as this process knows it: /proc may be of another.

    NSpid has it in all namespaces, innermost last.
    """
    lines = Path("/proc", pid, "status").read_text().splitlines()
    found = [line.split()[-1] for line in lines if line.startswith("NSpid:")]
    return int(found[0] if found else pid)


# ---------------------------------------------------------------- a candidate
def run_candidate(link, output):
    """Read a job from link, answer, and end.

    The answer: `+` once the sandbox stands; then `=` and float64 bytes, or `!` and why
    there are none.
    """
    try:
        # Leads a process group of its own, which it can't leave.
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        answer = socket.socket(fileno=link)
        with answer.makefile("rb") as pipe:
            try:
                limits = pickle.load(pipe)
                job = pickle.load(pipe)
                confine(*limits)
                # In its own folder: for tracebacks, inspect.getsource, Path(__file__).
                Path("train.py").write_bytes(job[1])
                answer.sendall(b"+")
                said = b"=" + predict(job).tobytes()
            # SystemExit, KeyboardInterrupt crash it too.
            except BaseException as error:
                traceback.print_exc()
                said = b"!" + reason_of(error).encode(errors="replace")
        answer.sendall(said)
    finally:
        # No atexit, no waiting for threads.
        os._exit(0)


def reason_of(error):
    """The error in a line; what the kernel refuses without a word, in words."""
    reason = traceback.format_exception_only(error)[-1][:300].rstrip()
    if isinstance(error, MemoryError):
        reason += ": out of memory"
    if isinstance(error, PermissionError) and "train.py may not" not in reason:
        reason += ": train.py may not start processes, use the network, write files"
        reason += " or look at the machine"
    return reason


def predict(job):
    """Threshold, then scores of the job's held-out rows: float64 (1 + n_held,)."""
    import numpy as np

    seed, source, X_fit, y_fit, X_held = job
    # So that del X_fit frees it.
    job.clear()
    np.random.seed(seed)
    random.seed(seed)
    train = sys.modules["train"] = types.ModuleType("train")
    train.__file__ = os.path.abspath("train.py")
    exec(compile(source, "train.py", "exec"), train.__dict__)
    Z_fit = apply(train.feature_fn, X_fit)
    # The features may be a copy.
    del X_fit
    model = train.build_pipeline()
    model.fit(Z_fit, y_fit)
    threshold, scores = score_rows(model, apply(train.feature_fn, X_held))
    return np.concatenate([[threshold], scores])


def apply(feature_fn, X):
    """feature_fn(X); ValueError unless every row is kept in its place."""
    import numpy as np

    index, frame = X.index, type(X)
    Z = feature_fn(X)
    if np.shape(Z)[:1] != (len(index),):
        raise ValueError(f"feature_fn: {len(index)} rows in, shape {np.shape(Z)} out")
    if isinstance(Z, frame) and not Z.index.equals(index):
        raise ValueError("feature_fn moved rows: keep their order and their index")
    return Z


def score_rows(model, Z):
    """The threshold between the classes, and the scores (n,): higher means class 1."""
    import numpy as np

    n, positive = np.shape(Z)[0], list(getattr(model, "classes_", (0, 1))).index(1)
    if hasattr(model, "predict_proba"):
        scores = np.asarray(model.predict_proba(Z), dtype=np.float64)
        if scores.shape != (n, 2):
            raise ValueError(f"predict_proba: shape {scores.shape}, not ({n}, 2)")
        return 0.5, scores[:, positive]
    scores = np.asarray(model.decision_function(Z), dtype=np.float64)
    if scores.shape != (n,):
        raise ValueError(f"decision_function: shape {scores.shape}, not ({n},)")
    return 0.0, scores if positive == 1 else -scores
