"""What a candidate may do: read Python and the system, compute, and answer.

It writes no file, starts no process and reaches no other one. On Linux the kernel keeps
these rules for native code as well: resource limits (setrlimit), Landlock (files, TCP,
signals), no capabilities (root becomes a plain user) and seccomp (a list of the system
calls that exist). Python's audit hooks (PEP 578) keep them for Python code everywhere.
"""

import contextlib
import ctypes
import errno
import itertools
import os
import resource
import socket
import struct
import sys
import sysconfig
import tempfile
from pathlib import Path

# ------------------------------------------------------------ the policy: files
# Of /proc and /sys a candidate reads only what libraries ask for and what never
# changes. The rest tells of the machine's load, and so of other candidates.
READABLE = (
    *("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store"),
    # On macOS Python opens the system's version and time zones. Shared libraries
    # (Homebrew's libomp, the system's) are loaded without an event. /System as a whole
    # would include the files of all users, below /System/Volumes/Data.
    *("/System/Library", "/var/db/timezone"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/passwd"),
    *("/dev/null", "/dev/zero", "/dev/urandom", "/proc/cpuinfo"),
    *(f"/sys/devices/system/cpu/{name}" for name in ("online", "possible", "present")),
    "/sys/kernel/mm/transparent_hugepage/enabled",
)

# --------------------------------------------- the policy: Python's audit events
# These events are never allowed; the words say what they would do.
REFUSED_EVENTS = {
    "start processes: fits run side by side already": (
        *("os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn"),
        *("os.system", "pty.spawn", "subprocess.Popen"),
    ),
    "use the network": (
        *("socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg"),
        *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"),
        "socket.getnameinfo",
    ),
    "signal or limit other processes": ("os.killpg", "resource.prlimit"),
    "lock files": ("fcntl.flock", "fcntl.lockf", "fcntl.fcntl", "fcntl.ioctl"),
    "change files": (
        *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink"),
        *("os.truncate", "os.chmod", "os.chown", "os.chflags", "os.utime"),
        *("os.setxattr", "os.removexattr"),
    ),
}
LISTING_EVENTS = ("os.listdir", "os.scandir", "os.chdir")

# ------------------------------------------------ the policy: system calls (Linux)
# All that scikit-learn, LightGBM, XGBoost, FLAML and asyncio need. Every other call is
# answered as by a kernel that does not have it (ENOSYS), so that libraries fall back.
ALLOWED_CALLS = {
    "Memory of its own.": ("brk", "mmap", "munmap", "mprotect", "mremap"),
    "Read files: Landlock says which.": (
        *("read", "pread64", "readv", "lseek", "close", "getdents64", "getcwd"),
        *("stat", "fstat", "lstat", "newfstatat", "statx"),
        *("access", "faccessat", "faccessat2", "readlink", "readlinkat"),
    ),
    "Write to what is open: the answer, what is printed, pipes of its own.": (
        *("write", "writev", "dup", "dup2", "dup3"),
        *("sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown"),
    ),
    "Pipes and events within the process, for asyncio.": (
        *("pipe", "pipe2", "socketpair", "eventfd2", "getsockopt", "setsockopt"),
        *("getsockname", "getpeername", "poll", "ppoll", "select", "pselect6"),
        *("epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait"),
    ),
    "Threads; clone and futex, below, are allowed by their arguments.": (
        *("set_robust_list", "rseq", "sched_yield", "gettid"),
        *("exit", "exit_group", "restart_syscall"),
    ),
    "Signals to itself; kill and tgkill are below.": (
        *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
        *("alarm", "setitimer", "getitimer", "pause"),
    ),
    "Who it is, what time it is, and chance.": (
        *("getpid", "getppid", "getuid", "geteuid", "getgid", "getegid", "umask"),
        *("uname", "gettimeofday", "time", "nanosleep", "getrandom", "getrlimit"),
    ),
}
THREAD = 0x10000  # CLONE_THREAD
ANY_FUTEX, PRIVATE_FUTEX = 0xFFFFFE7F, 0xFFFFFEFF  # operation without its flags
NEGATIVE = 2**31  # the bit by which a clock's number is another process's clock
WORD = 2**32 - 1
TRUNCATES = os.O_TRUNC | os.O_ACCMODE
# Alternatives by which a call is allowed: (number of the argument, bits that count,
# value that they have); "pid" stands for the candidate's own process id.
BY_ARGUMENT = (
    # A thread, and never a process. Of clone3 a filter can't see the flags.
    ("clone", (0, THREAD, THREAD)),
    # Waiting is allowed, for pthread_join waits so. Waking is allowed within the
    # process alone, since a futex on a page of a file is shared with all who map it.
    *(("futex", (1, ANY_FUTEX, operation)) for operation in (0, 9)),
    *(("futex", (1, PRIVATE_FUTEX, 128 + operation)) for operation in (1, 10)),
    # A negative clock is that of another process.
    ("clock_gettime", (0, NEGATIVE, 0)),
    ("clock_getres", (0, NEGATIVE, 0)),
    ("clock_nanosleep", (0, NEGATIVE, 0)),
    *(("sched_getaffinity", (0, WORD, pid)) for pid in (0, "pid")),
    ("kill", (0, WORD, "pid")),
    ("tgkill", (0, WORD, "pid")),
    # Limits are read; of the own ones memory may be set (RLIMIT_AS), as FLAML does.
    *(("prlimit64", (0, WORD, pid), (2, 2**64 - 1, 0)) for pid in (0, "pid")),
    *(("prlimit64", (0, WORD, pid), (1, WORD, 9)) for pid in (0, "pid")),
    # The name of a thread: PR_SET_NAME, PR_GET_NAME.
    *(("prctl", (0, WORD, option)) for option in (15, 16)),
    # Memory given back, and huge pages: MADV_DONTNEED, _FREE, _HUGEPAGE, _NOHUGEPAGE,
    # _DONTDUMP. Others reach the page cache, which all processes share.
    *(("madvise", (2, WORD, advice)) for advice in (4, 8, 14, 15, 16)),
    # No locks, leases or owners of signals: F_DUPFD, F_GETFD, F_SETFD, F_GETFL,
    # F_SETFL, F_DUPFD_CLOEXEC.
    *(("fcntl", (1, WORD, command)) for command in (0, 1, 2, 3, 4, 1030)),
    # What files, pipes and terminals are asked: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO,
    # FIONCLEX, FIOCLEX.
    *(
        ("ioctl", (1, WORD, request))
        for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
    ),
    # The first two versions of Landlock let a file that may only be read be truncated.
    *(
        (name, (argument, bits, value))
        for name, argument in (("open", 1), ("openat", 2))
        for bits, value in [
            (os.O_TRUNC, 0),
            (TRUNCATES, os.O_TRUNC | os.O_WRONLY),
            (TRUNCATES, os.O_TRUNC | os.O_RDWR),
        ]
    ),
)

# ----------------------------------------------------- constants of the kernel
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_GET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 21, 38
LINUX_CAPABILITY_VERSION_3 = 0x20080522
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE = 444, 445
SYS_LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
# LANDLOCK_ACCESS_FS_*, and how many of these rights each version of Landlock knows.
WRITE_FILE, READ_FILE, READ_DIR = 2, 4, 8
N_RIGHTS = (0, 13, 14, 15, 15, 16)
# All of LANDLOCK_ACCESS_NET_* (since version 4) and LANDLOCK_SCOPE_* (since 6).
NET, SCOPE = 3, 3
# Of libseccomp: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_CMP_MASKED_EQ.
ALLOW, ANSWER_ERROR, MASKED_EQUAL = 0x7FFF0000, 0x50000, 7
SECCOMP_LIBRARY, SECCOMP_PACKAGE = "libseccomp.so.2", "libseccomp2"

# All that can keep the sandbox, the strongest first.
WHOLE_SANDBOX = ["Landlock", "seccomp", "Python's audit hooks"]


# ------------------------------------------------------------------- put it on
def confine(memory: int) -> None:
    """Put this process, for good, into the sandbox that this machine has.

    memory: bytes by which it may grow (Linux). OSError if the kernel refuses a part.
    """
    os.chdir("/")
    # A library that asks for a temporary folder fails only when it writes there.
    tempfile.tempdir = "/"
    limit_resources(memory)
    readable = [*readable_system(), *own_maps()]
    # Both are looked up before the kernel stops reading.
    has_landlock, library = landlock_version() > 0, seccomp_library()
    if sys.platform == "linux":
        check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if has_landlock:
        landlock(readable)
        none = struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0), bytes(24)
        check(LIBC.capset(*none), "capset")
    if library:
        seccomp(library, os.getpid())
    sys.addaudithook(audit_hook(readable))


