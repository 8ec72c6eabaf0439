"""The judge's side of the trust boundary: asks fresh processes, holds the clock.

It sends a candidate what the candidate may know and takes raw float64 bytes back:
there is nothing to unpickle. It never runs a line of train.py.
"""

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

from ratchet import Refused

# ---------------------------------------------------------------- constants
MEMORY_SHARE = 0.8  # of the machine's memory, for all candidates together
DISK_BYTES = 2**28  # of temporary files, for all candidates together
WATCH_S, LOOK_S = 0.2, 1  # seconds from one look at the disk to the next, and of one
OUTPUT_BYTES = 3000  # shown of the end of what a candidate prints


class Crash(Exception):
    """The candidate's fault: the reason why there is no score."""


def n_cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


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
            pickle.dump([seed, source, X_fit, y[fit], X_held], pipe, protocol=5)

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
            tell_all(pending, tell, folder, deadline)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            control.shutdown(socket.SHUT_WR)  # all candidates die, so all threads end
            select.select([control], [], [], 1)  # it hangs up when they are dead


def tell_all(pending, tell, folder, deadline):
    """tell(number, answer) for each {future: number} as it ends, the disk watched."""
    while pending:
        done = wait(pending, WATCH_S, FIRST_COMPLETED).done
        for future in done:
            tell(pending.pop(future), future.result())
        left = deadline - time.monotonic()
        if not done and left > 0 and disk_is_short(folder, min(LOOK_S, left)):
            raise Crash(f"over {DISK_BYTES >> 20} MiB of temporary files")


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
            try:
                socket.send_fds(control, [b"+"], [theirs.fileno(), writer])
            except BrokenPipeError:
                raise Crash(f"{name}: the parent of candidates was killed") from None
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


def disk_is_short(folder, seconds):
    """Whether the disk is nearly full, or the files below folder too large or many.

    Too many are those that can't be counted in this number of seconds.
    """
    if shutil.disk_usage(folder).free < DISK_BYTES:
        return True
    try:
        kilobytes = system("du", "-sk", folder, timeout=seconds).split()[0]
    except subprocess.TimeoutExpired:
        return True
    return int(kilobytes) * 1024 > DISK_BYTES


@contextlib.contextmanager
def temporary_folder():
    """A folder that is removed in the end, however deep and locked it has become.

    Refused if the disk it is on is nearly full: that would look like train.py's fault.
    """
    folder = tempfile.mkdtemp(prefix="autoresearch-")
    try:
        if shutil.disk_usage(folder).free < 2 * DISK_BYTES:
            room = f"{2 * DISK_BYTES >> 20} MiB"
            raise Refused(f"{folder} is on a disk with less than {room} free")
        yield folder
    finally:
        system("rm", "-rf", folder)
        if os.path.exists(folder):  # something in it is locked by its mode
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
    say("".join(f"    {name} | {one_line(line)}\n" for line in lines))


def say(text):
    """The text on stderr in one write, so that nothing of another thread's gets in."""
    sys.stderr.write(text)
    sys.stderr.flush()


def one_line(text, width=200):
    """The text in printable characters and single spaces, cut to width."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= width else text[: width - 1] + "…"
