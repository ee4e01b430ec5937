"""Erasures of requests from archives: each intended change is recorded before it is made."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from db.records import ArchivedCycle, Erasure
from db.tables import cycles, erasures


def archived(connection: Connection, monitor: str) -> Sequence[ArchivedCycle]:
    """Return the monitor's archived cycles, oldest first."""
    rows = connection.execute(
        select(cycles.c.id, cycles.c.archive, cycles.c.archive_sha256)
        .where(cycles.c.monitor == monitor, cycles.c.archive.is_not(None))
        .order_by(cycles.c.window_end)
    )
    return [ArchivedCycle(cycle_id=row.id, uri=row.archive, sha256=row.archive_sha256) for row in rows]


def begin(connection: Connection, cycle: ArchivedCycle, *, sha256_after: str, n: int, now: datetime) -> bool:
    """Record that n requests are about to be erased; return False if the cycle has another archive by now."""
    stored = select(cycles.c.archive, cycles.c.archive_sha256).where(cycles.c.id == cycle.cycle_id)
    if connection.execute(stored.with_for_update()).one_or_none() != (cycle.uri, cycle.sha256):
        return False
    connection.execute(
        insert(erasures).values(
            cycle_id=cycle.cycle_id,
            sha256_before=cycle.sha256,
            sha256_after=sha256_after,
            n=n,
            begun_at=now,
        )
    )
    return True


def unfinished(connection: Connection, monitor: str) -> Sequence[Erasure]:
    """Return the monitor's erasures that a dead process has left unfinished."""
    rows = connection.execute(
        select(erasures.c.cycle_id, erasures.c.sha256_after)
        .join(cycles, cycles.c.id == erasures.c.cycle_id)
        .where(cycles.c.monitor == monitor, erasures.c.finished_at.is_(None))
    )
    return [Erasure(cycle_id=row.cycle_id, sha256_after=row.sha256_after) for row in rows]


def finish(connection: Connection, erasure: Erasure, now: datetime) -> None:
    """Record that the new file is in place, which makes it the cycle's archive."""
    connection.execute(
        update(cycles).where(cycles.c.id == erasure.cycle_id).values(archive_sha256=erasure.sha256_after)
    )
    connection.execute(update(erasures).where(*_this(erasure)).values(finished_at=now))


def forget(connection: Connection, erasure: Erasure) -> None:
    """Delete an erasure whose old file is still in place: nothing was erased."""
    connection.execute(delete(erasures).where(*_this(erasure)))


def _this(erasure: Erasure) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return erasures.c.cycle_id == erasure.cycle_id, erasures.c.sha256_after == erasure.sha256_after
