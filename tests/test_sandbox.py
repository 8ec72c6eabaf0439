"""The sandbox's policy, held against the kernel's own headers where there are some."""

import re
import struct
from pathlib import Path

import pytest

from harness import sandbox, syscalls

INCLUDE = Path("/usr/include")
HEADERS = {
    "x86_64": ["x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"],
    "aarch64": ["asm-generic/unistd.h"],
}
MACHINES = sorted(HEADERS)
# Later than the headers of Debian 12.
NEW_RIGHTS = {"LANDLOCK_ACCESS_FS_TRUNCATE", "LANDLOCK_ACCESS_FS_IOCTL_DEV"}


def defined(*names, pattern=r"(\w+)\s+(.+)"):
    """{name: value as written} of the #defines of the first header that is there."""
    for name in names:
        if (INCLUDE / name).exists():
            text = (INCLUDE / name).read_text()
            return dict(re.findall(rf"^#\s*define {pattern}$", text, re.M))
    pytest.skip(f"no {names[0]}: apt-get install linux-libc-dev")


def value(text):
    """The number that a header gives: decimal, hexadecimal, or a shifted bit."""
    shifted = re.match(r"\(1U?L?L? << (\d+)\)", text)
    return (
        1 << int(shifted[1])
        if shifted
        else int(re.match(r"\w+", text)[0].rstrip("U"), 0)
    )


# -------------------------------------------------------------- the numbers
@pytest.mark.parametrize("machine", MACHINES)
def test_system_call_numbers_are_the_kernels(machine):
    pattern = r"__NR(?:3264)?_(\w+)\s+(\d+)"
    header = defined(*HEADERS[machine], pattern=pattern)
    ours = syscalls.numbers(machine)
    assert {name: int(header[name]) for name in ours} == ours
    absent = {row.split()[0] for row in syscalls.TABLE.split("\n")[2:] if row} - {*ours}
    assert not absent & {*header}


def test_constants_are_the_kernels():
    prctl, seccomp = defined("linux/prctl.h"), defined("linux/seccomp.h")
    landlock, capability = defined("linux/landlock.h"), defined("linux/capability.h")
    for name in ("PR_SET_SECCOMP", "PR_SET_CHILD_SUBREAPER", "PR_SET_NO_NEW_PRIVS"):
        assert getattr(sandbox, name) == value(prctl[name])
    for name in ("SECCOMP_MODE_FILTER", "SECCOMP_RET_ALLOW", "SECCOMP_RET_ERRNO"):
        assert getattr(sandbox, name) == value(seccomp[name])
    version = value(capability["_LINUX_CAPABILITY_VERSION_3"])
    assert version == sandbox.LINUX_CAPABILITY_VERSION_3
    rights = {f"LANDLOCK_ACCESS_FS_{right.name}": right for right in sandbox.File}
    assert {*rights} - {*landlock} <= NEW_RIGHTS
    for name in {*rights} & {*landlock}:
        assert rights[name] == value(landlock[name])


def test_every_name_of_the_policy_has_a_number():
    names = " ".join(
        [*sandbox.REFUSED.values(), sandbox.ONLY_ITSELF, sandbox.IGNORED]
    ).split()
    names += [rule[0] for rule in sandbox.ONLY_WITH + sandbox.NOT_WITH]
    known = {*syscalls.numbers("x86_64")}
    assert {*names, sandbox.ABSENT} <= known


# --------------------------------------------------------------- the filter
GRANTED, DONE, EPERM, ENOSYS = 0x7FFF0000, 0x50000, 0x50001, 0x50026
PID = 4242


def answer(machine, name, *arguments):
    """What the kernel does with a filter: interpreted here, an instruction a step."""
    number = syscalls.numbers(machine).get(name, name)
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("=IIQ6Q", number, sandbox.AUDIT_ARCH[machine], 0, *padded)
    program, at, word = sandbox.bpf_program(machine, PID), 0, 0
    while True:
        code, if_true, if_false, k = program[at]
        if code == sandbox.BPF_RETURN:
            return k
        if code == sandbox.BPF_LOAD:
            word = struct.unpack_from("=I", data, k)[0]
        elif code == sandbox.BPF_AND:
            word &= k
        else:
            holds = word == k if code == sandbox.BPF_EQUAL else word >= k
            at += if_true if holds else if_false
        at += 1


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_refuses_what_the_policy_names(machine):
    for name in " ".join(sandbox.REFUSED.values()).split():
        if name in syscalls.numbers(machine):
            assert answer(machine, name) == EPERM, name
    for name in sandbox.IGNORED.split():
        if name in syscalls.numbers(machine):
            assert answer(machine, name) == DONE, name
    assert answer(machine, "clone3") == answer(machine, 999) == ENOSYS
    assert answer(machine, "kill", PID, 9) == GRANTED
    assert answer(machine, "kill", PID + 1, 9) == EPERM
    assert answer(machine, "clone", 0x3D0F00) == GRANTED  # a thread
    assert answer(machine, "clone", 17) == EPERM  # a fork
    assert answer(machine, "clock_gettime", 1) == GRANTED
    assert answer(machine, "clock_gettime", 2**32 - 42) == EPERM  # of another process
    assert (
        answer(machine, "futex", 0, 0x81) == answer(machine, "futex", 0, 0) == GRANTED
    )
    assert answer(machine, "futex", 0, 1) == EPERM  # wakes those of other processes
    assert answer(machine, "sched_getaffinity", 0) == GRANTED
    assert answer(machine, "sched_getaffinity", PID + 1) == EPERM
    assert answer(machine, "fcntl", 3, 1) == GRANTED
    assert answer(machine, "fcntl", 3, 6) == EPERM  # F_SETLK
    assert answer(machine, "openat", 3, 0, 0o1000) == EPERM  # O_RDONLY | O_TRUNC
    assert answer(machine, "openat", 3, 0, 0o1101) == GRANTED  # O_WRONLY: Landlock's
