"""The candidate's side of the trust boundary: only here runs a line of train.py.

`breed` is the parent of all candidates, forked from the judge before that has data. It
loads libraries and forks; it never runs train.py, never holds data and never fits (a
fork after an OpenMP fit may hang). A candidate gets one job: rows and labels to fit,
held-out rows without their labels.
"""

import contextlib
import ctypes
import errno
import gc
import importlib
import linecache
import os
import pickle
import random
import resource
import signal
import socket
import struct
import sys
import tempfile
import traceback
import types
from pathlib import Path

SYSTEM = "/usr /lib /lib64 /sys /System /Library /proc/cpuinfo /proc/meminfo "
SYSTEM += "/etc/ld.so.cache /etc/localtime /etc/passwd"
DEVICES = "/dev/null /dev/zero /dev/urandom"
PROCESS = "status stat statm maps cgroup mountinfo"  # in /proc/<own pid>
CHANGES = "remove rename rmdir mkdir link symlink truncate chmod chown utime setxattr "
CHANGES += "removexattr"
LOOKS = "os.listdir os.scandir os.chdir"
NEVER = (
    "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system os.killpg pty.spawn "
    "subprocess.Popen socket.__new__ socket.bind resource.prlimit fcntl.flock "
    "fcntl.lockf fcntl.fcntl fcntl.ioctl"
)

# System calls that Landlock, or an old one, leaves open, by number (machine: seccomp's
# name for it): changes of modes, owners, times, attributes and sizes; scheduling and
# priorities; System V and POSIX message queues, semaphores and shared memory; sockets
# and names for them; files in memory; what tells of the page cache and of others'
# files; other processes' memory, signals by pidfd; keys, mounts, namespaces, io_uring,
# openat2; fork (there, clone is granted for threads). From asm/unistd.h.
MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
FORBIDDEN = {
    "x86_64": "90 91 92 93 94 132 188 189 190 197 198 199 235 260 261 268 280 76 "
    "141 142 144 203 251 314 29 64 68 240 41 49 53 73 319 447 27 327 328 253 294 300 "
    "101 310 311 424 248 249 250 165 272 308 321 425 437 57 58",
    "aarch64": "5 6 7 14 15 16 52 53 54 55 88 45 "
    "140 118 119 122 30 274 194 190 186 180 198 200 199 32 279 447 232 286 287 26 262 "
    "117 270 271 424 217 218 219 40 97 268 280 425 437",
}
NEWER = 451  # from this number on: as on a kernel that does not have them
# Those that depend on an argument: (argument, its bits, values, are they granted or
# refused). No file is emptied that may only be read; no locks, leases, owners of
# signals; no attributes by ioctl, only what terminals and pipes are asked.
CHECKED = {
    "open": (1, 0o1003, [0o1000, 0o1003], False),
    "openat": (2, 0o1003, [0o1000, 0o1003], False),
    "clone": (0, 0x10000, [0x10000], True),
    "fcntl": (1, 2**32 - 1, [0, 1, 2, 3, 4, 1030], True),
    "ioctl": (1, 2**32 - 1, [0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451], True),
}
NUMBERS = {
    "x86_64": {"open": 2, "openat": 257, "clone": 56, "fcntl": 72, "ioctl": 16},
    "aarch64": {"openat": 56, "clone": 220, "fcntl": 25, "ioctl": 29},
}
TO_SELF = {"x86_64": "302 62 129 200 234 297", "aarch64": "261 129 130 131 138 240"}
CLONE3 = 435  # its flags are out of a filter's sight; without it libraries use clone
LOAD, EQUAL, AT_LEAST, AND = 0x20, 0x15, 0x35, 0x54  # BPF's instructions
GRANT, REFUSE = (0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x50000 + errno.EPERM)
ABSENT = (0x06, 0, 0, 0x50000 + errno.ENOSYS)
OTHERS = set()  # children that were there before us (a shell's), not ours to kill


