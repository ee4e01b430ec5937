"""A survey of a request log, for `redistill init` and `doctor`."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice

from db.states import RejectReason
from monitor.settings import FilesTraffic
from monitor.sources.formats.readers import Found, reader
from monitor.sources.formats.records import RecordParser
from monitor.sources.request import Refusal
from monitor.sources.stores.folder import Folder
from monitor.sources.stores.port import BrokenObjectError, TrafficObject, unavailable_if_unread

_HEAD_LINES = 200
_MAX_HEADS = 100


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A record or object of the log that cannot be used."""

    reason: RejectReason
    object_name: str
    line: int | None  #: the record, counted from 1; None for the object as a whole


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The result of a survey, from the lines that were read."""

    n_objects: int  #: in the log, read or not
    n_lines: int
    n_usable: int
    first_time: datetime | None
    last_time: datetime | None
    problem: Problem | None  #: the first one


def survey(section: FilesTraffic, labels: Collection[str] | None = None) -> Survey:
    """Read the first 200 lines of up to 100 objects, and the whole of the newest of these objects.

    The newest object is the one whose first usable record is the latest. `labels` are the models' label
    names, if known (see `RecordParser`). An empty folder gives zeros.

    Raises:
        TrafficMissingError: there is neither a file nor a folder.
        TrafficUnavailableError: a part of the log cannot be read now.
    """
    objects = Folder(uri=section.uri).list()
    step = max(1, math.ceil(len(objects) / _MAX_HEADS))
    looked_at = objects[::-step][::-1]  # the last one is among them
    newest = max(looked_at, key=lambda each: _first_time(each, section, labels), default=None)
    counts = _Counts(section, labels)
    for each in looked_at:
        counts.read(each, None if each is newest else _HEAD_LINES)
    return Survey(
        n_objects=len(objects),
        n_lines=counts.n_lines,
        n_usable=counts.n_usable,
        first_time=counts.first_time,
        last_time=counts.last_time,
        problem=counts.problem,
    )


class _Counts:
    def __init__(self, section: FilesTraffic, labels: Collection[str] | None) -> None:
        self.n_lines = 0
        self.n_usable = 0
        self.first_time: datetime | None = None
        self.last_time: datetime | None = None
        self.problem: Problem | None = None
        self._store = Folder(uri=section.uri)
        self._read = reader(section, RecordParser(section, labels))

    def read(self, each: TrafficObject, limit: int | None) -> None:
        try:
            with unavailable_if_unread(each.address), self._store.open(each) as file:
                records = chain.from_iterable(self._read(file))
                for number, found in islice(enumerate(records, start=1), limit):
                    self._note_record(each, number, found)
        except BrokenObjectError as broken:
            self._note_problem(broken.reason, each, None)

    def _note_record(self, each: TrafficObject, number: int, found: Found) -> None:
        self.n_lines += 1
        if isinstance(found.record, Refusal):
            self._note_problem(found.record.reason, each, number)
        else:
            self._note_time(found.record.time)

    def _note_time(self, time: datetime) -> None:
        self.n_usable += 1
        self.first_time = min(self.first_time or time, time)
        self.last_time = max(self.last_time or time, time)

    def _note_problem(self, reason: RejectReason, each: TrafficObject, line: int | None) -> None:
        self.problem = self.problem or Problem(reason=reason, object_name=each.name, line=line)


def _first_time(each: TrafficObject, section: FilesTraffic, labels: Collection[str] | None) -> datetime:
    head = _Counts(section, labels)
    head.read(each, _HEAD_LINES)
    return head.first_time or datetime.min.replace(tzinfo=UTC)
