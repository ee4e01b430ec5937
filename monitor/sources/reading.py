"""Reading the objects of a window into one sample, in this process or in several."""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from multiprocessing.synchronize import Event
from typing import IO, cast

from db.errors import RedistillError
from db.records import Reject
from monitor.cores import usable_cores
from monitor.sampling import BottomK
from monitor.settings import ObjectsSection
from monitor.sources.formats.lines import LongLine
from monitor.sources.formats.readers import Decoded, Found, reader
from monitor.sources.formats.records import RecordParser
from monitor.sources.port import LabelStrata
from monitor.sources.request import Refusal, Request
from monitor.sources.stores.port import BrokenObjectError, ObjectStore, TrafficObject, unavailable_if_unread
from monitor.sources.stores.window import Window, WindowFilter
from monitor.stop import Stopped, StoppedError

#: Below both limits, starting processes takes longer than it saves.
_MANY_BYTES = 32 * 2**20
_MANY_OBJECTS = 200
_POLL_SECONDS = 0.2


class ReaderDiedError(RedistillError):
    """A process that read the request log died, most likely because it ran out of memory: give it more
    memory, or write the log in smaller objects.
    """


@dataclass(frozen=True, kw_only=True)
class ObjectRead:
    """The result of reading one object."""

    each: TrafficObject
    rejects: tuple[Reject, ...]  #: that belong to the window
    first_time: datetime | None  #: the earliest usable time
    last_time: datetime | None  #: the latest usable time
    intact: bool  #: the object could be read to its end
    undated: Reject | None  #: the object, if none of its records has a usable time


@dataclass(frozen=True, kw_only=True)
class Part:
    """The result of reading some of the objects of a window."""

    reads: tuple[ObjectRead, ...]
    bottom: BottomK[Request]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The task of sampling one window of a log."""

    store: ObjectStore
    section: ObjectsSection
    labels: Collection[str]
    window: Window
    k: int
    strata: LabelStrata

    def bottom(self, spill: IO[bytes] | None = None) -> BottomK[Request]:
        """Return an empty sample; `spill`: see `DistinctCount`."""
        return self.strata.bottom(self.k, self.section.key, spill)

    def read(
        self, objects: Sequence[TrafficObject], stopped: Stopped, spill: IO[bytes] | None = None
    ) -> Part:
        """Read the objects in order, in this process.

        Raises:
            StoppedError: `stopped`, which is checked every 256 KiB, returned True.
            TrafficUnavailableError: an object cannot be read now.
        """
        bottom = self.bottom(spill)
        read_object = reader(self.section, RecordParser(self.section, self.labels))

        def read(each: TrafficObject) -> ObjectRead:
            in_window, intact = WindowFilter(self.window, each.name), True
            try:
                with unavailable_if_unread(each.address), self.store.open(each, stopped) as file:
                    for batch in read_object(file):
                        if stopped():
                            raise StoppedError
                        _add_batch(batch, in_window, bottom, self.strata)
            except BrokenObjectError as broken:
                in_window.refuse(broken.reason, None, broken.example_hash)
                intact = False
            rejects = in_window.finish(each.modified_at)
            return ObjectRead(
                each=each,
                rejects=rejects,
                first_time=in_window.first_time,
                last_time=in_window.last_time,
                intact=intact,
                undated=in_window.undated,
            )

        return Part(reads=tuple(map(read, objects)), bottom=bottom)


def _add_batch(
    batch: Iterable[Found], in_window: WindowFilter, bottom: BottomK[Request], strata: LabelStrata
) -> None:
    if isinstance(batch, Decoded):
        times = [row.time for row in batch.rows]
        inside = in_window.accepts_all(times, batch.lines[0])
        if inside:
            of = strata.of_all([row.student_label for row in batch.rows])
            for index, mark in bottom.admit([str(row.id) for row in batch.rows], of):
                bottom.keep(mark, batch.rows[index].as_request())
        if inside is not None:
            return
    for record, raw in batch:
        if isinstance(record, Refusal):
            example = raw.sha256 if isinstance(raw, LongLine) else sha256(raw).hexdigest()
            in_window.refuse(record.reason, record.time, example)
        elif in_window.accepts(record.time, cast("bytes", raw)):
            bottom.offer(record.id, record, strata.of(record.student_label))


#: Does what `Task.read` does, in this process or others; the last argument is the spill of `DistinctCount`.
ReadAll = Callable[[Task, Sequence[TrafficObject], Stopped, IO[bytes]], Part]


def read_all_here(
    task: Task,
    objects: Sequence[TrafficObject],
    stopped: Stopped,
    spill: IO[bytes],
    *,
    processes: int | None = None,
) -> Part:
    """Read the objects on this machine, in several processes if there is enough to read.

    If `processes` is None, there is one per usable core.

    Raises:
        StoppedError: `stopped` returned True.
        ReaderDiedError: a process was killed.
    """
    processes = processes or usable_cores()
    is_much = len(objects) >= _MANY_OBJECTS or sum(each.size for each in objects) >= _MANY_BYTES
    if processes < 2 or len(objects) < 2 or not is_much:  # noqa: PLR2004 - one process needs no pool
        return task.read(objects, stopped, spill)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    stop = context.Event()
    try:
        with ProcessPoolExecutor(processes, context, _begin, (stop,)) as pool:
            parts = [pool.submit(_read, task, each) for each in split_by_size(objects, processes)]
            try:
                return merge_parts(task, _in_order(parts, stopped), spill)
            finally:
                stop.set()
    except BrokenProcessPool as error:
        raise ReaderDiedError from error


def split_by_size(objects: Sequence[TrafficObject], n: int) -> list[Sequence[TrafficObject]]:
    """Split the objects, in order, into at most `n` runs of about the same size."""
    wanted = max(1, math.ceil(sum(each.size for each in objects) / n))
    runs: list[list[TrafficObject]] = [[]]
    size = 0
    for each in objects:
        if size >= wanted:
            runs.append([])
            size = 0
        runs[-1].append(each)
        size += each.size
    return list(runs)


def _in_order(parts: Sequence[Future[Part]], stopped: Stopped) -> Iterator[Part]:
    for part in parts:
        while not part.done():
            if stopped():
                raise StoppedError
            wait([part], _POLL_SECONDS, FIRST_COMPLETED)
        yield part.result()


def merge_parts(task: Task, parts: Iterable[Part], spill: IO[bytes]) -> Part:
    """Merge the parts into one."""
    bottom, reads = task.bottom(spill), list[ObjectRead]()
    for each in parts:
        bottom.merge(each.bottom)
        reads += each.reads
    return Part(reads=tuple(reads), bottom=bottom)


# --- in the processes of the pool ---

_stop: Event | None = None


def _begin(stop: Event) -> None:
    """Leave Ctrl-C to the parent process, and end when the parent ends."""
    global _stop  # noqa: PLW0603 - the only way to pass an event to a process of the pool
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _read(task: Task, objects: Sequence[TrafficObject]) -> Part:
    return task.read(objects, _is_stopped)


def _is_stopped() -> bool:
    return _stop is not None and _stop.is_set()
