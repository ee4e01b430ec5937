"""The cores that the machine and the container grant to this process, and its memory allocator."""

import ctypes
import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  #: as in malloc.h
_KEPT_BYTES = 2**28
_LARGEST_KEPT = 2**25  #: bytes in one block; the most that glibc allows


def usable_cores() -> int:
    """Return the number of usable cores, at least 1; a limit of 1.5 processors gives 1."""
    limits = [float(_affinity()), _quota_v2(), _quota_v1()]
    return max(1, math.floor(min(limits)))


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for reuse, up to 256 MiB per arena; no effect with another libc.

    By default glibc returns large blocks to the system at once, and the next layer of a network faults them
    in again page by page, which takes 7% of the time of a small network. It also has up to eight arenas for
    each core, and the threads of each cycle would fill one after the other, over hours: one for each core
    and one more are enough.

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_ARENA_MAX, usable_cores() + 1)


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota_v2() -> float:
    """Return the limit of `cpu.max`. Source: kernel.org, cgroup-v2."""
    match _words(_CGROUP_V2):
        case [quota, period] if quota != "max":
            return int(quota) / int(period)
        case _:
            return math.inf


def _quota_v1() -> float:
    match _words(_CGROUP_V1 / "cpu.cfs_quota_us"), _words(_CGROUP_V1 / "cpu.cfs_period_us"):
        case [quota], [period] if int(quota) > 0:
            return int(quota) / int(period)
        case _:
            return math.inf


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
