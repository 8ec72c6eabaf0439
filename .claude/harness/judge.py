"""The judge: the process with the labels and the metrics, and how a command asks it.

Three processes in a row: the command, which knows git; its judge; and the breeder, the
parent of all candidates, forked from the judge before that has any data. So libraries
are loaded once for all, and each process kills what the next one leaves behind.
"""

import ast
import contextlib
import importlib
import json
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings

from candidate import adopt_orphans, breed, kill_orphans
from ratchet import HERE, Refused
from supervisor import Crash, n_cores

# ---------------------------------------------------------------- constants
COMMAND = [sys.executable, "-Psu", "-X", "no_debug_ranges"]  # no carets: see show
COMMAND += [str(HERE / "prepare.py"), "judge"]
OWN_LIBRARIES = ["numpy", "pandas", "sklearn.metrics", "sklearn.model_selection"]
LIBRARIES = ["sklearn", "pandas", "numpy", "scipy", "lightgbm", "xgboost", "flaml"]
PASSED_ON = ["PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR"]  # variables
FILES = 256  # more than the judge has open before it forks
THREAD_POOLS = ["OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM"]


# ------------------------------------------------------------ the caller's side
@contextlib.contextmanager
def judge(function, *args, sources, n_jobs, seed):
    """A function that waits for what `function(bred, *args)` returns in the judge.

    `function` is a module's, its result goes as JSON; `bred` has a pair (control,
    source) for each of the sources (train.py as bytes), to ask its candidates by. Its
    Crash or Refused is raised here, and Refused if the judge dies. At the end of the
    block all processes are dead.
    """
    adopt_orphans()
    link, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            COMMAND,
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            env=clean_environ(n_jobs, seed),
            cwd="/",
            start_new_session=True,
        )
    try:
        with contextlib.suppress(ConnectionError), link.makefile("wb") as pipe:
            pickle.dump((function, sources, args), pipe)
        yield lambda: result(link)
    finally:
        link.close()  # so the judge ends
        process.wait()
        kill_orphans()


def result(link):
    """What the judge's function returned, or the error it raised."""
    said = b""
    with contextlib.suppress(ConnectionError), link.makefile("rb") as pipe:
        said = pipe.read()
    if not said:
        raise Refused("the judge was killed, or ended as it says above: run it again")
    error, value = json.loads(said)
    if error:
        raise {"Crash": Crash, "Refused": Refused}[error](value)
    return value


def clean_environ(n_jobs, seed):
    """Few variables, no secrets; threads shared out, whatever n_jobs train.py says."""
    n_threads = str(n_cores() // min(n_cores(), n_jobs))
    environ = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    environ |= {f"{pool}_THREADS": n_threads for pool in THREAD_POOLS}
    environ |= {"OMP_THREAD_LIMIT": n_threads, "PYTHONHASHSEED": str(seed)}
    return environ | {"JOBLIB_MULTIPROCESSING": "0"}  # LightGBM asks joblib


def libraries(source):
    """Modules of LIBRARIES that train.py imports: safe to load before the fork."""
    nodes = syntax_nodes(source)
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    names += [f"{n.module}.{a.name}" for n in froms for a in n.names]
    parts = [name.split(".")[:2] for name in names]  # deeper ones may be scripts
    return sorted({".".join(part) for part in parts if part[0] in LIBRARIES})


def syntax_nodes(source):
    """All nodes of the syntax tree; [] if it does not parse (a candidate will say)."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the candidate says them too
            return list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


# ------------------------------------------------------------- the judge's side
def serve():
    """Be the judge on fd 0: call the function, say its result; False if interrupted."""
    adopt_orphans()
    link = socket.socket(fileno=0)
    with link.makefile("rb") as pipe:
        function, sources, args = pickle.load(pipe)
    try:
        load_own_libraries()
        with contextlib.ExitStack() as stack:
            stack.callback(kill_orphans)
            bred = [(stack.enter_context(breeder(s)), s) for s in sources]
            interrupt_with(link)
            said = None, function(bred, *args)
    except (Crash, Refused) as error:
        said = type(error).__name__, str(error)
    except ImportError as error:
        said = "Refused", f"{error}: uv sync"
    except KeyboardInterrupt:
        return False
    link.sendall(json.dumps(said).encode())
    return True


def load_own_libraries():
    """Import what the judge needs, and what check_array imports late, once for all."""
    for name in OWN_LIBRARIES:
        importlib.import_module(name)
    one_cell = sys.modules["pandas"].DataFrame({"x": [0.0]})
    sys.modules["sklearn.utils"].check_array(one_cell)


def interrupt_with(link):
    """From here on, a KeyboardInterrupt when the other end of link has gone."""

    def watch():
        link.recv(1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    for terminated in (signal.SIGINT, signal.SIGTERM):
        signal.signal(terminated, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def breeder(source):
    """A socket for requests to fork candidates; at the end of the block all are dead.

    Forked from here, so before there are data and threads; it loads its libraries.
    """
    control, theirs = socket.socketpair()
    if (pid := os.fork()) == 0:
        try:
            os.dup2(theirs.fileno(), 0)
            os.closerange(3, FILES)  # no way to the judge, its caller, other breeders
            breed(libraries(source))
        finally:  # it never returns: this is an error
            traceback.print_exc()
            os._exit(1)
    theirs.close()
    try:
        yield control
    finally:
        control.shutdown(socket.SHUT_WR)
        select.select([control], [], [], 1)  # it hangs up when they are dead
        control.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
