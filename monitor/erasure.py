"""Takes requests out of the archive, for those who ask for their deletion.

A process that dies in between leaves an archive that is whole, the old or the new one; the next erasure finds
out which, and sets the database right.
"""

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from db import erasures
from db.erasures import ArchivedCycle, Erasure
from db.errors import RedistillError
from db.session import reading, writing
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, Place, Places
from monitor.archive.sample import packed, without

#: Hears how many of how many archives were looked at.
Progress = Callable[[int, int], None]


class ErasureIncompleteError(RedistillError):
    """The requests are out of all archives but {n}, which could not be read, the first because: {first}"""


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What was taken out."""

    n_requests: int
    n_archives: int


def erase(
    engine: Engine, monitor: str, request_ids: Collection[str], now: datetime, progress: Progress
) -> Erased:
    """Take the requests of those ids out of every archive of the monitor.

    The numbers of their cycles stay, and so do models that were trained with them. Archives that have
    expired are passed over.

    Raises:
        ErasureIncompleteError: an archive is damaged, or was changed by others; all others are done.
        ArchiveWriteError: an archive cannot be written; those before it are done.
    """
    places = Places()
    _settle_unfinished(engine, places, monitor, now)
    with reading(engine) as connection:
        archived = erasures.archived(connection, monitor)
    taken_out: list[int] = []
    unread: list[ArchiveReadError] = []
    for number, cycle in enumerate(archived, start=1):
        try:
            taken_out.append(_erase_in(engine, places.of(cycle.uri), cycle, frozenset(request_ids), now))
        except ArchiveReadError as error:
            unread.append(error)
        progress(number, len(archived))
    if unread:
        raise ErasureIncompleteError(n=len(unread), first=unread[0]) from unread[0]
    return Erased(n_requests=sum(taken_out), n_archives=sum(n > 0 for n in taken_out))


def _erase_in(
    engine: Engine, place: Place, cycle: ArchivedCycle, request_ids: frozenset[str], now: datetime
) -> int:
    found = place.get(cycle.uri)
    if found is None:
        return 0
    sample = files.sample_in(found, cycle.uri, sha256=cycle.sha256)
    kept = without(sample, request_ids)
    n = len(sample.requests) - len(kept.requests)
    if n:
        content = packed(kept)
        after = hashlib.sha256(content).hexdigest()
        with writing(engine) as connection:
            erasures.begin(connection, cycle, sha256_after=after, n=n, now=now)
        place.put(cycle.uri, content)
        with writing(engine) as connection:
            erasures.finish(
                connection, Erasure(cycle_id=cycle.cycle_id, uri=cycle.uri, sha256_after=after), now
            )
    return n


def _settle_unfinished(engine: Engine, places: Places, monitor: str, now: datetime) -> None:
    with writing(engine) as connection:
        for each in erasures.unfinished(connection, monitor):
            found = places.of(each.uri).get(each.uri)
            if found is not None and hashlib.sha256(found).hexdigest() == each.sha256_after:
                erasures.finish(connection, each, now)
            else:
                erasures.forget(connection, each)
