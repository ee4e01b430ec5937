"""The steps that the examples share, from the command line to the finished picture."""

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
from pair import PackageMissingError, Training
from sqlalchemy import Engine
from traffic import RequestLog
from world import Day, Drift, Trainings, World, prepare

from db.connection.session import connect
from db.errors import RedistillError
from redistill.configuration.settings import Settings
from redistill.display.progress import bars

_SEED: Final = 2025
_KIB: Final = 1 if sys.platform == "darwin" else 1_024


#: Prints what happened on the days, and draws it to a file, from the database.
Tell = Callable[[Path, Settings, Engine, list[Day]], None]


@dataclass(frozen=True, kw_only=True)
class Example:
    """The settings of one example."""

    name: str
    strange: Callable[[Corpus], Utterances]
    drift: Drift
    tell: Tell
    rules: str = ""  #: as TOML for redistill.toml; empty: the default rules


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
    parser.add_argument("--seed", type=int, default=_SEED, help="the random seed (%(default)s)")
    return Wanted(**vars(parser.parse_args()))


def _trainings(wanted: Wanted) -> Trainings:
    def training(epochs: int, learning_rate: float) -> Training:
        return Training(epochs=epochs, batch_size=64, learning_rate=learning_rate, seed=wanted.seed)

    return Trainings(
        teacher=training(3 if wanted.full else 2, 1e-4),
        student=training(5 if wanted.full else 3, 3e-4),
        candidate=training(5 if wanted.full else 3, 2e-4),
    )


def _play(example: Example, wanted: Wanted) -> None:
    _require("matplotlib")
    began, rng = time.monotonic(), np.random.default_rng(wanted.seed)
    corpus = read_corpus(wanted.data, rng)
    with bars() as show:
        settings = prepare(wanted.out, corpus, _trainings(wanted), example.rules, show)
        prepared = time.monotonic()
        with (wanted.out / "log.jsonl").open("w", encoding="utf-8") as log_lines:
            _log_into(log_lines)
            engine = connect(settings.database.url)
            log = RequestLog(
                settings.traffic.uri,
                usual=corpus.usual,
                strange=example.strange(corpus),
                rng=rng,
            )
            world = World(
                settings=settings,
                engine=engine,
                log=log,
                drift=example.drift,
                show=show,
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
    print(f"\nThe picture is in {picture}, the log of Redistill in {wanted.out / 'log.jsonl'}. Next, try:")
    for command in ("history", "status", "jobs list", "models list"):
        print(f"  redistill --config {wanted.out / 'redistill.toml'} {command}")


def _tell_cost(preparing: float, loop: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"\nTeacher and first student (trained, or taken from the cache) took {_span(preparing)}, the loop "
        f"{_span(loop)}; {_span(cpu)} of CPU time, at most {used.ru_maxrss * _KIB / 2**30:.2f} GiB of memory."
    )


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
