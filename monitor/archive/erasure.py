"""Erasure of requests from the archive, on a deletion request.

A process that dies during an erasure leaves a whole archive, either the old or the new one; the next erasure
that can read the archive finds out which, and corrects the database. Only one erasure runs at a time, so that
it does not do so while another is still running.
"""

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from db import leases
from db.archives import erasures
from db.connection.session import reading, writing
from db.cycles import labels
from db.errors import RedistillError
from db.heartbeat import Heartbeat
from db.records import ArchivedCycle, Erasure, Lease
from monitor.archive import erased, files
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import packed, without

#: Receives the number of archives processed and their total.
Progress = Callable[[int, int], None]

LEASE_SECONDS = 30.0
WAIT_SECONDS = 35.0  #: for the end of a cycle; the lease of a dead process lasts 30 s
_POLL_SECONDS = 0.2


class ErasureIncompleteError(RedistillError):
    """The requests were erased, except from {n} unreadable archives; the first error: {first}"""


class ErasurePendingError(RedistillError):
    """The requests were erased from the archives of ended cycles, but a cycle is under way that has archived
    some of them: run the command again when it has ended.
    """


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
    folders: Sequence[str] = (),
    encryption: Mapping[str, str] | None = None,
) -> Erased:
    """Erase the requests with these ids from every archive of the monitor, and their labels from SQL.

    `encryption` has the parameters of uploads to S3.

    The numbers of their cycles remain, and so do models that were trained with them. Expired archives are
    skipped. `folders` hold the monitor's archives, first those of its present name. There the requests are
    remembered, so that no later cycle archives them again, and archives that no cycle in SQL has are deleted
    if they contain one: a process died before its decision, and the next attempt writes them again.

    Raises:
        ErasureBusyError: another erasure is running; nothing was done.
        ErasureIncompleteError: an archive is damaged, or was changed by others; all others are done.
        ErasurePendingError: a cycle is under way that has archived one of them; all archives in SQL are done.
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
            places = Places(encryption)
            if folders:
                erased.remember(folders[0], request_ids, places)
            ids = frozenset(request_ids)
            eraser = _Eraser(engine, lease, now, places, monitor=monitor, request_ids=ids)
            return eraser.erase(progress, folders)
    finally:
        with writing(engine) as connection:
            leases.release(connection, lease)


class _Eraser:
    """The erasure by the holder of the lease."""

    def __init__(
        self,
        engine: Engine,
        lease: Lease,
        now: datetime,
        places: Places,
        *,
        monitor: str,
        request_ids: frozenset[str],
    ) -> None:
        self._engine = engine
        self._lease = lease
        self._now = now
        self._places = places
        self._monitor = monitor
        self._ids = request_ids
        self._done: set[str] = set()  #: URIs
        self._taken_out: list[int] = []
        self._unread: list[ArchiveReadError] = []

    def erase(self, progress: Progress, folders: Sequence[str]) -> Erased:
        self._erase_listed(progress)
        if any(self._unlisted(folders)):
            with self._between_cycles():
                self._erase_listed(progress)
                self._taken_out += [self._delete(uri, n) for uri, n in self._unlisted(folders)]
        # at the end: an import that had read an archive earlier may have added labels until now
        with self._writing() as connection:
            n_labels = labels.forget(connection, self._monitor, set(map(labels.request_hash, self._ids)))
        if self._unread:
            raise ErasureIncompleteError(n=len(self._unread), first=self._unread[0]) from self._unread[0]
        taken_out = self._taken_out
        return Erased(n_requests=sum(taken_out), n_archives=sum(n > 0 for n in taken_out), n_labels=n_labels)

    def _erase_listed(self, progress: Progress) -> None:
        done = self._done
        while archived := self._archived():
            with reading(self._engine) as connection:
                unfinished = erasures.unfinished(connection, self._monitor)
            for cycle in archived:
                try:
                    self._taken_out.append(self._erase_in(cycle, unfinished))
                except ArchiveReadError as error:
                    self._unread.append(error)
                done.add(cycle.uri)
                progress(len(done), len(done | {each.uri for each in archived}))

    def _archived(self) -> Sequence[ArchivedCycle]:
        """Return the archives not done yet; a window that was judged again meanwhile has a new one."""
        with reading(self._engine) as connection:
            archived = erasures.archived(connection, self._monitor)
        return [each for each in archived if each.uri not in self._done]

    def _unlisted(self, folders: Sequence[str]) -> Iterator[tuple[str, int]]:
        """Yield the archives without a cycle in SQL that have some of the requests, with their number.

        A temporary file may have some, and is yielded with 0.
        """
        for uri in (uri for folder in folders for uri in files.unlisted(folder, self._done)):
            if uri.rpartition("/")[2].startswith("."):
                yield uri, 0
                continue
            try:
                sample = files.read(uri)
            except ArchiveReadError as error:
                self._done.add(uri)
                self._unread.append(error)
            else:
                if n := sum(each.id in self._ids for each in sample.requests):
                    yield uri, n

    def _delete(self, uri: str, n: int) -> int:
        with self._writing():
            self._places.of(uri).delete(uri)
        return n

    @contextmanager
    def _between_cycles(self) -> Iterator[None]:
        """Hold the monitor's lease, as cycles do: an archive that SQL does not have is then a dead one's."""
        lease = self._monitor_lease()
        try:
            with Heartbeat(self._engine, lease, seconds=LEASE_SECONDS):
                yield
        finally:
            with writing(self._engine) as connection:
                leases.release(connection, lease)

    def _monitor_lease(self) -> Lease:
        """Take the monitor's lease.

        Raises:
            ErasurePendingError: another process holds it for longer than that of a dead one lasts.
        """
        name, owner, until = f"monitor:{self._monitor}", leases.new_owner(), time.monotonic() + WAIT_SECONDS
        while True:
            with self._writing() as connection:
                lease = leases.acquire(connection, name, owner=owner, seconds=LEASE_SECONDS)
            if lease is not None:
                return lease
            if time.monotonic() > until:
                raise ErasurePendingError
            time.sleep(_POLL_SECONDS)

    def _erase_in(self, cycle: ArchivedCycle, unfinished: Sequence[Erasure]) -> int:
        place = self._places.of(cycle.uri)
        found = place.get(cycle.uri)
        if found is None:
            return 0
        for begun in unfinished:
            if begun.cycle_id == cycle.cycle_id:
                cycle = self._resolve_interrupted(cycle, begun, hashlib.sha256(found).hexdigest())
        sample = files.sample_in(found, cycle.uri, sha256=cycle.sha256)
        kept = without(sample, self._ids)
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
