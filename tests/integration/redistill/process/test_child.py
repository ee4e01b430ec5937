"""A process that is kept running."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redistill.process.child import Child
from tests.support.processes.namespaces import handles, is_alive
from tests.support.processes.waiting import comes_true, wait_until
from tests.support.world.waiting_monitor import written

ROOT = Path(__file__).resolve().parents[4]

STARTED_BY_A_THREAD = """
import sys, threading, time
from redistill.process.child import Child

child = Child(sys.argv[1:])
thread = threading.Thread(target=child.__enter__)
thread.start()
thread.join()
print(child._process.pid, flush=True)
time.sleep(600)
"""


def test_a_child_that_dies_is_started_again_after_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    starts: list[float] = []

    def looked_after(child: Child) -> int:
        child.restart_if_due()
        process = child._process
        if process is not None and process.pid not in starts:
            starts.append(process.pid)
        return len(starts)

    with Child(("no-such-command",)) as child:
        begin = time.monotonic()
        wait_until(lambda: looked_after(child) == 2, "started again", timeout=20)
        assert time.monotonic() - begin >= 1


def test_a_child_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with Child(("--help",)) as child:
        process = child._process
    assert process is not None
    assert process.returncode is not None


def test_a_child_stops_when_its_parent_is_killed_and_not_when_a_thread_of_it_ends(tmp_path: Path) -> None:
    config = written(tmp_path / "redistill.toml")
    command = [sys.executable, "-c", STARTED_BY_A_THREAD, "--config", str(config), "monitor"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            wait_until(lambda: handles(child, signal.SIGTERM), "started")
            time.sleep(0.5)
            assert is_alive(child)
        finally:
            parent.kill()
    assert comes_true(lambda: not is_alive(child), seconds=10)
