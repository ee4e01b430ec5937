"""The common parts of the examples: labelled files, models, configuration, database, and the course of days.

The product does the work: its cycles read the request log, its rules order jobs, its worker distils, its
gates decide and its registry promotes. This module only writes the log and orders the turns of daemon and
worker.
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pair
from corpus import Corpus, write_labelled
from late import LateLabels
from pair import Distilling, LabelledFiles
from sqlalchemy import Engine
from traffic import RequestLog

from db import incidents, queue, versions
from db.connection.migrate import upgrade
from db.connection.session import reading
from db.errors import RedistillError
from db.records import Slot
from db.states import IncidentKind, Role
from distill.training.schedule import Schedule
from monitor.clock import utc_now
from redistill import assembly
from redistill.configuration import settings
from redistill.configuration.settings import Settings
from redistill.display.progress import ShowProgress

MONITOR: Final = "clinc150"

_FIRST_DAY: Final = datetime(2026, 1, 5, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_REQUESTS: Final = 1_500
_MARK: Final = "# Written by examples/clinc150, which may overwrite this folder."
_FIRST_STUDENT: Final = Distilling(alpha=0.7, temperature=3.0)

_CONFIGURATION = """\
{mark}

[monitor]
name = "{monitor}"
every = "24h"

[traffic]
uri = "traffic"

[teacher]
uri = {teacher}

[student]
uri = {student}

[redistill]
train = "labelled/train.jsonl"
validation = "labelled/validation.jsonl"
test = "labelled/test.jsonl"
registry = "registry"
cooldown = "0s"  # it counts real time, and a day takes seconds here
epochs = {candidate.epochs}
batch_size = {candidate.batch_size}
learning_rate = {candidate.learning_rate}
seed = {candidate.seed}

{rules}
"""


class FolderTakenError(RedistillError):
    """The folder {folder} has other contents: name a new folder with --out."""


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """The schedules of the three models."""

    teacher: Schedule
    student: Schedule
    candidate: Schedule


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The course of the share of strange requests."""

    usual_days: int  #: days without strange requests
    step: float  #: the daily rise of the share, until a re-distillation is ordered
    days_after: int  #: days after the end, which is a promotion or a request to retrain the teacher
    most_days: int  #: the maximum number of days


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day that has ended."""

    slot: Slot
    share: float  #: of strange requests, in [0, 1]


def prepare(out: Path, corpus: Corpus, schedules: Schedules, rules: str, show: ShowProgress) -> Settings:
    """Create the folder with labelled files, redistill.toml and the database; the models are elsewhere.

    `rules` are written to the configuration as they are; if empty, the product's own apply.

    Raises:
        FolderTakenError: the folder is neither empty nor from an earlier run.
    """
    _clear(out)
    files = _labelled_files(out / "labelled", corpus)
    teacher = pair.teacher(files, schedules.teacher, show)
    student = pair.student(files, teacher, schedules.student, _FIRST_STUDENT, show)
    config = out / "redistill.toml"
    config.write_text(
        _CONFIGURATION.format(
            mark=_MARK,
            monitor=MONITOR,
            teacher=json.dumps(str(teacher)),
            student=json.dumps(str(student)),
            candidate=schedules.candidate,
            rules=rules,
        ),
        encoding="utf-8",
    )
    loaded = settings.load(config)
    upgrade(loaded.database.url)
    return loaded


@dataclass(kw_only=True)
class World:
    """The simulation of the days: the log of a day, its cycle, the messages and the worker's turn."""

    settings: Settings
    engine: Engine
    log: RequestLog
    drift: Drift
    show: ShowProgress
    late: LateLabels | None = None  #: that people give; None: nobody does

    def days(self) -> Iterator[Day]:
        """Yield each day when it has ended, until `days_after` days after the end, `most_days` at most."""
        runner = assembly.slot_runner(self.settings, self.engine, self.show)
        worker = assembly.worker(self.settings, self.engine, self.show)
        messages = assembly.outbox(self.settings, self.engine)
        risen, after = 0, 0
        for number in range(self.drift.most_days):
            risen += number >= self.drift.usual_days and not self._has_ordered()
            slot = _slot(number)
            share = self.drift.step * risen
            truth = self.log.write(slot, _REQUESTS, share=share, fresh=self._is_promoted())
            runner.run([slot], _never)
            if self.late is not None:
                self.late.arrive(self.settings, self.engine, truth)
            while messages.deliver_due(utc_now()):
                pass
            while worker.run_once(_never):
                pass
            yield Day(slot=slot, share=share)
            after += self._has_ended()
            if after > self.drift.days_after:
                return

    def _has_ordered(self) -> bool:
        with reading(self.engine) as connection:
            return bool(queue.of_monitor(connection, MONITOR))

    def _is_promoted(self) -> bool:
        with reading(self.engine) as connection:
            student = versions.current(connection, MONITOR, Role.STUDENT)
        return student is not None and student.job_id is not None

    def _has_ended(self) -> bool:
        with reading(self.engine) as connection:
            firing = incidents.firing(connection, MONITOR)
        return self._is_promoted() or any(each.kind is IncidentKind.RETRAIN_TEACHER for each in firing)


def _never() -> bool:
    return False


def _slot(number: int) -> Slot:
    start = _FIRST_DAY + number * _DAY
    return Slot(monitor=MONITOR, window_start=start, window_end=start + _DAY)


def _clear(out: Path) -> None:
    config = out / "redistill.toml"
    if config.is_file() and config.read_text(encoding="utf-8").startswith(_MARK):
        shutil.rmtree(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FolderTakenError(folder=out)
    out.mkdir(parents=True, exist_ok=True)


def _labelled_files(folder: Path, corpus: Corpus) -> LabelledFiles:
    return LabelledFiles(
        labels=corpus.labels,
        teacher=write_labelled(folder / "teacher.jsonl", corpus.teacher),
        train=write_labelled(folder / "train.jsonl", corpus.train),
        validation=write_labelled(folder / "validation.jsonl", corpus.validation),
        test=write_labelled(folder / "test.jsonl", corpus.test),
    )
