"""The demo: the production code on a simulated service, with a narration."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import monotonic

import numpy as np
import structlog
from sqlalchemy import Engine

from db.connection.migrate import upgrade
from db.connection.session import connect
from db.errors import RedistillError
from db.records import Slot
from monitor.clock import utc_now
from monitor.daemon.schedule import make_trigger, newest_complete_slot, slots_between
from monitor.settings import MonitorSection
from monitor.stop import never_stopped
from redistill import assembly
from redistill.artifacts import artifacts
from redistill.configuration.settings import Settings, load
from redistill.demo.narration import CLOSING, OPENING, SERVING, print_cycle, print_job, print_models
from redistill.demo.pretrain import BATCH_SIZE, EPOCHS, LEARNING_RATE, build
from redistill.demo.service import CONFIGURATION, SHIFTS, write_window
from redistill.display import show
from redistill.display.comparison import Comparison, compare
from redistill.display.progress import ShowProgress, bars

_HOUR = timedelta(hours=1)


class FolderTakenError(RedistillError):
    """{folder} exists, and `redistill demo` did not write it: name another folder."""


def run(folder: Path, seed: int) -> None:
    """Run the demo in `folder`, which replaces an earlier demo there.

    Raises:
        FolderTakenError: the folder has other contents.
    """
    began = monotonic()
    _prepare(folder, seed)
    with _logging_to(folder / "redistill.log"), bars() as progress:
        show.say(OPENING)
        settings = load(folder / "redistill.toml")
        assembly.configure_torch(settings)
        build(folder, seed, progress)
        print_models(_compared(settings, folder, progress))
        show.say(SERVING.format(hour=next(hour for hour, shift in enumerate(SHIFTS, start=1) if shift)))
        engine = connect(settings.database.url, root=settings.folder)
        upgrade(engine)
        _run_hours(settings, engine, folder, seed, progress)
        engine.dispose()
    config = folder / "redistill.toml"
    show.say(CLOSING.format(folder=folder, config=config, seconds=monotonic() - began))


def _compared(settings: Settings, folder: Path, progress: ShowProgress) -> Comparison:
    return compare(
        folder / "data" / "test.jsonl",
        settings.teacher.uri,
        settings.student.uri,
        artifacts=artifacts(settings),
        metrics=settings.metrics,
        scoring=settings.scoring,
        placement=assembly.training_placement(settings),
        show=progress,
    )


def _prepare(folder: Path, seed: int) -> None:
    config = folder / "redistill.toml"
    ours = config.is_file() and config.read_text(encoding="utf-8").startswith(CONFIGURATION.splitlines()[0])
    if ours:
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FolderTakenError(folder=folder)
    folder.mkdir(parents=True, exist_ok=True)
    # written first, so that an interrupted demo can be run again
    config.write_text(_configuration(seed), encoding="utf-8")


def _configuration(seed: int) -> str:
    return CONFIGURATION.format(epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE, seed=seed)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    with path.open("w", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        yield
        structlog.reset_defaults()


def _run_hours(settings: Settings, engine: Engine, folder: Path, seed: int, progress: ShowProgress) -> None:
    runner = assembly.slot_runner(settings, engine, progress)
    worker = assembly.worker(settings, engine, progress)
    outbox = assembly.outbox(settings, engine)
    rng = np.random.default_rng([seed, len(SHIFTS)])
    for hour, slot in enumerate(_hours(settings.monitor)):
        write_window(folder / "traffic", hour, slot, rng)
        runner.run([slot], never_stopped)
        outbox.deliver_due(utc_now())
        print_cycle(engine, hour)
        if worker.run_once(never_stopped):
            print_job(engine)


def _hours(section: MonitorSection) -> tuple[Slot, ...]:
    trigger = make_trigger(section)
    end = newest_complete_slot(trigger, section.name, now=utc_now(), lateness=section.lateness).window_end
    return slots_between(trigger, section.name, end - len(SHIFTS) * _HOUR, end)
