"""Erasure of requests from the archive, on a deletion request.

A process that dies during an erasure leaves a whole archive, either the old or the new one; the next erasure
that can read the archive finds out which, and corrects the database. Only one erasure runs at a time, so that
it does not do so while another is still running.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from db import leases
from db.connection.session import reading, writing
from db.cycles import erasures, labels
from db.errors import RedistillError
from db.heartbeat import Heartbeat
from db.records import ArchivedCycle, Erasure, Lease
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import packed, without

#: Receives the number of archives processed and their total.
Progress = Callable[[int, int], None]

LEASE_SECONDS = 30.0


class ErasureIncompleteError(RedistillError):
    """The requests were erased, except from {n} unreadable archives; the first error: {first}"""


class ErasureBusyError(RedistillError):
    """Another erasure in the archives of {monitor!r} is running, or died within the last 30 s: run this one
    again when the other has ended.
    """


@dataclass(frozen=True, kw_only=True)
class Erased:
    """The result of an erasure."""

    n_requests: int
    n_archives: int
    n_labels: int = 0  #: imported true labels of these requests


def erase(
    engine: Engine,
    monitor: str,
    request_ids: Collection[str],
    now: datetime,
    progress: Progress,
    *,
    encryption: Mapping[str, str] | None = None,
) -> Erased:
    """Erase the requests with these ids from every archive of the monitor, and their labels from SQL.

    `encryption` has the parameters of uploads to S3.

    The numbers of their cycles remain, and so do models that were trained with them. Expired archives are
    skipped.

    Raises:
        ErasureBusyError: another erasure is running; nothing was done.
        ErasureIncompleteError: an archive is damaged, or was changed by others; all others are done.
        ArchiveWriteError: an archive cannot be written; the archives before it are done.
        LeaseLostError: the process was suspended and another erasure has begun; the archives before it are
            done.
    """
    with writing(engine) as connection:
        lease = leases.acquire(
            connection, f"erasure:{monitor}", owner=leases.new_owner(), seconds=LEASE_SECONDS
        )
    if lease is None:
        raise ErasureBusyError(monitor=monitor)
    try:
        with Heartbeat(engine, lease, seconds=LEASE_SECONDS):
            return _Eraser(engine, lease, now, Places(encryption)).erase(
                monitor, frozenset(request_ids), progress
            )
    finally:
        with writing(engine) as connection:
            leases.release(connection, lease)


class _Eraser:
    """The erasure by the holder of the lease."""

    def __init__(self, engine: Engine, lease: Lease, now: datetime, places: Places) -> None:
        self._engine = engine
        self._lease = lease
        self._now = now
        self._places = places

    def erase(self, monitor: str, request_ids: frozenset[str], progress: Progress) -> Erased:
        taken_out: list[int] = []
        unread: list[ArchiveReadError] = []
        done: set[str] = set()
        while archived := self._archived(monitor, done):
            with reading(self._engine) as connection:
                unfinished = erasures.unfinished(connection, monitor)
            for cycle in archived:
                try:
                    taken_out.append(self._erase_in(cycle, unfinished, request_ids))
                except ArchiveReadError as error:
                    unread.append(error)
                done.add(cycle.uri)
                progress(len(done), len(done | {each.uri for each in archived}))
        # at the end: an import that had read an archive earlier may have added labels until now
        with self._writing() as connection:
            n_labels = labels.forget(connection, monitor, set(map(labels.request_hash, request_ids)))
        if unread:
            raise ErasureIncompleteError(n=len(unread), first=unread[0]) from unread[0]
        return Erased(n_requests=sum(taken_out), n_archives=sum(n > 0 for n in taken_out), n_labels=n_labels)

    def _archived(self, monitor: str, done: set[str]) -> Sequence[ArchivedCycle]:
        """Return the archives not done yet; a window that was judged again meanwhile has a new one."""
        with reading(self._engine) as connection:
            return [each for each in erasures.archived(connection, monitor) if each.uri not in done]

    def _erase_in(
        self, cycle: ArchivedCycle, unfinished: Sequence[Erasure], request_ids: frozenset[str]
    ) -> int:
        place = self._places.of(cycle.uri)
        found = place.get(cycle.uri)
        if found is None:
            return 0
        for begun in unfinished:
            if begun.cycle_id == cycle.cycle_id:
                cycle = self._resolve_interrupted(cycle, begun, hashlib.sha256(found).hexdigest())
        sample = files.sample_in(found, cycle.uri, sha256=cycle.sha256)
        kept = without(sample, request_ids)
        n = len(sample.requests) - len(kept.requests)
        if n:
            content = packed(kept)
            after = hashlib.sha256(content).hexdigest()
            with self._writing() as connection:
                is_begun = erasures.begin(connection, cycle, sha256_after=after, n=n, now=self._now)
            if not is_begun:  # the next round processes its new archive
                return 0
            place.put(cycle.uri, content)
            with self._writing() as connection:
                erasures.finish(connection, Erasure(cycle_id=cycle.cycle_id, sha256_after=after), self._now)
        return n

    def _resolve_interrupted(self, cycle: ArchivedCycle, begun: Erasure, sha256: str) -> ArchivedCycle:
        """Finish or forget the erasure of a process that died, and return the cycle as its archive now is.

        `sha256` is that of the bytes in the archive. If the archive is neither the old nor the new one, the
        erasure stays unfinished.
        """
        if sha256 == begun.sha256_after:
            with self._writing() as connection:
                erasures.finish(connection, begun, self._now)
            return replace(cycle, sha256=sha256)
        if sha256 == cycle.sha256:
            with self._writing() as connection:
                erasures.forget(connection, begun)
        return cycle

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with writing(self._engine) as connection:
            leases.guard(connection, self._lease)
            yield connection
