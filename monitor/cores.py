"""How many cores this process may use: of the machine, and of the container that it runs in."""

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def usable_cores() -> int:
    """At least 1; a limit of 1.5 processors gives 1."""
    limits = [float(_affinity()), _quota_v2(), _quota_v1()]
    return max(1, math.floor(min(limits)))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quota_v2() -> float:
    """Source: kernel.org, cgroup-v2, `cpu.max`."""
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
