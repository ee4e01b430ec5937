"""How many cores a process may use, as the kernel tells it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from monitor import cores
from monitor.cores import usable_cores


@pytest.fixture(autouse=True)
def _a_machine_of_eight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.setattr(cores, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cores, "_CGROUP_V1", tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "25000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu.cfs_quota_us": "400000\n"}, 8),
    ],
)
def test_the_containers_limit_counts(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    """A limit of less than two processors is one core."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert usable_cores() == expected


def test_cores_that_others_have_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3})
    assert usable_cores() == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have rules of their own")
def test_memory_that_is_freed_is_kept_for_the_next_use() -> None:
    """Four blocks of 16 MiB are otherwise given back and faulted in again, 16,384 pages each time."""
    script = (
        "import resource\n"
        "from monitor.cores import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): [bytearray(b'x') * 2**24 for _ in range(4)]\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults(); keep_freed_memory(); faults(); print(faults())\n"
    )
    kept = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(kept.stdout) < 16_384
