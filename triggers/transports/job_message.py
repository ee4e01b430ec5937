"""The job message, schema redistill.job/1, and its classification by a worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from db.records import Job
from db.states import JobStatus, MessageFate

SCHEMA: Final = "redistill.job/1"
_LARGEST_ID: Final = 2**63 - 1

#: The fates of messages that a worker deletes; others are redelivered until the queue discards them.
SETTLED: Final = frozenset({MessageFate.WANTED, MessageFate.ALREADY_RUNNING, MessageFate.ALREADY_ENDED})


@dataclass(frozen=True, kw_only=True)
class JobMessage:
    """The fields of a message, in the order of the contract."""

    schema: str
    job_id: int
    monitor: str
    cycle_id: int | None
    rule: str | None
    reason: str
    teacher_version: str
    student_version: str
    alpha_from: float
    alpha_to: float
    temperature: float
    soft_labels: str
    archive: str | None  #: the archive of the sample of the job's cycle
    enqueued_at: datetime

    @property
    def body(self) -> str:
        """The message as JSON."""
        return orjson.dumps(self, option=orjson.OPT_UTC_Z).decode()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job in the database, with the archive of its cycle's sample and whether its worker is gone."""

    job: Job
    archive: str | None
    is_abandoned: bool


def message_of(job: Job, archive: str | None) -> JobMessage:
    """Return the message that calls workers to the job; the same for the same row."""
    return JobMessage(
        schema=SCHEMA,
        job_id=job.job_id,
        monitor=job.monitor,
        cycle_id=job.cycle_id,
        rule=job.rule,
        reason=job.reason,
        teacher_version=job.teacher_version,
        student_version=job.student_version,
        alpha_from=float(job.alpha_from),
        alpha_to=float(job.alpha_to),
        temperature=job.temperature,
        soft_labels="online",
        archive=archive,
        enqueued_at=job.enqueued_at,
    )


def classify(body: str, *, monitor: str, find: Callable[[int], Row | None]) -> MessageFate:
    """Return the fate of a message for a worker of `monitor`; `find` returns the row of a job's number.

    The row is authoritative: a message that differs from it is forged.
    """
    document = _document(body)
    if document is None:
        return MessageFate.NOT_JSON
    if document.get("schema") != SCHEMA:
        return MessageFate.OTHER_SCHEMA
    if document.get("monitor") != monitor:
        return MessageFate.OTHER_MONITOR
    return _held_against_row(document, find)


def _held_against_row(document: Mapping[str, object], find: Callable[[int], Row | None]) -> MessageFate:
    number = document.get("job_id")
    row = find(number) if type(number) is int and 0 < number <= _LARGEST_ID else None
    if row is None:
        return MessageFate.UNKNOWN_JOB
    if document != orjson.loads(message_of(row.job, row.archive).body):
        return MessageFate.FIELDS_DIFFER
    if row.is_abandoned or row.job.status is JobStatus.QUEUED:
        return MessageFate.WANTED
    is_running = row.job.status is JobStatus.RUNNING
    return MessageFate.ALREADY_RUNNING if is_running else MessageFate.ALREADY_ENDED


def _document(body: str) -> Mapping[str, object] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
