"""The sandbox's list of system calls, asked of the kernel itself, call by call."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT, needs_landlock, needs_seccomp, replace

import prepare
from harness import preflight, sandbox
from harness.errors import Refused

# Puts this process into the sandbox, then makes each call; prints the errors' names.
MAKE_CALLS = """
import ctypes, errno, json, os, sys
from harness import sandbox
library = sandbox.seccomp_library()
calls = json.loads(sys.argv[1])
numbers = {n: library.seccomp_syscall_resolve_name(n.encode()) for n, *_ in calls}
word = ctypes.c_long(1)
names = {"self": os.getpid(), "parent": os.getppid(), "word": ctypes.addressof(word)}
sandbox.confine(2**40)
said = []
for name, *arguments in calls:
    given = [ctypes.c_long(names.get(a, a)) for a in arguments]
    done = sandbox.LIBC.syscall(ctypes.c_long(numbers.get(name, 999)), *given)
    said.append(errno.errorcode[ctypes.get_errno()] if done < 0 else "done")
print(json.dumps(said))
"""
PRIVATE, CLOCK_OF_ANOTHER = 128, -42
# Calls by which a process reaches another one, or leaves something behind for it.
REFUSED = [
    *[("socket", 1, 1, 0), ("execve", 0, 0, 0), ("ptrace", 16, "parent", 0, 0)],
    *[("fork",), ("vfork",), ("clone3", 0, 0), ("clone", 17, 0, 0, 0, 0)],
    *[("memfd_create", 0, 0), ("shmget", 7, 4096, 0o1600), ("mq_open", 0, 0)],
    *[("semget", 7, 1, 0o1600), ("msgget", 7, 0o1600), ("inotify_init1", 0)],
    *[("io_uring_setup", 1, 0), ("openat2", 0, 0, 0, 0), ("flock", 1, 1)],
    *[("process_vm_readv", "parent", 0, 0, 0, 0, 0), ("mincore", 0, 0, 0)],
    *[("preadv2", 0, 0, 0, 0, 0), ("fadvise64", 0, 0, 0, 4), ("readahead", 0, 0, 0)],
    *[("getrusage", 0, "word"), ("sysinfo", "word"), ("timer_create", 1, 0, "word")],
    *[("statfs", "word", "word"), ("mlock", "word", 8), ("bind", 0, "word", 16)],
    *[("rt_sigqueueinfo", "self", 10, "word"), ("kill", "parent", 0)],
    *[("kill", 0, 0), ("tgkill", "parent", "parent", 0), ("setpriority", 0, 0, 1)],
    *[("sched_getaffinity", "parent", 8, "word"), ("getpgid", "parent")],
    *[("prlimit64", "parent", 7, 0, "word"), ("prlimit64", 0, 11, "word", 0)],
    *[("clock_gettime", CLOCK_OF_ANOTHER, "word")],
    # Wake, requeue, compare and requeue, wake and change: shared, or requeued at all.
    *[("futex", "word", operation, 1, 0, 0, 0) for operation in (1, 3, 4, 5, 10)],
    *[("futex", "word", PRIVATE + operation, 1, 0, 0, 0) for operation in (3, 4, 5)],
    *[("fcntl", 0, 6, "word"), ("ioctl", 0, 0x40086602, "word")],  # lock, attributes
    *[("madvise", 0, 4096, advice) for advice in (3, 20, 21)],
    *[("chmod", "word", 0o777), ("truncate", "word", 0), ("unlink", "word")],
    *[("mount", 0, "word", 0, 4096, 0), ("chroot", "word")],
    # A file that may be read, too, is not changed or emptied.
    *[(name, "word", "word") for name in ("link", "symlink", "rename", "mkdir")],
    *[("mknod", "word", 0o60600, 0), ("chown", "word", 1, 1), ("utimes", "word", 0)],
    *[("setxattr", "word", "word", 0, 0, 0), ("removexattr", "word", "word")],
    *[(name, "word", "word") for name in ("linkat", "renameat2", "mkdirat", "fchmod")],
    *[("open", "word", os.O_TRUNC), ("open", "word", os.O_TRUNC | os.O_ACCMODE)],
    *[("openat", -100, "word", os.O_TRUNC), ("a call of next year",)],
]
ALLOWED = [
    *[("getpid",), ("kill", "self", 0), ("tgkill", "self", "self", 0)],
    *[("prlimit64", 0, 7, 0, "word"), ("clock_gettime", 1, "word")],
    *[("futex", "word", PRIVATE + operation, 1, 0, 0, 1) for operation in (1, 10)],
    *[("fcntl", 0, 1), ("madvise", 0, 0, 4), ("sched_yield",)],
]


def printed_by(*command):
    """What Python prints of this code, to which the harness's modules are known."""
    environ = os.environ | {"PYTHONPATH": str(ROOT / ".claude")}
    done = subprocess.run(
        [sys.executable, "-c", *command], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers_to(calls):
    """What the kernel answers a confined process, call by call."""
    answers = json.loads(printed_by(MAKE_CALLS, json.dumps(calls)))
    return dict(zip(map(str, calls), answers, strict=True))


@needs_seccomp
def test_calls_that_reach_other_processes_do_not_exist():
    answers = answers_to(REFUSED)
    wrong = {call: a for call, a in answers.items() if a not in ("ENOSYS", "EPERM")}
    assert not wrong


@needs_seccomp
def test_calls_of_a_process_on_itself_are_made():
    assert set(answers_to(ALLOWED).values()) == {"done"}


def test_a_limit_that_the_user_has_set_lower_stays():
    lower = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (0, 0)); "
    lower += "from harness.sandbox import limit; limit(r.RLIMIT_FSIZE, 9); "
    lower += "print(r.getrlimit(r.RLIMIT_FSIZE))"
    assert printed_by(lower) == "(0, 0)\n"


def test_what_holds_the_sandbox_is_said_where_that_is_not_all(project):
    file = project.path / ".claude" / "harness" / "sandbox.py"
    replace(file, "ctypes.CDLL(SECCOMP_LIBRARY)", "None")
    block, done = project.evaluate()
    assert block["status"] == "ok"
    held = [part for part in sandbox.sandbox_parts() if part != "seccomp"]
    assert f"sandbox: {' and '.join(held)} alone (uv run prepare.py)" in done.stderr


@needs_landlock
def test_the_check_names_the_package_that_seccomp_needs(monkeypatch):
    monkeypatch.setattr(sandbox, "seccomp_library", lambda: None)
    by_chance = dict.fromkeys(("val_auc", "test_auc"), 0.5)
    with pytest.raises(Refused, match=r"alone, without .* apt-get install libseccomp2"):
        preflight.sandbox(lambda source: by_chance, prepare.TABLE)
