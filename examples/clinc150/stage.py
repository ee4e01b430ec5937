"""The steps of an example, from the command line to the result; a script adds only the drift it shows."""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TextIO

import numpy as np
import structlog
from corpus import Corpus, Utterances, read_corpus
from late import LateLabels
from pair import PackageMissingError
from sqlalchemy import Engine
from traffic import RequestLog
from world import Day, Drift, Schedules, World, prepare

from db.connection.session import connect
from db.errors import RedistillError
from distill.training.schedule import Schedule
from redistill.configuration.settings import Settings
from redistill.display.progress import bars

_SEED: Final = 2025
_LATE_DAYS: Final = 2
_KIB: Final = 1 if sys.platform == "darwin" else 1_024


#: Prints the events of the days and draws them into a file, from the database.
Tell = Callable[[Path, Settings, Engine, list[Day]], None]


@dataclass(frozen=True, kw_only=True)
class Example:
    """The parts in which the scripts differ."""

    name: str
    strange: Callable[[Corpus], Utterances]
    drift: Drift
    tell: Tell
    rules: str = ""  #: as written in redistill.toml; empty: the product's own
    labelled: bool = False  #: whether the log has the true label of each request
    late_share: float = 0.0  #: of the requests, whose true labels people give, days later


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of the command line."""

    data: Path
    out: Path
    full: bool
    seed: int


def play(example: Example, summary: str) -> None:
    """Run the example with the options of the command line; exit with one line on an expected failure."""
    wanted = _wanted(example, summary)
    try:
        _play(example, wanted)
    except RedistillError as error:
        sys.exit(str(error))


def _wanted(example: Example, summary: str) -> Wanted:
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of CLINC150's data_full.json and domains.json"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build", example.name), help="a new folder (%(default)s)"
    )
    parser.add_argument("--full", action="store_true", help="train for longer")
    parser.add_argument(
        "--seed", type=int, default=_SEED, help="the seed of all random choices (%(default)s)"
    )
    return Wanted(**vars(parser.parse_args()))


def _schedules(wanted: Wanted) -> Schedules:
    def schedule(epochs: int, learning_rate: float) -> Schedule:
        return Schedule(epochs=epochs, batch_size=64, learning_rate=learning_rate, seed=wanted.seed)

    return Schedules(
        teacher=schedule(3 if wanted.full else 2, 1e-4),
        student=schedule(5 if wanted.full else 3, 3e-4),
        candidate=schedule(5 if wanted.full else 3, 2e-4),
    )


def _play(example: Example, wanted: Wanted) -> None:
    _require("matplotlib")
    began, rng = time.monotonic(), np.random.default_rng(wanted.seed)
    corpus = read_corpus(wanted.data, rng)
    with bars() as show:
        settings = prepare(wanted.out, corpus, _schedules(wanted), example.rules, show)
        prepared = time.monotonic()
        with (wanted.out / "log.jsonl").open("w", encoding="utf-8") as log_lines:
            _log_into(log_lines)
            engine = connect(settings.database.url, root=settings.folder)
            log = RequestLog(
                settings.traffic.uri,
                usual=corpus.usual,
                strange=example.strange(corpus),
                rng=rng,
                labelled=example.labelled,
            )
            late = LateLabels(share=example.late_share, days=_LATE_DAYS, rng=rng)
            world = World(
                settings=settings,
                engine=engine,
                log=log,
                drift=example.drift,
                show=show,
                late=late if example.late_share else None,
            )
            days = list(world.days())
    _tell(example, wanted, settings, engine, days)
    _tell_cost(prepared - began, time.monotonic() - prepared)


def _require(name: str) -> None:
    if find_spec(name) is None:
        raise PackageMissingError(name=name)


def _log_into(file: TextIO) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=file),
    )


def _tell(example: Example, wanted: Wanted, settings: Settings, engine: Engine, days: list[Day]) -> None:
    picture = wanted.out / f"{example.name}.svg"
    example.tell(picture, settings, engine, days)
    engine.dispose()
    print(f"\nThe picture is {picture}, the product's log {wanted.out / 'log.jsonl'}. To inspect the run:")
    for command in ("history", "status", "jobs list", "models list"):
        print(f"  redistill --config {wanted.out / 'redistill.toml'} {command}")


def _tell_cost(preparing: float, loop: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"\nTeacher and first student took {_span(preparing)} (training or cache), the loop {_span(loop)}; "
        f"{_span(cpu)} of processor time, {used.ru_maxrss * _KIB / 2**30:.2f} GiB of memory at the peak."
    )


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
