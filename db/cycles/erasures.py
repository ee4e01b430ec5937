"""Requests that were taken out of archives: what was meant to change is written before it does."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from db.records import ArchivedCycle, Erasure
from db.tables import cycles, erasures


def archived(connection: Connection, monitor: str) -> Sequence[ArchivedCycle]:
    """All of the monitor, oldest first."""
    rows = connection.execute(
        select(cycles.c.id, cycles.c.archive, cycles.c.archive_sha256)
        .where(cycles.c.monitor == monitor, cycles.c.archive.is_not(None))
        .order_by(cycles.c.window_end)
    )
    return [ArchivedCycle(cycle_id=row.id, uri=row.archive, sha256=row.archive_sha256) for row in rows]


def begin(connection: Connection, cycle: ArchivedCycle, *, sha256_after: str, n: int, now: datetime) -> bool:
    """Say that n requests are about to be taken out; False if the cycle has another archive by now."""
    stored = select(cycles.c.archive, cycles.c.archive_sha256).where(cycles.c.id == cycle.cycle_id)
    if connection.execute(stored.with_for_update()).one() != (cycle.uri, cycle.sha256):
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
    """Those that a dead process has left behind."""
    rows = connection.execute(
        select(erasures.c.cycle_id, erasures.c.sha256_after)
        .join(cycles, cycles.c.id == erasures.c.cycle_id)
        .where(cycles.c.monitor == monitor, erasures.c.finished_at.is_(None))
    )
    return [Erasure(cycle_id=row.cycle_id, sha256_after=row.sha256_after) for row in rows]


def finish(connection: Connection, erasure: Erasure, now: datetime) -> None:
    """The new file is in its place: from here on the cycle's archive is that one."""
    connection.execute(
        update(cycles).where(cycles.c.id == erasure.cycle_id).values(archive_sha256=erasure.sha256_after)
    )
    connection.execute(update(erasures).where(*_this(erasure)).values(finished_at=now))


def forget(connection: Connection, erasure: Erasure) -> None:
    """The old file is still in its place: nothing was taken out."""
    connection.execute(delete(erasures).where(*_this(erasure)))


def _this(erasure: Erasure) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return erasures.c.cycle_id == erasure.cycle_id, erasures.c.sha256_after == erasure.sha256_after
