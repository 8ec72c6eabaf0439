"""The supervisor's side of the trust boundary: asks fresh processes, holds the clock.

It sends a candidate what the candidate may know and takes raw float64 bytes back:
there is nothing to unpickle. It never runs a line of train.py.
"""

import ast
import contextlib
import os
import pickle
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from candidate import adopt_orphans, kill_orphans

# ---------------------------------------------------------------- constants
CANDIDATE = Path(__file__).with_name("candidate.py")
LIBRARIES = ["sklearn", "pandas", "numpy", "scipy", "lightgbm", "xgboost", "flaml"]
PASSED_ON = ["PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH"]  # of the environment
THREAD_POOLS = ["OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM"]
MEMORY_SHARE = 0.8  # of the machine's memory, for all candidates together
DISK_BYTES = 2**28  # of temporary files, for all candidates together
OUTPUT_BYTES = 3000  # shown of the end of what a candidate prints


class Crash(Exception):
    """The candidate's fault: the reason why there is no score."""


def n_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


# ------------------------------------------------------------- the processes
@contextlib.contextmanager
def breeder(sources, n_jobs, seed):
    """A socket for requests to fork candidates; when it is closed, all are dead."""
    adopt_orphans()
    modules = sorted({name for source in sources for name in libraries(source)})
    command = [sys.executable, "-Psu", CANDIDATE, *modules]
    environ = candidate_environ(n_cores() // min(n_cores(), n_jobs), seed)
    control, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            env=environ,
            cwd="/",
            start_new_session=True,
        )
    try:
        yield control
    finally:
        control.close()
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        kill_orphans()


def libraries(source):
    """Modules of LIBRARIES that train.py imports: safe to load before the fork."""
    nodes = syntax_nodes(source)
    names = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
    froms = [n for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    names += [f"{n.module}.{a.name}" for n in froms for a in n.names]
    parts = [name.split(".")[:2] for name in names]  # deeper ones may be scripts
    return {".".join(part) for part in parts if part[0] in LIBRARIES}


def syntax_nodes(source):
    """All nodes of the syntax tree; [] if it does not parse (a candidate will say)."""
    try:
        return list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def candidate_environ(n_threads, seed):
    """Few variables, no secrets; n_threads a process, whatever n_jobs train.py says."""
    environ = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    environ |= {f"{pool}_THREADS": str(n_threads) for pool in THREAD_POOLS}
    environ |= {"OMP_THREAD_LIMIT": str(n_threads), "PYTHONHASHSEED": str(seed)}
    return environ | {"JOBLIB_MULTIPROCESSING": "0"}  # LightGBM asks joblib


# ------------------------------------------------------------------ the jobs
def ask_all(control, jobs, X, y, seed, deadline, tell):
    """tell(number, answer) for each job as it ends; Crash at the first without one.

    A job is (name, train.py as bytes, fit rows, held-out rows), `deadline` a time of
    time.monotonic, an answer the threshold and the scores, float64 (1 + n_held,).
    """
    n_processes = min(n_cores(), len(jobs))
    memory = memory_share(n_processes)

    def send(link, source, fit, held):
        link.settimeout(max(0.01, deadline - time.monotonic()))
        with link.makefile("wb") as pipe:
            pickle.dump((tempfile.mkdtemp(dir=folder), memory, DISK_BYTES), pipe)
            X_fit, X_held = (X.iloc[r].reset_index(drop=True) for r in (fit, held))
            pickle.dump((seed, source, X_fit, y[fit], X_held), pipe, protocol=5)

    def ask_one(name, *job):
        def in_turn(link):
            sender.submit(send, link, *job).result()

        return ask(control, name, in_turn, 1 + len(job[-1]), deadline)

    with (
        temporary_folder() as folder,
        ThreadPoolExecutor(1) as sender,  # one copy of the rows at a time
        ThreadPoolExecutor(n_processes) as pool,
    ):
        pending = {pool.submit(ask_one, *job): i for i, job in enumerate(jobs)}
        try:
            while pending:
                done = wait(pending, 1, FIRST_COMPLETED).done
                for future in done:
                    tell(pending.pop(future), future.result())
                if not done and disk_is_short(folder):
                    raise Crash(f"over {DISK_BYTES >> 20} MiB of temporary files")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            control.shutdown(socket.SHUT_WR)  # all candidates die, so all threads end


def memory_share(n_processes):
    """Bytes of the machine's memory for each of n_processes candidates."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(machine * MEMORY_SHARE / n_processes)


def ask(control, name, send, size, deadline):
    """The answer of a fresh process, float64 (size,); Crash if it has none.

    send(link) gives it its job.
    """
    import numpy as np

    link, theirs = socket.socketpair()
    output, writer = os.pipe()
    with link, open(output, "rb", 0) as output:
        with theirs, open(writer, "wb", 0):
            socket.send_fds(control, [b"+"], [theirs.fileno(), writer])
        said, printed = converse(link, output, send, 1 + 8 * size, deadline)
    show(name, printed)
    if said is None:
        raise Crash(f"{name}: no answer within the budget")
    if said[:1] == b"!":
        raise Crash(f"{name}: {one_line(said[1:].decode(errors='replace'))}")
    if len(said) != 1 + 8 * size:
        raise Crash(f"{name}: ended without an answer")
    answer = np.frombuffer(said[1:])
    if not np.isfinite(answer).all():
        raise Crash(f"{name}: NaN or infinity among the scores")
    return answer


def converse(link, output, send, size, deadline):
    """(what the candidate says, at most size bytes; the tail of what it prints).

    It says None if it has not said all by the deadline.
    """
    said, printed, sources = b"", b"", [output, link]
    try:
        send(link)
        while link in sources and len(said) < size:
            if (left := deadline - time.monotonic()) <= 0:
                return None, printed
            for source in select.select(sources, [], [], left)[0][:1]:  # output first
                chunk = os.read(source.fileno(), 2**16)
                if not chunk:
                    sources.remove(source)
                elif source is output:
                    printed = (printed + chunk)[-OUTPUT_BYTES:]
                else:
                    said += chunk
    except TimeoutError:
        return None, printed
    except ConnectionError:  # it died before it had read its job
        return b"", printed
    return said[:size], printed


def disk_is_short(folder):
    """Whether the files below folder are too many or too large, or the disk is full."""
    if shutil.disk_usage(folder).free < DISK_BYTES:
        return True
    try:
        kilobytes = system("du", "-sk", folder, timeout=1).split()[0]
    except subprocess.TimeoutExpired:
        return True
    return int(kilobytes) * 1024 > DISK_BYTES


@contextlib.contextmanager
def temporary_folder():
    """A folder that is removed in the end, however deep and locked it has become."""
    folder = tempfile.mkdtemp(prefix="autoresearch-")
    try:
        yield folder
    finally:
        system("chmod", "-R", "u+rwx", folder)
        system("rm", "-rf", folder)


def system(*command, timeout=None):
    """What a system program prints: no depth of folders outdoes it, unlike Python."""
    path = {"PATH": os.defpath}
    done = subprocess.run(command, env=path, capture_output=True, timeout=timeout)
    return done.stdout.decode()


# ------------------------------------------------------------------ the words
def show(name, printed):
    """A candidate's output on stderr, indented: it can't pass for the block."""
    lines = printed.decode(errors="replace").splitlines()
    text = "".join(f"    {name} | {one_line(line)}\n" for line in lines)
    print(text, end="", file=sys.stderr, flush=True)


def one_line(text, width=200):
    """The text in printable characters and single spaces, cut to width."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= width else text[: width - 1] + "…"
