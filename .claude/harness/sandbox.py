"""What a candidate may touch: read Python and the system, write in one folder.

On Linux the kernel keeps the sandbox, for native code too: limits (setrlimit), Landlock
(files, network, signals), capabilities (root becomes a plain user), seccomp (what
Landlock leaves open). Audit hooks (PEP 578) keep it for Python code everywhere.
"""

import contextlib
import ctypes
import enum
import errno
import os
import resource
import socket
import struct
import sys
import sysconfig
import tempfile
from pathlib import Path

from harness.syscalls import numbers

# ------------------------------------------------------------ policy: files
SYSTEM = "/usr /lib /lib64 /nix/store /gnu/store /System /Library /etc/ld.so.cache "
SYSTEM += "/etc/localtime /etc/passwd"
DEVICES = "/dev/null /dev/zero /dev/urandom"
# Of the machine only what libraries ask and what never changes: the rest of /proc and
# /sys tells of its load, so of other candidates.
MACHINE = (
    "/proc/cpuinfo /sys/devices/system/cpu/online /sys/devices/system/cpu/possible "
)
MACHINE += "/sys/devices/system/cpu/present /sys/kernel/mm/transparent_hugepage/enabled"
# In /proc/<own pid>.
PROCESS = "maps"

# ----------------------------------------- policy: Python's audit events
# Events that are never allowed, by what they would do.
NEVER = {
    "start processes: fits run side by side already": (
        "os.fork os.forkpty os.exec os.posix_spawn os.spawn os.system pty.spawn "
        "subprocess.Popen"
    ),
    "use the network": (
        "socket.bind socket.connect socket.sendto socket.sendmsg socket.getaddrinfo "
        "socket.gethostbyname socket.gethostbyaddr socket.getnameinfo"
    ),
    "signal or limit other processes": "os.killpg resource.prlimit",
    "lock files": "fcntl.flock fcntl.lockf fcntl.fcntl fcntl.ioctl",
}
CHANGES = "remove rename rmdir mkdir link symlink truncate chmod chown utime setxattr "
CHANGES += "removexattr"
LOOKS = "os.listdir os.scandir os.chdir"
# ---------------------------------------------------- policy: system calls
# Refused with EPERM, whatever their arguments; the numbers stand in syscalls.py.
REFUSED = {
    "Attributes of files: Landlock does not know them": (
        "setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr"
    ),
    "A file's size: the first two Landlocks do not know it": "truncate",
    "Scheduling and priorities, which reach other processes": (
        "setpriority ioprio_set sched_setparam sched_setscheduler sched_setaffinity "
        "sched_setattr"
    ),
    "System V and POSIX objects with names: channels between candidates": (
        "shmget semget msgget mq_open"
    ),
    "Sockets: the network, and abstract names as channels": "socket bind",
    "Files in memory: they escape the limits of files": "memfd_create memfd_secret",
    "Locks on files that may be read: channels": "flock",
    "The page cache, seen and changed, and changes of others' files: channels": (
        "mincore preadv2 pwritev2 fadvise64 readahead inotify_init inotify_init1 "
        "fanotify_init"
    ),
    "What all processes of a user or of the machine share and count: channels": (
        "timer_create mlock mlock2 mlockall sysinfo statfs fstatfs futex_waitv "
        "getrusage"
    ),
    "Other processes: their memory, signals to them by descriptor": (
        "ptrace process_vm_readv process_vm_writev pidfd_send_signal"
    ),
    "Keys, which outlive a process": "add_key request_key keyctl",
    "Namespaces, mounts and code in the kernel": "mount unshare setns bpf",
    "Ways around this filter": "io_uring_setup openat2",
    "New processes; clone, below, is granted for threads": "fork vfork",
}
# Answered as done, and not done: a file's mode, owner and times, which Landlock does
# not know. So shutil.copy and chmod of a candidate's own files work.
IGNORED = "chmod fchmod fchmodat chown fchown lchown fchownat utime utimes futimesat "
IGNORED += "utimensat"
# As on a kernel that does not have it (ENOSYS): the flags of clone3 are out of a
# filter's sight, and the C library falls back to clone.
ABSENT = "clone3"
# The last system call that this policy has judged; later ones are absent.
NEWEST = 450

CLONE_THREAD = 0x10000
# Of open: the bits that tell whether a file is emptied.
EMPTIES = os.O_TRUNC | os.O_ACCMODE
# F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC
FCNTL = [0, 1, 2, 3, 4, 1030]
# TCGETS TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX: what pipes, terminals are asked
IOCTL = [0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451]
# All the bits of an argument that a filter compares.
WORD = 2**32 - 1

