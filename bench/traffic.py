"""Time and memory of sampling a window of a million records, compared with common alternatives.

Each contender runs in a process of its own, in turn, so that load on the machine affects all equally. Times
exclude imports. Memory is the peak resident size, summed over the contender's processes, minus that of an
idle interpreter.

    make bench-traffic                    # 1,000,000 records, 5 rounds
    python bench/traffic.py --records 100000 --rounds 3
    python bench/traffic.py --grow        # memory and time on 100,000 to 10,000,000 records
"""

import argparse
import gzip
import json
import os
import random  # noqa: TID251 - as in an ad-hoc script
import statistics
import string
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, sleep
from typing import Final

_START: Final = datetime(2026, 11, 24, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_K: Final = 10_000
_TAILS: Final = 10_000
_POLL_SECONDS: Final = 0.01
_WORDS: Final = tuple(string.ascii_lowercase[at : at + 3 + at % 5] for at in range(20))


def redistill(folder: Path) -> int:
    """Validate every record, deduplicate ids and draw an exact and repeatable sample."""
    from monitor.settings import FilesTraffic
    from monitor.sources.objects import ObjectsSource
    from monitor.sources.stores.folder import Folder

    source = ObjectsSource(Folder(uri=folder), FilesTraffic(uri=folder), ("faq", "order"))
    with _timed():
        return len(source.read_window(_START, _START + _DAY, k=_K, floor=150, stopped=lambda: False).requests)


def polars(folder: Path) -> int:
    """Read all records, then sample."""
    import polars as pl

    with _timed():
        frames = [pl.read_ndjson(path) for path in sorted(folder.iterdir())]
        return len(pl.concat(frames).sample(_K, seed=1))


def duckdb(folder: Path) -> int:
    """Sample into a reservoir while reading."""
    import duckdb as db

    with _timed():
        log = f"read_json('{folder}/*', format='newline_delimited')"
        columns = "* REPLACE (time::VARCHAR AS time)"  # as a Python object it would need pytz
        return len(db.sql(f"SELECT {columns} FROM {log} USING SAMPLE {_K} (reservoir, 1)").fetchall())  # noqa: S608


def standard_library(folder: Path) -> int:
    """Use gzip, json, a list and random.sample."""
    with _timed():
        rows: list[object] = []
        for path in sorted(folder.iterdir()):
            with gzip.open(path) as file:
                rows.extend(json.loads(line) for line in file)
        return len(random.Random(1).sample(rows, _K))


CONTENDERS: Final[dict[str, Callable[[Path], int]]] = {
    each.__name__: each for each in (redistill, polars, duckdb, standard_library)
}


@contextmanager
def _timed() -> Iterator[None]:
    began = perf_counter()
    yield
    print(json.dumps({"seconds": perf_counter() - began}), flush=True)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a contender."""

    seconds: float
    mebibytes: float


def run(name: str, folder: Path) -> Run:
    command = [sys.executable, __file__, "--contender", name, "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = _Peak(process.pid)
        output, _ = process.communicate()
        kibibytes = peak.finish()
    if process.returncode != 0:
        sys.exit(f"{name} failed")
    return Run(seconds=json.loads(output)["seconds"], mebibytes=kibibytes / 1024)


class _Peak:
    """The peak resident size of a process and its children, polled while it runs."""

    def __init__(self, pid: int) -> None:
        self._pid, self._kibibytes, self._over = pid, 0, False
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def finish(self) -> int:
        self._over = True
        self._thread.join()
        return self._kibibytes

    def _poll(self) -> None:
        while not self._over:
            self._kibibytes = max(self._kibibytes, sum(map(_resident, _family(self._pid))))
            sleep(_POLL_SECONDS)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _resident(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)


def _interpreter() -> float:
    """Return the peak resident size of an idle interpreter, in MiB."""
    code = "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(answer.stdout) / 1024


def write_log(folder: Path, *, records: int, objects: int) -> Path:
    """Write a day of requests into gzip objects, in order of time; fields after id and time repeat."""
    folder.mkdir(parents=True)
    rng = random.Random(2025)
    tails = [json.dumps(_tail(rng))[1:] for _ in range(_TAILS)]
    for number in range(objects):
        with gzip.open(folder / f"{number:03}.jsonl.gz", "wt", compresslevel=6) as file:
            for index in range(number * records // objects, (number + 1) * records // objects):
                time = (_START + index * _DAY / records).isoformat()
                head = f'{{"id": "req-{index:09}-{rng.getrandbits(60):015x}", "time": "{time}", '
                file.write(f"{head}{tails[index % _TAILS]}\n")
    return folder


def _tail(rng: random.Random) -> dict[str, object]:
    return {
        "text": " ".join(rng.choices(_WORDS, k=rng.randrange(4, 20))),
        "student_label": "order",
        "session": f"{rng.getrandbits(60):015x}",
        "client": {"version": "4.2.1", "platform": "ios", "locale": "de-DE", "experiments": ["a1", "b7"]},
        "model": {"name": "intent-router", "version": "2026-10-02", "temperature": 1.0},
        "latency_ms": round(rng.expovariate(1 / 30), 3),
        "trace": f"00-{rng.getrandbits(60):032x}-{rng.getrandbits(60):016x}-01",
    }


def grow(temporary: Path, records: int) -> None:
    """Run only Redistill, on a tenth of the records, on all of them, and on ten times as many."""
    print("\nredistill, one object:")
    for n in (records // 10, records, records * 10):
        done = run("redistill", write_log(temporary / f"grow-{n}", records=n, objects=1))
        over = done.mebibytes - _interpreter()
        print(f"  {n:>10,} records: {done.seconds:6.2f} s, {over:.0f} MiB above the interpreter")


def compare(folder: Path, title: str, rounds: int) -> None:
    from rich.console import Console  # not needed by the contenders
    from rich.table import Table

    runs: dict[str, list[Run]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, done in runs.items():
            done.append(run(name, folder))
    seconds = {name: statistics.median(each.seconds for each in done) for name, done in runs.items()}
    base = _interpreter()
    table = Table(title=title)
    for heading in (
        "contender",
        "seconds (median)",
        "range",
        "redistill's time / this one's",
        "MiB over the interpreter",
    ):
        table.add_column(heading, justify="left" if heading == "contender" else "right")
    for name, done in runs.items():
        times = [each.seconds for each in done]
        table.add_row(
            name,
            f"{seconds[name]:.2f}",
            f"{min(times):.2f} to {max(times):.2f}",
            f"{seconds['redistill'] / seconds[name]:.2f}",
            f"{max(each.mebibytes for each in done) - base:.0f}",
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--grow", action="store_true", help="run only redistill, on three sizes")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.contender:
        CONTENDERS[wanted.contender](wanted.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        if wanted.grow:
            grow(Path(temporary), wanted.records)
            return
        for objects in (1, 24):
            folder = write_log(Path(temporary, str(objects)), records=wanted.records, objects=objects)
            size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
            what = f"{wanted.records:,} records in {objects} object{'s' * (objects > 1)}"
            compare(folder, f"{what}, {size:.0f} MiB of gzip, {os.cpu_count()} cores", wanted.rounds)


if __name__ == "__main__":
    main()
