"""What this machine gives: cores and memory, as the kernel and a container limit them.

A container's limits are those of its control group (cgroup, version 1 or 2) and of all
groups above it.
"""

import math
import os
import sys
from pathlib import Path

# ---------------------------------------------------------------- constants
GROUPS = Path("/sys/fs/cgroup")
# A limit above this is none: version 1 says so.
UNLIMITED = 2**60  # bytes


def n_cores():
    """Cores that this process may use; a quota of CPU time counts as cores."""
    cores = os.cpu_count() or 1
    if sys.platform != "linux":
        return cores
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(math.ceil, quotas())]))


def quotas():
    """The limits of CPU time, in cores."""
    for folder in groups("cpu"):
        # Microseconds of quota in each period; "max" or -1 is no limit.
        words = read(folder / "cpu.max").split()
        words = words or [
            *read(folder / "cpu.cfs_quota_us").split(),
            *read(folder / "cpu.cfs_period_us").split(),
        ]
        if len(words) == 2 and words[0] not in ("max", "-1"):
            yield int(words[0]) / int(words[1])


def memory():
    """Bytes of memory that this process and its children may use together."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (text := read(folder / name)) not in ("", "max"):
                limits.append(int(text))
    return min(limit for limit in limits if limit < UNLIMITED)


def groups(controller):
    """The folders of this process's cgroup for a controller, and of those above it.

    Where the process sees only a part of the hierarchy the paths may lead nowhere:
    the top folder, which is always among them, then is its own group's.
    """
    for line in read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = GROUPS / controller if controllers else GROUPS
            group = top / path.lstrip("/")
            yield from [group, *(up for up in group.parents if up.is_relative_to(top))]


def oom_kills():
    """How often the kernel has killed for want of memory, on the whole machine."""
    words = read(Path("/proc/vmstat")).split()
    return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0


def read(path):
    """The text of a file of the kernel, stripped; "" if there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
