"""The contenders on the same streams: tuned on healthy traffic, then tested on other traffic."""

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Final

import numpy as np
from contenders import CONTENDERS, Contender
from levels import BUDGET
from streams import CYCLE, Bools, Floats, Ints, Path

_BLOCKS: Final = range(2)
_CALM: Final = 100  #: healthy cycles before a step
AGREEMENTS: Final = (0.945, 0.94, 0.93, 0.92, 0.90)
HEALTHY: Final = Path(name="healthy", cycles=1_000)
OTHERS: Final = (
    HEALTHY,
    Path(name="a step to .96", calm=_CALM, cycles=_CALM, rate=0.04),
    Path(name="varying", cycles=1_000, spread=0.006),
)
_TUNING, _TRYING = 2025, 2026  #: seeds


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The alarms of a contender, each as the number of requests to the first one, 0 for none."""

    name: str
    setting: float  #: nan if the guarantee decides it
    healthy: dict[str, Ints]  #: alarms of each stream, by the name of a path of `OTHERS`
    delays: dict[float, Ints]  #: requests since the step, without earlier alarms, by the agreement after it


def race(name: str, pool: Executor, part: float) -> Result:
    """Tune a contender on healthy streams, and test it on others; `part` scales the number of streams."""
    streams = max(1, round(CONTENDERS[name].streams * part))
    setting = _tuned(name, pool, streams)
    steps = {a: Path(name=f"to {a}", calm=_CALM, cycles=2 * _CALM, rate=1 - a) for a in AGREEMENTS}
    waiting = {
        path: _submit(pool, name, setting, path, [np.arange(streams)] * len(_BLOCKS), seed=_TRYING)
        for path in (*OTHERS, *steps.values())
    }
    found = {path: np.concatenate(list(each)) for path, each in waiting.items()}
    return Result(
        name=name,
        setting=setting,
        healthy={path.name: found[path] for path in OTHERS},
        delays={a: _since_step(found[path], path) for a, path in steps.items()},
    )


def first_alarms(name: str, setting: float, path: Path, block: int, columns: Ints, *, seed: int) -> Ints:
    """Return the number of requests to each stream's first alarm, (columns,); 0 without an alarm."""
    contender = CONTENDERS[name]
    watcher, bound = contender.build(columns.size, setting), contender.bound(setting)
    found = np.zeros(columns.size, dtype=np.int64)
    for cycle, errors in enumerate(path.errors(seed=seed, block=block)):
        alarms: Bools = watcher.statistic(errors[:, columns]) > bound
        at = cycle * CYCLE + (alarms.argmax(axis=0) + 1) * (CYCLE // len(alarms))
        found = np.where((found == 0) & alarms.any(axis=0), at, found)
        if found.all():
            break
    return found


def peaks(name: str, path: Path, seed: int, block: int, columns: Ints) -> Floats:
    """Return the largest value of each stream's statistic, (columns,)."""
    watcher, largest = CONTENDERS[name].build(columns.size, np.inf), np.zeros(columns.size)
    for errors in path.errors(seed=seed, block=block):
        largest = np.maximum(largest, watcher.statistic(errors[:, columns]).max(axis=0))
    return largest


def assert_as_the_library(name: str, contender: Contender, setting: float, streams: int = 8) -> None:
    """Raise AssertionError unless the library's detector alarms at the same requests of the same streams."""
    path = Path(name="", calm=20, cycles=20, rate=0.1)
    columns = np.arange(streams)
    ours = first_alarms(name, setting, path, 0, columns, seed=_TRYING)
    errors = np.concatenate([each[:, :streams] for each in path.errors(seed=_TRYING, block=0)])
    for stream, alarm in zip(columns, ours, strict=True):
        theirs = _first(contender, setting, errors[:, stream].astype(int).tolist())
        assert theirs == alarm, (name, stream, theirs, alarm)  # noqa: S101


def _tuned(name: str, pool: Executor, streams: int) -> float:
    """Return the most sensitive setting with which at most BUDGET of the healthy streams alarm."""
    contender = CONTENDERS[name]
    columns = [np.arange(streams)] * len(_BLOCKS)
    if not contender.setting:
        return float("nan")
    if contender.ladder is None:
        tops = pool.map(peaks, repeat(name), repeat(HEALTHY), repeat(_TUNING), _BLOCKS, columns)
        return float(np.quantile(np.concatenate(list(tops)), 1 - BUDGET, method="higher"))
    setting, ratio = contender.ladder
    while True:
        alarms = _submit(pool, name, setting, HEALTHY, columns, seed=_TUNING)
        # a less sensitive setting does not alarm on streams on which this one does not
        columns = [each[found > 0] for each, found in zip(columns, alarms, strict=True)]
        if sum(each.size for each in columns) <= BUDGET * streams * len(_BLOCKS):
            return setting
        setting *= ratio


def _submit(
    pool: Executor, name: str, setting: float, path: Path, columns: list[Ints], *, seed: int
) -> Iterator[Ints]:
    return pool.map(partial(first_alarms, name, setting, path, seed=seed), _BLOCKS, columns)


def _since_step(alarms: Ints, path: Path) -> Ints:
    step = path.calm * CYCLE
    return np.where(alarms > 0, alarms - step, 0)[(alarms == 0) | (alarms > step)]


def _first(contender: Contender, setting: float, errors: list[int]) -> int:
    assert contender.library is not None  # noqa: S101
    detector = contender.library(setting)
    for number, error in enumerate(errors, start=1):
        detector.update(error)
        if getattr(detector, "drift_detected", False) or getattr(detector, "drift", False):
            return number
    return 0