# Judged by an argument: name, number of the argument, its bits that count, values.
ONLY_WITH = [
    ("clone", 0, CLONE_THREAD, [CLONE_THREAD]),
    # No locks, leases, owners of signals.
    ("fcntl", 1, WORD, FCNTL),
    # No attributes of files.
    ("ioctl", 1, WORD, IOCTL),
]
# Where a file may only be read, the first Landlock lets it be emptied.
# A clock with a negative number is that of a process or a thread by its id; a futex
# that is not private (FUTEX_WAKE 1, FUTEX_WAKE_BITSET 10) wakes by a file's page.
NOT_WITH = [
    ("clock_gettime", 0, 2**31, [2**31]),
    ("clock_getres", 0, 2**31, [2**31]),
    ("clock_nanosleep", 0, 2**31, [2**31]),
    ("futex", 1, 0x8F, [1, 10]),
    ("open", 1, EMPTIES, [os.O_TRUNC, os.O_TRUNC | os.O_ACCMODE]),
    ("openat", 2, EMPTIES, [os.O_TRUNC, os.O_TRUNC | os.O_ACCMODE]),
]
ONLY_ITSELF = "prlimit64 kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo getpgid "
ONLY_ITSELF += "getsid ioprio_get sched_getparam sched_getscheduler sched_getattr "
ONLY_ITSELF += "sched_getaffinity sched_rr_get_interval get_robust_list"

# ------------------------------------------------- the kernel's constants
PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 22, 36, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LINUX_CAPABILITY_VERSION_3 = 0x20080522
LANDLOCK_CREATE_RULESET_VERSION, LANDLOCK_RULE_PATH_BENEATH = 1, 1
# On every machine.
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE = 444, 445
SYS_LANDLOCK_RESTRICT_SELF = 446
# LD|W|ABS, JMP|JEQ|K, JMP|JGE|K
BPF_LOAD, BPF_EQUAL, BPF_AT_LEAST = 0x20, 0x15, 0x35
# ALU|AND|K, RET|K
BPF_AND, BPF_RETURN = 0x54, 0x06
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16  # bytes into struct seccomp_data

# LANDLOCK_ACCESS_FS_*, LANDLOCK_ACCESS_NET_* and LANDLOCK_SCOPE_*, bit by bit
File = enum.IntFlag(
    "File",
    "EXECUTE WRITE_FILE READ_FILE READ_DIR REMOVE_DIR REMOVE_FILE MAKE_CHAR MAKE_DIR "
    "MAKE_REG MAKE_SOCK MAKE_FIFO MAKE_BLOCK MAKE_SYM REFER TRUNCATE IOCTL_DEV",
)
Net = enum.IntFlag("Net", "BIND_TCP CONNECT_TCP")
Scope = enum.IntFlag("Scope", "ABSTRACT_UNIX_SOCKET SIGNAL")
LIBC = ctypes.CDLL(None, use_errno=True)
# The first version of Landlock that knows a right; the older rights are all in 1.
SINCE = {File.REFER: 2, File.TRUNCATE: 3, File.IOCTL_DEV: 5}


# ------------------------------------------------------------ put it on
def confine(folder, memory, file_bytes):
    """From here on: read Python and the system, write in folder, start nothing.

    memory: bytes by which the process may grow (Linux); file_bytes: of a file, at most.
    """
    if sys.platform == "linux":
        # Where memory runs out the kernel is to kill this one, not the judge.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    limit_resources(memory, file_bytes)
    os.chdir(folder)
    os.environ.update(HOME=folder, TMPDIR=folder)
    tempfile.tempdir = None
    folder = os.path.realpath(folder)
    # By its number in /proc, which may be of another namespace of processes.
    process = os.path.realpath("/proc/self")
    own = [f"{process}/{name}" for name in PROCESS.split()]
    readable = [*readable_system(), *own, *DEVICES.split()]
    if landlock_version():
        landlock(readable, folder)
        drop_capabilities()
        if os.uname().machine in AUDIT_ARCH:
            seccomp(bpf_program(os.uname().machine, os.getpid()))
    sys.addaudithook(audit_hook([*readable, folder], [folder, os.devnull]))


def readable_system():
    """The folders and files of Python and of the system that candidates may read."""
    paths = [sys.prefix, sys.base_prefix, *SYSTEM.split(), *MACHINE.split()]
    # Packages that are links, as uv's link-mode "symlink" makes them.
    names = Path(sysconfig.get_path("purelib")).glob("*.dist-info/METADATA")
    paths += [os.path.dirname(os.path.dirname(os.path.realpath(n))) for n in names]
    return [*dict.fromkeys(os.path.realpath(path) for path in paths)]


# --------------------------------------------------------------- limits
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


