"""A window of time, and the records of an object that belong to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

from db.records import Reject
from db.states import RejectReason


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The times with start <= time < end."""

    start: datetime
    end: datetime

    def __contains__(self, time: datetime) -> bool:
        return self.start <= time < self.end


class RejectCounts:
    """The number of refused records by reason, with the first example of each."""

    def __init__(self) -> None:
        self._by_reason: dict[RejectReason, Reject] = {}

    def add(self, reject: Reject) -> None:
        """Add a reject; of several for the same reason, the first example is kept."""
        known = self._by_reason.get(reject.reason)
        self._by_reason[reject.reason] = replace(known, n=known.n + reject.n) if known else reject

    def update(self, rejects: Iterable[Reject]) -> None:
        """Add several rejects, in order."""
        for reject in rejects:
            self.add(reject)

    def in_order(self) -> tuple[Reject, ...]:
        """Return one reject per reason, in the order of `RejectReason`."""
        return tuple(self._by_reason[reason] for reason in RejectReason if reason in self._by_reason)


class WindowFilter:
    """The selection of the records of one object, in order, that belong to the window.

    A record with a usable time belongs to the window of that time, even if the record is refused. A refused
    record without a usable time belongs to the window of the last usable time before it, or, if there is
    none, of the first usable time of the object. In an object without any usable time, it belongs to the
    window in which the object was last modified, and `undated` is set. Refused records of other windows are
    not counted here; usable records of other windows are counted as `outside_window`.
    """

    def __init__(self, window: Window, object_name: str) -> None:
        self.first_time: datetime | None = None  #: the earliest usable time
        self.last_time: datetime | None = None  #: the latest usable time
        self.undated: Reject | None = None  #: the whole object, if it has records and none has a usable time
        self._window = window
        self._object = object_name
        self._refused = RejectCounts()
        self._undated = RejectCounts()
        self._n_outside = 0
        self._outside_hash = ""
        self._in_window = False  #: whether the last usable time is in the window

    def accepts(self, time: datetime, line: bytes) -> bool:
        """Return whether the usable record in `line` belongs to the window."""
        self._note_time(time)
        if not self._in_window:
            self._n_outside += 1
            if self._n_outside == 1:
                self._outside_hash = sha256(line).hexdigest()
        return self._in_window

    def accepts_all(self, times: Sequence[datetime], first_line: bytes) -> bool | None:
        """Return what `accepts` returns for usable records, all inside the window or all on one side of it.

        For any other records return None, and count nothing.
        """
        earliest, latest = min(times), max(times)
        inside = earliest in self._window and latest in self._window
        if not inside and earliest < self._window.end and latest >= self._window.start:
            return None
        for time in (times[0], earliest, latest, times[-1]):
            self._note_time(time)
        if not inside:
            self._outside_hash = self._outside_hash or sha256(first_line).hexdigest()
            self._n_outside += len(times)
        return inside

    def refuse(self, reason: RejectReason, time: datetime | None, example_hash: str) -> None:
        """Count a record that cannot be used; `time` is None if it has no usable time."""
        if time is not None:
            self._note_time(time)
        reject = Reject(reason=reason, n=1, example_hash=example_hash, example_object=self._object)
        if self.last_time is None:
            self._undated.add(reject)
        elif self._in_window:
            self._refused.add(reject)

    def finish(self, modified_at: datetime) -> tuple[Reject, ...]:
        """Return the rejects of the window, after the object was read."""
        if self.last_time is None:
            self._note_time(modified_at)
            for example in self._undated.in_order()[:1]:
                self.undated = replace(example, reason=RejectReason.UNDATED_OBJECT, n=1)
        if self._n_outside:
            self._refused.add(self._outside())
        return self._refused.in_order()

    def _note_time(self, time: datetime) -> None:
        self._in_window = time in self._window
        if self.first_time is None or self.last_time is None:
            self.first_time = self.last_time = time
            if self._in_window:
                self._refused.update(self._undated.in_order())
        elif time < self.first_time:
            self.first_time = time
        elif time > self.last_time:
            self.last_time = time

    def _outside(self) -> Reject:
        return Reject(
            reason=RejectReason.OUTSIDE_WINDOW,
            n=self._n_outside,
            example_hash=self._outside_hash,
            example_object=self._object,
        )