# ------------------------------------------------------ the parent of candidates
def breed(modules):
    """Load modules, then fork a candidate a request until the socket on fd 0 closes."""
    adopt_orphans()
    load(modules)
    control, groups = socket.socket(fileno=os.dup(0)), []
    while fds := socket.recv_fds(control, 1, 2)[1]:
        groups.append(os.fork())
        if groups[-1] == 0:
            control.close()
            run_candidate(*fds)
        for fd in fds:
            os.close(fd)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    kill_orphans()
    os._exit(0)  # no teardown of the libraries: 0.1 s


def load(modules):
    """Import what candidates need, once for all of them."""
    for name in modules:
        with contextlib.suppress(BaseException):  # SystemExit too: a candidate says it
            importlib.import_module(name)
    gc.freeze()  # candidates share these pages: nobody writes marks into them
    gc.enable()


def adopt_orphans():
    """Become the parent of whatever flees from a candidate's group (Linux)."""
    OTHERS.update(children())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def kill_orphans():
    """Kill all children, and theirs as they become ours, until none is left (Linux)."""
    while pids := children() - OTHERS:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def children():
    """Process ids of the children of this process (Linux)."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


# ------------------------------------------------------------------ a candidate
def run_candidate(link, output):
    """Read a job from link, answer `=` + float64 bytes or `!` + reason, and end."""
    try:
        os.setsid()  # leads a process group of its own, which it can't leave
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        answer = socket.socket(fileno=link)
        with answer.makefile("rb") as pipe:
            folder, *limits = pickle.load(pipe)
            job = pickle.load(pipe)
            try:
                limit_resources(*limits)
                raise_fence(folder)
                said = b"=" + predict(job).tobytes()
            except BaseException as error:  # SystemExit, KeyboardInterrupt crash it too
                traceback.print_exc()
                reason = traceback.format_exception_only(error)[-1][:300]
                said = b"!" + reason.encode(errors="replace")
        answer.sendall(said)
    finally:
        os._exit(0)  # no atexit, no waiting for threads


def predict(job):
    """Threshold, then scores of the job's held-out rows: float64 (1 + n_held,)."""
    import numpy as np

    seed, source, X_fit, y_fit, X_held = job
    job.clear()  # so that del X_fit frees it
    np.random.seed(seed)
    random.seed(seed)
    train = sys.modules["train"] = types.ModuleType("train")
    lines = source.decode(errors="replace").splitlines(keepends=True)
    linecache.cache["train.py"] = (len(source), None, lines, "train.py")
    exec(compile(source, "train.py", "exec"), train.__dict__)
    Z_fit = apply(train.feature_fn, X_fit)
    del X_fit  # the features may be a copy
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


# --------------------------------------------------------- the fence around it
def limit_resources(memory, file_bytes):
    """No core dumps, files of file_bytes, growth by `memory` bytes (Linux) at most."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, file_bytes)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def limit(what, value):
    """Set a limit, or leave a lower one that the user has set."""
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def raise_fence(folder):
    """From here on: read Python and the system, write in folder, start nothing."""
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = None
    folder = os.path.realpath(folder)
    own = [f"/proc/{os.getpid()}/{name}" for name in PROCESS.split()]
    readable = [*readable_system(), *own, *DEVICES.split()]
    if landlock_version():
        landlock(readable, folder)
        drop_capabilities()
        seccomp(os.uname().machine)
    sys.addaudithook(audit_hook([*readable, folder], [folder, os.devnull]))


def readable_system():
    """The folders and files of Python and of the system that candidates may read."""
    paths = [sys.prefix, sys.base_prefix, *SYSTEM.split()]
    return [os.path.realpath(path) for path in paths]


def audit_hook(readable, writable):
    """A hook for PEP 578's events that fences what Python code can touch."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    changes = {f"os.{name}" for name in CHANGES.split()}
    looks, never = set(LOOKS.split()), set(NEVER.split())

    def allow(path, roots):
        if type(path) not in (str, bytes):  # others may say one path, then another
            raise PermissionError(f"train.py may not use {type(path)} as a path")
        path = os.fsdecode(path)
        real, parts = os.path.realpath(path), path.split(os.sep)
        inside = any(real == root or real.startswith(root + os.sep) for root in roots)
        if not inside or (parts[0] and os.pardir in parts):  # relative to a dir_fd?
            raise PermissionError(f"train.py may not touch {real}")

    def hook(event, args):
        if event == "open" and not isinstance(args[0], int):
            leads_on = os.path.isdir(args[0])  # as the dir_fd of other calls
            allow(args[0], writable if leads_on or args[2] & writing else readable)
        elif event in looks and isinstance(args[0], str | bytes):
            allow(args[0], readable)
        elif event in changes:
            if isinstance(args[0], int):  # a file descriptor
                allow(f"/proc/self/fd/{args[0]}", writable)
            for path in args[:2]:
                if isinstance(path, str | bytes):
                    allow(path, writable)
        elif event in never or (event == "os.kill" and args[0] != os.getpid()):
            raise PermissionError(f"train.py may not use {event}")

    return hook