# ---------------------------------------------------------- audit hooks
def audit_hook(readable, writable):
    """A hook for PEP 578's events that keeps Python code to the sandbox."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    changes = {f"os.{name}" for name in CHANGES.split()}
    looks = set(LOOKS.split())
    never = {event: what for what, events in NEVER.items() for event in events.split()}

    def allow(path, roots):
        # Others may say one path, then another.
        if type(path) not in (str, bytes):
            raise PermissionError(f"train.py may not use {type(path)} as a path")
        path = os.fsdecode(path)
        real, parts = os.path.realpath(path), path.split(os.sep)
        inside = any(real == root or real.startswith(root + os.sep) for root in roots)
        # Relative to a dir_fd?
        if not inside or (parts[0] and os.pardir in parts):
            kind = "write" if roots is writable else "read"
            raise PermissionError(f"train.py may not {kind} {real}")

    def hook(event, args):
        if event == "open" and not isinstance(args[0], int):
            # As the dir_fd of other calls.
            leads_on = os.path.isdir(args[0])
            allow(args[0], writable if leads_on or args[2] & writing else readable)
        elif event in looks and isinstance(args[0], str | bytes):
            allow(args[0], readable)
        elif event in changes:
            # A file descriptor.
            if isinstance(args[0], int):
                allow(f"/proc/self/fd/{args[0]}", writable)
            for path in args[:2]:
                if isinstance(path, str | bytes):
                    allow(path, writable)
        elif event in never:
            raise PermissionError(f"train.py may not {never[event]}")
        elif event == "os.kill" and args[0] != os.getpid():
            raise PermissionError("train.py may not signal other processes")
        elif event == "socket.__new__" and args[1] != socket.AF_UNIX:
            raise PermissionError("train.py may not use the network")

    return hook


# ------------------------------------------------------------- Landlock
def landlock_version():
    """The version of the kernel's Landlock; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    ask = SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION
    return max(0, LIBC.syscall(*ask))


def landlock(readable, folder):
    """The same sandbox in the kernel, for native code too (Linux 5.13 and later).

    As in the kernel's documentation, userspace-api/landlock. No rule allows exec, TCP,
    signals or sockets to processes outside: those are all refused.
    """
    version = landlock_version()
    every = sum(right for right in File if SINCE.get(right, 1) <= version)
    of_a_file = every & (File.READ_FILE | File.WRITE_FILE | File.TRUNCATE)
    read = File.READ_FILE | File.READ_DIR
    work = every & ~(File.EXECUTE | File.MAKE_CHAR | File.MAKE_BLOCK)
    net, scope = sum(Net) * (version >= 4), sum(Scope) * (version >= 6)
    handled = struct.pack("QQQ", every, net, scope)
    ruleset = LIBC.syscall(SYS_LANDLOCK_CREATE_RULESET, handled, len(handled), 0)
    rules = [*((path, read) for path in readable), (folder, work), (os.devnull, work)]
    for path, rights in rules:
        if os.path.exists(path):
            beneath = os.open(path, os.O_PATH)
            rights &= every if os.path.isdir(path) else of_a_file
            rule = struct.pack("=Qi", rights, beneath)
            kind = LANDLOCK_RULE_PATH_BENEATH
            LIBC.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, kind, rule, 0)
            os.close(beneath)
    no_more = LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if no_more or LIBC.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0):
        raise OSError(ctypes.get_errno(), "Landlock did not take the sandbox")
    os.close(ruleset)


def drop_capabilities():
    """Give up root's powers, if it has them: from here on root is a plain user."""
    if LIBC.capset(struct.pack("Ii", LINUX_CAPABILITY_VERSION_3, 0), bytes(24)):
        raise OSError(ctypes.get_errno(), "capabilities could not be dropped")


# -------------------------------------------------------------- seccomp
def seccomp(program):
    """Give the kernel a filter; it can't be taken back (userspace-api/seccomp_filter).

    program: instructions of BPF (code, jump if true, jump if false, number).
    """
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    pointer = struct.pack("HP", len(program), ctypes.addressof(buffer))
    if LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, pointer, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp did not take the sandbox")


GRANT = (BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW)
REFUSE = (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO + errno.EPERM)
DONE = (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO + 0)
MISSING = (BPF_RETURN, 0, 0, SECCOMP_RET_ERRNO + errno.ENOSYS)


def bpf_program(machine, pid):
    """The policy above as a filter for a machine; pid is the candidate's own."""
    number = numbers(machine)
    program = [(BPF_LOAD, 0, 0, ARCH_AT)]
    program += [(BPF_EQUAL, 1, 0, AUDIT_ARCH[machine]), REFUSE]
    program += [(BPF_LOAD, 0, 0, NUMBER_AT), (BPF_AT_LEAST, 0, 1, NEWEST + 1), MISSING]
    answers = {ABSENT: MISSING, IGNORED: DONE, " ".join(REFUSED.values()): REFUSE}
    for names, answer in answers.items():
        for name in names.split():
            if name in number:
                program += [(BPF_EQUAL, 0, 1, number[name]), answer]
    itself = [(name, 0, WORD, [0, pid]) for name in ONLY_ITSELF.split()]
    for rules, if_so, if_not in [
        (ONLY_WITH + itself, GRANT, REFUSE),
        (NOT_WITH, REFUSE, GRANT),
    ]:
        for name, *test in rules:
            if name in number:
                program += by_argument(number[name], *test, if_so, if_not)
    return [*program, GRANT]


def by_argument(number, argument, bits, values, if_so, if_not):
    """Instructions for one system call: whether bits of an argument are in values."""
    tests = [(BPF_EQUAL, n, 0, values[-n]) for n in range(len(values), 0, -1)]
    load = (BPF_LOAD, 0, 0, ARGUMENTS_AT + 8 * argument)
    test = [load, (BPF_AND, 0, 0, bits), *tests, if_not, if_so]
    return [(BPF_EQUAL, 0, len(test), number), *test]