def sandbox_parts() -> list[str]:
    """Those of WHOLE_SANDBOX that this machine has."""
    has = landlock_version() > 0, seccomp_library() is not None, True
    return list(itertools.compress(WHOLE_SANDBOX, has))


def sandbox_in_words() -> str:
    """What keeps the sandbox on this machine, said everywhere in the same words."""
    if (parts := sandbox_parts()) == WHOLE_SANDBOX:
        return ", ".join(parts)
    return f"{' and '.join(parts)} alone"


def readable_system() -> list[str]:
    """The folders and files of Python and of the system that candidates may read."""
    paths = [sys.prefix, sys.base_prefix, *READABLE]
    # Packages may be links into uv's cache (link-mode "symlink").
    packages = Path(sysconfig.get_path("purelib")).glob("*.dist-info/METADATA")
    paths += [os.path.dirname(os.path.dirname(os.path.realpath(p))) for p in packages]
    return [*dict.fromkeys(os.path.realpath(path) for path in paths)]


def own_maps() -> list[str]:
    """The list of libraries in this process, which threadpoolctl reads (Linux)."""
    return [os.path.realpath("/proc/self/maps")] if sys.platform == "linux" else []


def check(result: int, part: str) -> None:
    """OSError unless the kernel took a part of the sandbox, which returns 0."""
    if result:
        raise OSError(ctypes.get_errno(), f"{part} could not be put on")


