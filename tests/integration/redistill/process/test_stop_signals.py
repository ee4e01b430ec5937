"""A process that is asked to stop stops, whatever it is doing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]

ASKED_WHILE_IT_WAITS = """
import os, signal, threading, time
from redistill.process.stop_signals import stop_on_signals

def ask():
    time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)

for _ in range(150):
    with stop_on_signals() as stop:
        thread = threading.Thread(target=ask)
        thread.start()
        while not stop.wait(0):
            pass
        thread.join()
"""

HANGS_IN_THE_BLOCK = """
import time
from redistill.process.stop_signals import stop_on_signals

with stop_on_signals(within_seconds=1):
    print("up", flush=True)
    time.sleep(60)
"""

HANGS_IN_A_LIBRARY = """
import sqlite3, tempfile
from redistill.process.stop_signals import stop_on_signals

with tempfile.NamedTemporaryFile() as file, stop_on_signals(within_seconds=1):
    one, other = (sqlite3.connect(file.name, timeout=60, isolation_level=None) for _ in range(2))
    one.execute("BEGIN IMMEDIATE")
    print("up", flush=True)
    other.execute("BEGIN IMMEDIATE")
"""

HANGS_AFTER_IT = """
import threading, time
from redistill.process.stop_signals import stop_on_signals

with stop_on_signals(within_seconds=1) as stop:
    threading.Thread(target=time.sleep, args=(60,)).start()
    print("up", flush=True)
    stop.wait()
"""

ENDS_BY_ITSELF = """
import sys
from redistill.process.stop_signals import stop_on_signals

with stop_on_signals(within_seconds=30) as stop:
    print("up", flush=True)
    stop.wait()
sys.exit(3)
"""


def start(code: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_signal_at_any_moment_is_heard() -> None:
    """Also in those in which the main thread holds the lock of the event that it waits for."""
    with start(ASKED_WHILE_IT_WAITS) as process:
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("code", "exit_code", "least_seconds"),
    [
        (HANGS_IN_THE_BLOCK, 0, 0.9),
        (HANGS_IN_A_LIBRARY, 0, 0.9),
        (HANGS_AFTER_IT, 0, 0.9),
        (ENDS_BY_ITSELF, 3, 0),
    ],
    ids=["hangs in the block", "hangs in a library", "hangs after it", "ends by itself"],
)
def test_what_hangs_is_ended_after_its_time(code: str, exit_code: int, least_seconds: float) -> None:
    with start(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        asked_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=30)  # where nothing configures it, the log goes there
        seconds = time.monotonic() - asked_at
    assert process.returncode == exit_code
    assert least_seconds < seconds < 10
    assert ("left hanging" in told) == (exit_code == 0)
