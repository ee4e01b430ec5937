"""A process that is kept running."""

import time
from pathlib import Path

import pytest

from redistill.process.child import Child
from tests.support.processes.waiting import wait_until

ROOT = Path(__file__).resolve().parents[4]


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
