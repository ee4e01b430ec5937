"""Many objects, read by several processes: the same sample, and nobody left behind."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from monitor import distinct
from monitor.settings import FilesTraffic
from monitor.sources import reading
from monitor.sources.port import LabelStrata
from monitor.sources.reading import ReaderDiedError, Task, read_all_here
from monitor.sources.stores.folder import Folder
from monitor.sources.stores.port import TrafficUnavailableError
from monitor.sources.stores.window import Window
from monitor.stop import StoppedError, never_stopped
from tests.support.processes.waiting import wait_until

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
WINDOW = Window(start=TEN, end=TEN + timedelta(hours=1))
ROOT = Path(__file__).resolve().parents[4]


def readers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_alive(pid: int) -> bool:
    """A zombie is not: its parent was killed, and nobody has asked for its end yet."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def _everything_is_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MANY_BYTES", 0)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    for number in range(20):
        rows = (
            {
                "id": f"{number}-{row % 150}",
                "time": (TEN + timedelta(minutes=row % 70)).isoformat(),
                "text": "t" if row % 13 else "",
            }
            for row in range(200)
        )
        (tmp_path / f"{number:02}").write_text("".join(json.dumps(row) + "\n" for row in rows))
    section = FilesTraffic(uri=tmp_path)
    return Task(
        store=Folder(uri=tmp_path),
        section=section,
        labels=(),
        window=WINDOW,
        k=100,
        strata=LabelStrata((), 0),
    )


def test_several_processes_read_what_one_reads(task: Task) -> None:
    objects = task.store.list(WINDOW)
    with TemporaryFile() as one, TemporaryFile() as other:
        alone = read_all_here(task, objects, never_stopped, one, processes=1)
        together = read_all_here(task, objects, never_stopped, other, processes=3)
        assert together.bottom.draw() == alone.bottom.draw()
        assert together.reads == alone.reads


def test_processes_that_read_stop_on_request(task: Task) -> None:
    asked: list[None] = []

    def stopped() -> bool:
        asked.append(None)
        return len(asked) > 1

    with pytest.raises(StoppedError):
        read_all_here(task, task.store.list(WINDOW), stopped, BytesIO(), processes=2)
    assert readers_of(os.getpid()) == []


def test_a_process_that_is_killed_ends_the_reading_with_an_error(task: Task, tmp_path: Path) -> None:
    (tmp_path / "20").write_bytes(b"{}\n" * 3_000_000)
    killed: list[int] = []

    def stopped() -> bool:
        if not killed:
            killed.extend(readers_of(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        return False

    with pytest.raises(ReaderDiedError, match="give it more"):
        read_all_here(task, task.store.list(WINDOW), stopped, BytesIO(), processes=2)
    assert killed


class FullDisk(BytesIO):
    def write(self, _content: object) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_ends_the_reading_and_is_no_fault_of_the_log(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distinct, "_HELD", 10)
    with pytest.raises(OSError, match="No space left"):
        read_all_here(task, task.store.list(WINDOW), never_stopped, FullDisk(), processes=1)


def test_what_fails_in_a_process_says_in_this_one_what_it_said_there() -> None:
    failed = TrafficUnavailableError(uri="s3://log/a", problem="SlowDown")
    found = pickle.loads(pickle.dumps(failed))  # noqa: S301 - as the pool of processes does
    assert (type(found), str(found), found.fields) == (type(failed), str(failed), failed.fields)


PARENT = """
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from monitor.settings import FilesTraffic
from monitor.sources import reading
from monitor.sources.stores.folder import Folder
from monitor.sources.port import LabelStrata
from monitor.sources.stores.window import Window

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ten = datetime(2026, 11, 24, 10, tzinfo=UTC)
    window = Window(start=ten, end=ten + timedelta(hours=1))
    reading._MANY_BYTES = 0
    task = reading.Task(
        store=Folder(uri=folder),
        section=FilesTraffic(uri=folder),
        labels=(),
        window=window,
        k=10,
        strata=LabelStrata((), 0),
    )
    reading.read_all_here(task, task.store.list(window), lambda: False, io.BytesIO(), processes=2)
"""


def test_no_process_outlives_the_one_that_started_it(task: Task, tmp_path: Path) -> None:
    """Not even a SIGKILL of that one leaves a reader behind."""
    del task
    (tmp_path / "20").write_bytes(b"{}\n" * 30_000_000)
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, script, str(tmp_path)], env=environment) as parent:
        wait_until(lambda: len(readers_of(parent.pid)) == 2, "two readers run")
        readers = readers_of(parent.pid)
        time.sleep(0.5)
        parent.kill()
    wait_until(lambda: not any(map(is_alive, readers)), "they have ended")
