"""The product as the first process of a PID namespace, as in a container without an init process.

The kernel discards a signal to such a process unless the process handles it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.support.processes.product import Process, spawn
from tests.support.processes.waiting import wait_until
from tests.support.world.installation import Site

_NEEDED: Final = (
    "this test starts a process in a PID namespace of its own: install `unshare` (package util-linux), and "
    "run the test as root or let others create user namespaces (sysctl -w kernel.unprivileged_userns_clone=1)"
)


@contextmanager
def running_first(site: Site, *arguments: str) -> Iterator[Process]:
    """`redistill` as process 1 of a namespace for the length of the block, from when on it exists.

    `signal` reaches that process, and its exit code is that of `unshare`, which passes it on.
    """
    unshare = _unshare()
    outer = spawn(site, *arguments, starter=unshare)
    try:
        wait_until(
            lambda: outer.exit_code is not None or children(outer.pid), "in its namespace", every=0.002
        )
        inner = children(outer.pid)
        assert inner, f"{_NEEDED}:\n{outer.log.read_text()}"
        yield Process(log=outer.log, pid=inner[0], _exit_code=outer._exit_code, _join=outer._join)
    finally:
        outer.kill()


def children(pid: int) -> list[int]:
    """The processes that any thread of a process has started and that still exist."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, thread.read_text().split())
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process exists; one that has died may wait as a zombie for whoever collects it."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(") ")[2][0] != "Z"


def handles(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) & 1 << number - 1)


def _unshare() -> tuple[str, ...]:
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    command = ("unshare", *as_root, "--pid", "--fork", "--kill-child")
    found = shutil.which("unshare")
    if found is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.fail(_NEEDED)
    return command