def landlock_version():
    """The version of the kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


def landlock(readable, folder):
    """The same fence in the kernel, for native code too (Linux 5.13 and later).

    Numbers as in the kernel's documentation, userspace-api/landlock. No rule allows
    exec, TCP, signals or sockets to processes outside: those are all refused.
    """
    version, libc = landlock_version(), ctypes.CDLL(None, use_errno=True)
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    read, on_file = 0b1100, every & 0b100_0000_0000_0110  # read, write, truncate
    work = every & ~0b1000_0100_0001  # all but: execute, make devices
    handled = struct.pack("QQQ", every, 3 * (version > 3), 3 * (version > 5))
    ruleset = libc.syscall(444, handled, len(handled), 0)
    rules = [*((path, read) for path in readable), (folder, work), (os.devnull, work)]
    for path, rights in rules:
        if os.path.exists(path):
            beneath = os.open(path, os.O_PATH)
            rights &= every if os.path.isdir(path) else on_file
            libc.syscall(445, ruleset, 1, struct.pack("=Qi", rights, beneath), 0)
            os.close(beneath)
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(446, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock did not take the fence")
    os.close(ruleset)


def drop_capabilities():
    """Give up root's powers, if it has them: from here on root is a plain user."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(struct.pack("Ii", 0x20080522, 0), bytes(24)):
        raise OSError(ctypes.get_errno(), "capabilities could not be dropped")


def seccomp(machine):
    """Refuse what FORBIDDEN, CHECKED and TO_SELF say (Linux on x86_64 and aarch64).

    A BPF program as in the kernel's userspace-api/seccomp_filter documentation.
    """
    if machine not in MACHINES:
        return
    program = bpf_program(machine)
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer, libc = ctypes.create_string_buffer(code), ctypes.CDLL(None, use_errno=True)
    pointer = struct.pack("HP", len(program), ctypes.addressof(buffer))
    if libc.prctl(22, 2, pointer, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp did not take the fence")


def bpf_program(machine):
    """Instructions (code, jump if true, jump if false, number)."""
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, MACHINES[machine]), REFUSE]
    program += [(LOAD, 0, 0, 0), (AT_LEAST, 0, 1, NEWER), ABSENT]
    program += [(EQUAL, 0, 1, CLONE3), ABSENT]
    for number in FORBIDDEN[machine].split():
        program += [(EQUAL, 0, 1, int(number)), REFUSE]
    for name, number in NUMBERS[machine].items():
        program += decide(number, *CHECKED[name])
    for number in TO_SELF[machine].split():  # prlimit and signals: its own process
        program += decide(int(number), 0, 2**32 - 1, [0, os.getpid()], True)
    return [*program, GRANT]


def decide(number, argument, bits, values, granted):
    """Instructions for a system call: bits of an argument that are granted or not."""
    tests = [(EQUAL, n, 0, values[-n]) for n in range(len(values), 0, -1)]
    test = [(LOAD, 0, 0, 16 + 8 * argument), (AND, 0, 0, bits), *tests]
    answers = [REFUSE, GRANT] if granted else [GRANT, REFUSE]
    return [(EQUAL, 0, len(test + answers), number), *test, *answers]