# ----------------------------------------------------------------------- limits
def limit_resources(memory: int) -> None:
    """No core dumps, no bytes in files, growth by `memory` bytes at most (Linux)."""
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_FSIZE, 0)
    if sys.platform == "linux":
        # Where memory runs out the kernel is to kill this process, not the judge.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def limit(what: int, value: int) -> None:
    """Set a limit, or leave a lower one that the user has set."""
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


# ------------------------------------------------------------------ audit hooks
def audit_hook(readable: list[str]):
    """A hook for PEP 578's events that keeps Python code to the sandbox."""
    refused = {name: what for what, names in REFUSED_EVENTS.items() for name in names}
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def check_path(path, is_written=False):
        # An object of another type may be one path here, and another one later.
        if type(path) not in (str, bytes):
            raise PermissionError(f"train.py may not use {type(path)} as a path")
        path = os.path.realpath(os.fsdecode(path))
        if is_written and path != os.devnull:
            raise PermissionError(f"train.py may not write {path}")
        if not any(path == r or path.startswith(r + os.sep) for r in readable):
            raise PermissionError(f"train.py may not read {path}")

    def hook(event, args):
        if event in refused:
            raise PermissionError(f"train.py may not {refused[event]}")
        if event == "os.kill" and args[0] != os.getpid():
            raise PermissionError("train.py may not signal other processes")
        if event == "socket.__new__" and args[1] != socket.AF_UNIX:
            raise PermissionError("train.py may not use the network")
        # A number is a file that is open already; without a path it is this folder.
        if event == "open" and not isinstance(args[0], int):
            check_path(args[0], bool(args[2] & writing))
        if event in LISTING_EVENTS and not isinstance(args[0], int | None):
            check_path(args[0])

    return hook


# --------------------------------------------------------------------- Landlock
def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    ask = SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION
    return max(0, LIBC.syscall(*ask))


def landlock(readable: list[str]) -> None:
    """Let the kernel allow reading below `readable`, and writing to /dev/null.

    As in the kernel's documentation, userspace-api/landlock. No rule allows programs,
    TCP, signals or sockets to processes outside, so all of these are refused.
    """
    if sys.platform != "linux":
        raise OSError("only Linux has Landlock")
    version = landlock_version()
    rights = 2 ** N_RIGHTS[min(version, len(N_RIGHTS) - 1)] - 1
    handled = struct.pack("QQQ", rights, NET * (version >= 4), SCOPE * (version >= 6))
    ruleset = LIBC.syscall(SYS_LANDLOCK_CREATE_RULESET, handled, len(handled), 0)
    for path in filter(os.path.exists, readable):
        rights = READ_FILE | (READ_DIR if os.path.isdir(path) else 0)
        rights |= WRITE_FILE if path == os.devnull else 0
        beneath = os.open(path, os.O_PATH)
        rule = struct.pack("=Qi", rights, beneath)
        kind = LANDLOCK_RULE_PATH_BENEATH
        check(LIBC.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, kind, rule, 0), "Landlock")
        os.close(beneath)
    check(LIBC.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0), "Landlock")
    os.close(ruleset)


# ---------------------------------------------------------------------- seccomp
def seccomp_library():
    """libseccomp, which knows the numbers of each machine's calls.

    None without it, or where the kernel takes no filters.
    """
    if sys.platform != "linux" or LIBC.prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0:
        return None
    try:
        return ctypes.CDLL(SECCOMP_LIBRARY)
    except OSError:
        return None


def seccomp(library, pid: int) -> None:
    """Give the kernel the list of allowed calls; it can't be taken back.

    library: of seccomp_library(); pid: the candidate's own.
    """
    library.seccomp_init.restype = ctypes.c_void_p
    answer = ANSWER_ERROR + errno.ENOSYS
    filters = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(answer)))
    names = [(name,) for group in ALLOWED_CALLS.values() for name in group]
    for name, *tests in (*names, *BY_ARGUMENT):
        number = library.seccomp_syscall_resolve_name(name.encode())
        # A call that this machine does not have is a negative number.
        if number >= 0:
            rule = b"".join(
                struct.pack("IIQQ", at, MASKED_EQUAL, bits, pid if v == "pid" else v)
                for at, bits, v in tests
            )
            add = library.seccomp_rule_add_array
            check(add(filters, ALLOW, number, len(tests), rule), f"seccomp ({name})")
    check(library.seccomp_load(filters), "seccomp")
