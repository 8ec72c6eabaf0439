"""The candidates' side of the trust boundary: a line of train.py runs only here.

The fork server is a fresh process which never has data and never fits. It loads the
libraries once and forks a candidate for each job. A candidate gets rows and labels to
fit on, and held-out rows without their labels.
"""

import contextlib
import errno
import faulthandler
import gc
import importlib
import linecache
import os
import pickle
import random
import signal
import socket
import sys
import traceback
import types

from harness.sandbox import LIBC, PR_SET_PDEATHSIG, confine

# How much of an error's message is told.
REASON_CHARACTERS = 300
# What LightGBM and XGBoost need of the system, on Linux and on macOS, and its cure.
OPENMP = {
    "libgomp.so.1": "apt-get install libgomp1",
    "libomp.dylib": "brew install libomp",
}
# The errors by which the kernel refuses, and what that means for train.py.
REFUSED_BY_KERNEL = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EFBIG)
MAY_NOT = (
    "train.py may not start processes, use the network, write files or look at the "
    "machine"
)


# ------------------------------------------------------------- the fork server
def serve(*libraries: str) -> None:
    """Serve the socket at descriptor 0 until it is closed; then all candidates die.

    A message with two descriptors: fork a candidate whose job and answer go through the
    first, and which prints to the second; answer once both are here. A message without:
    kill all candidates, and answer when they are dead.
    """
    control = socket.socket(fileno=0)
    # Collecting garbage would take a tenth of the time that libraries take to load.
    gc.disable()
    for name in libraries:
        # A library that fails, even by SystemExit, fails again in the candidate.
        with contextlib.suppress(BaseException):
            importlib.import_module(name)
    # Candidates share these objects' memory, as long as no collection marks them.
    gc.freeze()
    gc.enable()
    candidates: list[int] = []
    while (message := socket.recv_fds(control, 1, 2))[0]:
        if message[1]:
            control.send(b"f")
            candidates += fork_candidate(*message[1])
        else:
            kill(candidates)
            control.send(b"k")
    kill(candidates)
    # The teardown of the libraries would take 0.1 s.
    os._exit(0)


def fork_candidate(link: int, output: int) -> list[int]:
    """The process id of a new candidate; [] if there is none, and link says why."""
    pids = []
    try:
        if (pid := os.fork()) == 0:
            run_candidate(link, output)
        pids.append(pid)
    except OSError as error:
        os.write(link, b"-" + error.strerror.encode())
    os.close(link)
    os.close(output)
    return pids


def kill(candidates: list[int]) -> None:
    """Kill all candidates with their groups, and wait until they are dead."""
    for pid in candidates:
        # A candidate may not lead its group yet. macOS refuses the signal to a group in
        # which only a zombie is left.
        for send in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                send(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    candidates.clear()


# ----------------------------------------------------------------- a candidate
def run_candidate(link: int, output: int) -> None:
    """Read a job from link, answer, and end.

    The answer: `+` once the sandbox is on; then `=` and float64 bytes, or `!` and why
    there are none.
    """
    try:
        os.setsid()
        if sys.platform == "linux":
            # It dies with the fork server.
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # These take the place of the fork server's socket and streams.
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        answer = socket.socket(fileno=link)
        try:
            with answer.makefile("rb") as pipe:
                memory, *job = pickle.load(pipe)
            confine(memory)
            answer.sendall(b"+")
            faulthandler.enable()
            said = b"=" + predict(job).tobytes()
        # SystemExit and KeyboardInterrupt crash a candidate as well.
        except BaseException as error:
            traceback.print_exc()
            said = b"!" + reason_of(error).encode(errors="replace")
        answer.sendall(said)
    finally:
        # Nothing of train.py's runs at the exit, and no thread is waited for.
        os._exit(0)


def reason_of(error: BaseException) -> str:
    """The error in a line, with what the sandbox refuses without a word."""
    text = traceback.format_exception_only(error)[-1]
    for library, cure in OPENMP.items():
        if library in text:
            return f"{library} can't be loaded: {cure}"
    reason = text[:REASON_CHARACTERS].rstrip()
    if isinstance(error, MemoryError):
        reason += ": out of memory"
    is_refusal = getattr(error, "errno", None) in REFUSED_BY_KERNEL
    if is_refusal and "train.py may not" not in reason:
        reason += f": {MAY_NOT}"
    return reason


def predict(job: list):
    """Threshold, then scores of the job's held-out rows: float64 (1 + n_held,)."""
    import numpy as np

    seed, source, X_fit, y_fit, X_held = job
    # The list would keep X_fit alive.
    job.clear()
    np.random.seed(seed)
    random.seed(seed)
    train = load_train(source)
    Z_fit = apply(train.feature_fn, X_fit)
    # The features may be a copy.
    del X_fit
    model = train.build_pipeline()
    model.fit(Z_fit, y_fit)
    threshold, scores = score_rows(model, apply(train.feature_fn, X_held))
    return np.concatenate([[threshold], scores])


def load_train(source: bytes) -> types.ModuleType:
    """The module that train.py makes; its file is nowhere, its lines are in linecache.

    So tracebacks show lines, and inspect.getsource works.
    """
    train = sys.modules["train"] = types.ModuleType("train")
    train.__file__ = "train.py"
    lines = source.decode(errors="replace").splitlines(keepends=True)
    linecache.cache["train.py"] = len(source), None, lines, "train.py"
    exec(compile(source, "train.py", "exec"), train.__dict__)
    return train


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
