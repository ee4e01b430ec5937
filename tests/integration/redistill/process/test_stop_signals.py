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


#: As in a terminal, where Ctrl-C reaches the children, too, and their parent asks them to stop.
ASKED_TWICE = """
import os, signal
from redistill.process.stop_signals import stop_on_signals

with stop_on_signals(within_seconds=30) as stop:
    os.kill(os.getpid(), signal.SIGINT)
    stop.wait()
    for _ in range(50):
        os.kill(os.getpid(), signal.SIGTERM)
"""

#: Ctrl-C in an import that swallows exceptions, as the import system itself does in its callbacks.
INTERRUPTED_IN_AN_IMPORT = """
import os, signal
from redistill.process.stop_signals import loading

with loading():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass
print("went on")
"""

#: The steps of a promotion; a second Ctrl-C has its effect.
INTERRUPTED_BETWEEN_TWO_STEPS = """
import os, signal, sys
from redistill.process.stop_signals import undisturbed

for times in (0, 1, 2):
    steps = []
    try:
        with undisturbed():
            steps.append("database")
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            steps.append("link")
        steps.append("end")
    except KeyboardInterrupt:
        steps.append("interrupted")
    print(*steps)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
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


def ended(code: str) -> tuple[int, str, str]:
    """The exit code of a process, and what it printed and logged."""
    with start(code) as process:
        out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_a_process_that_is_asked_twice_says_nothing_of_it() -> None:
    assert ended(ASKED_TWICE) == (0, "", "")


def test_ctrl_c_is_not_lost_while_libraries_are_loaded() -> None:
    assert ended(INTERRUPTED_IN_AN_IMPORT) == (130, "", "redistill: interrupted\n")


def test_ctrl_c_waits_for_steps_that_belong_together() -> None:
    code, out, err = ended(INTERRUPTED_BETWEEN_TWO_STEPS)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["database link end", "database link interrupted", "database interrupted"]


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
