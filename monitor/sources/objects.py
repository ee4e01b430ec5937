"""The sample of a window from a request log in objects: the files of a folder, or the objects of a bucket."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from tempfile import TemporaryFile

from db.records import ObjectVersion, Reject
from db.states import RejectReason
from monitor.settings import ObjectsSection
from monitor.sources.port import LabelStrata, WindowSample, window_sample
from monitor.sources.reading import ObjectRead, Part, ReadAll, Task, read_all_here
from monitor.sources.stores.port import ObjectStore, TrafficObject
from monitor.sources.stores.window import RejectCounts, Window
from monitor.stop import Stopped
from monitor.storage.disk import scratch

#: Returns the start of the window that ended at a time, and the objects that were read for it; None if no
#: cycle has read it.
Consumed = Callable[[datetime], tuple[datetime, Collection[ObjectVersion]] | None]


@dataclass(frozen=True, kw_only=True)
class _OutsideObject:
    """An object that was read completely and has no record in the window for which it was read."""

    version: str
    first_time: datetime
    last_time: datetime
    rejects: tuple[Reject, ...]
    undated: Reject | None  #: see `ObjectRead`

    def is_still_outside(self, window: Window) -> bool:
        return self.last_time < window.start or self.first_time >= window.end


class ObjectsSource:
    """A request log in the objects of a store.

    Every record is read, since only the time in a record determines its window. Objects are remembered by
    their version: an object that was entirely before or after one window is not read again for another window
    that it cannot overlap, with the same result.

    Args:
        store: the store of the objects.
        section: the format, the field names, and the key of the sample.
        labels: the models' label names (see `RecordParser`).
        consumed: the objects that earlier windows have read, for a store that lists objects by the hour.
            Objects that arrived later are counted as `late_object`; their records are in no sample.
        read_all: the function that reads the objects, in this process or others.
    """

    def __init__(
        self,
        store: ObjectStore,
        section: ObjectsSection,
        labels: Collection[str],
        consumed: Consumed | None = None,
        read_all: ReadAll = read_all_here,
    ) -> None:
        self._store = store
        self._section = section
        self._labels = labels
        self._consumed = consumed
        self._read_all = read_all
        self._outside: dict[str, _OutsideObject] = {}

    def read_window(
        self, window_start: datetime, window_end: datetime, *, k: int, stopped: Stopped, floor: int = 0
    ) -> WindowSample:
        """Read a window (see `TrafficSource`). A broken object is counted as a reject and stops nothing.

        Raises:
            TrafficMissingError: there is no log.
            TrafficUnavailableError: the log cannot be read now; a later attempt may succeed.
            ScratchError: the disk for temporary files is full.
            StoppedError: `stopped` returned True.
        """
        window = Window(start=window_start, end=window_end)
        listed = self._store.list(window)
        known = {each.name: known for each in listed if (known := self._known(each, window))}
        strata = LabelStrata(self._labels, floor)
        task = Task(
            store=self._store,
            section=self._section,
            labels=self._labels,
            window=window,
            k=k,
            strata=strata,
        )
        wanted = [each for each in listed if each.name not in known]
        with scratch(), TemporaryFile() as spill:
            part = self._read_all(task, wanted, stopped, spill)
            draw = part.bottom.draw()
        self._outside = {name: self._outside[name] for name in known}  # forgets removed objects
        for read in part.reads:
            self._remember(read, window)
        objects = tuple(map(_version, listed)) if self._consumed is not None else ()
        return window_sample(draw, strata, self._rejects(window, listed, part, known), objects)

    def _rejects(
        self, window: Window, listed: Sequence[TrafficObject], part: Part, known: Mapping[str, _OutsideObject]
    ) -> tuple[Reject, ...]:
        found = {read.each.name: (read.rejects, read.undated) for read in part.reads}
        found |= {name: (outside.rejects, outside.undated) for name, outside in known.items()}
        rejects = RejectCounts()
        for each in listed:
            own, undated = found[each.name]
            rejects.update(own)
            if undated and each.modified_at >= window.end:  # it may have the records of this window
                rejects.add(undated)
        if self._consumed is not None:
            rejects.update(self._late(window, listed, part.reads))
        return rejects.in_order()

    def _known(self, each: TrafficObject, window: Window) -> _OutsideObject | None:
        found = self._outside.get(each.name)
        is_same = found is not None and found.version == each.version
        return found if found and is_same and found.is_still_outside(window) else None

    def _remember(self, read: ObjectRead, window: Window) -> None:
        if not read.intact or read.first_time is None or read.last_time is None:
            return
        found = _OutsideObject(
            version=read.each.version,
            first_time=read.first_time,
            last_time=read.last_time,
            rejects=read.rejects,
            undated=read.undated,
        )
        if found.is_still_outside(window):
            self._outside[read.each.name] = found

    def _late(
        self, window: Window, listed: Sequence[TrafficObject], reads: Iterable[ObjectRead]
    ) -> Iterable[Reject]:
        """Return rejects for objects of the previous window that arrived after that window was read."""
        found = self._consumed(window.start) if self._consumed else None
        if found is None:
            return ()
        start, consumed = found
        before = Window(start=start, end=window.start)
        now = {each.name for each in listed}
        late = [each for each in self._store.list(before) if each.name not in now]
        late += [read.each for read in reads if read.first_time and read.first_time < window.start]
        return (_late_object(each) for each in late if _version(each) not in consumed)


def _version(each: TrafficObject) -> ObjectVersion:
    return ObjectVersion(name=each.name, version=each.version)


def _late_object(each: TrafficObject) -> Reject:
    digest = sha256(f"{each.name} {each.version}".encode()).hexdigest()
    return Reject(reason=RejectReason.LATE_OBJECT, n=1, example_hash=digest, example_object=each.name)
