"""Run Python as on a kernel without Landlock and seccomp, the nearest to a Mac.

    python tests/older_kernel.py -m pytest tests/test_harness.py

A filter that the kernel keeps for this process and its offspring answers as a kernel
does that has neither. Nothing in the product knows of it.
"""

import ctypes
import errno
import os
import struct
import sys

# Of libseccomp: SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_CMP_EQ.
ALLOW, ANSWER_ERROR, EQUAL = 0x7FFF0000, 0x50000, 4
PR_GET_SECCOMP, PR_SET_SECCOMP = 21, 22
# The calls that are missing, the answer, and with which first argument.
MISSING = (
    (b"landlock_create_ruleset", errno.ENOSYS, None),
    (b"seccomp", errno.ENOSYS, None),
    (b"prctl", errno.EINVAL, PR_GET_SECCOMP),
    (b"prctl", errno.EINVAL, PR_SET_SECCOMP),
)


def forget_landlock_and_seccomp() -> None:
    """Take both from this process for good; OSError if that can't be done."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    filters = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    failed = 0
    for name, answer, first in MISSING:
        number = library.seccomp_syscall_resolve_name(name)
        tests = b"" if first is None else struct.pack("IIQQ", 0, EQUAL, first, 0)
        rule = filters, ANSWER_ERROR + answer, number, bool(tests), tests
        failed |= library.seccomp_rule_add_array(*rule)
    if failed or library.seccomp_load(filters):
        raise OSError("this kernel has no seccomp already")


if __name__ == "__main__":
    forget_landlock_and_seccomp()
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
