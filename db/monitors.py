"""The monitors of a database, and the change of a monitor's name in all of its rows.

A name is part of keys, so two names are two monitors. After a change no process may work under the old name:
a daemon that was suspended, or that has an outdated configuration, would measure windows again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Table, delete, func, insert, select, union, update

from db import leases, queue
from db.connection import clock
from db.connection.upsert import insert_for
from db.errors import RedistillError
from db.tables import archive_owners, cycles, jobs, metadata, renames

#: A daemon takes its lease at least every ten seconds, so one that has not for this long does not run.
QUIET: Final = timedelta(seconds=15)


class NoSuchMonitorError(RedistillError):
    """There is no monitor {name!r} in the database: choose one from `redistill monitors list`."""


class MonitorExistsError(RedistillError):
    """The name {name!r} is or was that of another monitor: choose a name that no monitor has had."""


class SameNameError(RedistillError):
    """The monitor {name!r} already has this name: choose another one."""


class MonitorRunsError(RedistillError):
    """The monitor {name!r} is in use by {holder} (lease {lease}): stop its daemon and its workers first."""


class MonitorRenamedError(RedistillError):
    """The monitor {old!r} was renamed to {new!r} on {at:%Y-%m-%d %H:%M} UTC: set name = "{new}" in [monitor]
    of its configuration.
    """


@dataclass(frozen=True, kw_only=True)
class MonitorSummary:
    """A monitor and the extent of its history."""

    monitor: str
    n_cycles: int
    last_window_end: datetime | None
    n_jobs: int
    earlier_names: tuple[str, ...]


def refuse_renamed(connection: Connection, name: str) -> None:
    """Check that no monitor has lost this name.

    Raises:
        MonitorRenamedError: the monitor has another name now.
    """
    found = connection.execute(select(renames).where(renames.c.old_name == name)).one_or_none()
    if found is not None:
        raise MonitorRenamedError(old=name, new=found.new_name, at=found.renamed_at)


def earlier_names(connection: Connection, name: str) -> tuple[str, ...]:
    """Return the names that the monitor had before, in alphabetical order."""
    query = select(renames.c.old_name).where(renames.c.new_name == name).order_by(renames.c.old_name)
    return tuple(connection.scalars(query))


def summaries(connection: Connection) -> tuple[MonitorSummary, ...]:
    """Return all monitors of the database, by name."""
    counted = connection.execute(select(jobs.c.monitor, func.count().label("n")).group_by(jobs.c.monitor))
    n_jobs = {row.monitor: row.n for row in counted}
    windows = {
        row.monitor: row
        for row in connection.execute(
            select(
                cycles.c.monitor, func.count().label("n"), func.max(cycles.c.window_end).label("last")
            ).group_by(cycles.c.monitor)
        )
    }
    return tuple(
        MonitorSummary(
            monitor=name,
            n_cycles=windows[name].n if name in windows else 0,
            last_window_end=windows[name].last if name in windows else None,
            n_jobs=n_jobs.get(name, 0),
            earlier_names=earlier_names(connection, name),
        )
        for name in _known(connection)
    )


def archive_owner(connection: Connection, name: str) -> str | None:
    """Return the id by which the monitor recognises the folders of its archives, or None without one."""
    return connection.scalar(select(archive_owners.c.owner_id).where(archive_owners.c.monitor == name))


def record_archive_owner(connection: Connection, name: str, fresh: str, now: datetime) -> None:
    """Give the monitor's archives the id `fresh`, unless they have one."""
    first = insert_for(connection)(archive_owners).values(monitor=name, owner_id=fresh, recorded_at=now)
    connection.execute(first.on_conflict_do_nothing())  # two processes may start at the same moment


def quiet_in(connection: Connection, name: str) -> timedelta:
    """Return the time after which a daemon of the monitor that still runs must have taken its lease again.

    Zero if none has had it recently, or if one has it now, which `rename` refuses.
    """
    released = leases.expiry_of(connection, _lease(name))
    if released is None:
        return timedelta(0)
    since = clock.read(connection) - released
    return max(QUIET - since, timedelta(0)) if since >= timedelta(0) else timedelta(0)


def refuse_rename(connection: Connection, old: str, new: str) -> None:
    """Raise an error if the names alone show that `rename` cannot be done.

    Raises:
        MonitorRenamedError, NoSuchMonitorError, SameNameError, MonitorExistsError: as for `rename`.
    """
    refuse_renamed(connection, old)
    known = _known(connection)
    if old not in known:
        raise NoSuchMonitorError(name=old)
    if new == old:
        raise SameNameError(name=old)
    if new in known or _had_by_another(connection, new, old):
        raise MonitorExistsError(name=new)


def rename(connection: Connection, old: str, new: str, now: datetime) -> None:
    """Give the monitor `old` the name `new` in every row of every table.

    Leases are taken from the processes that may still hold a token under the old name, so that nothing which
    they began is written. The open job is announced to workers again, since messages contain the name.

    Raises:
        MonitorRenamedError: it was renamed before.
        NoSuchMonitorError, SameNameError, MonitorExistsError: there is no such monitor, it has the name, or
            the name is taken.
        MonitorRunsError: a daemon, a worker, a calibration or an erasure holds a lease, or a daemon had one
            until a moment ago.
    """
    refuse_rename(connection, old, new)
    if quiet_in(connection, old):
        raise MonitorRunsError(name=old, lease=_lease(old), holder=leases.holder_of(connection, _lease(old)))
    # The job's row is locked before its lease, as everywhere (see `queue.claim`).
    is_open = jobs.c.status.in_(queue.OPEN)
    connection.execute(update(jobs).where(jobs.c.monitor == old, is_open).values(announced_at=None))
    _take_leases(connection, old)
    for table in _tables():
        connection.execute(update(table).where(table.c.monitor == old).values(monitor=new))
    connection.execute(delete(renames).where(renames.c.old_name == new))
    connection.execute(update(renames).where(renames.c.new_name == old).values(new_name=new))
    connection.execute(insert(renames).values(old_name=old, new_name=new, renamed_at=now))


def _tables() -> Sequence[Table]:
    return [table for table in metadata.sorted_tables if "monitor" in table.c]


def _known(connection: Connection) -> Sequence[str]:
    names = union(*(select(table.c.monitor) for table in _tables()))
    return sorted(connection.scalars(names))


def _had_by_another(connection: Connection, name: str, monitor: str) -> bool:
    owner = connection.scalar(select(renames.c.new_name).where(renames.c.old_name == name))
    return owner is not None and owner != monitor


def _lease(name: str) -> str:
    return f"monitor:{name}"


def _take_leases(connection: Connection, name: str) -> None:
    owner = leases.new_owner()
    job = queue.open_job(connection, name)
    own = [_lease(name), f"calibration:{name}", f"erasure:{name}"]
    for lease in [*own, *([queue.lease_name(job.job_id)] if job else [])]:
        holder = leases.holder_of(connection, lease)
        if leases.acquire(connection, lease, owner=owner, seconds=0) is None:
            raise MonitorRunsError(name=name, lease=lease, holder=holder)
