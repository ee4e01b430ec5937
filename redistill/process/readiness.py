"""The checks of /readyz."""

from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from db import versions
from db.connection import clock, migrate
from db.connection.session import reading
from db.cycles import windows
from db.errors import RedistillError, one_line
from db.records import ModelVersion
from db.states import Role
from monitor.daemon.probes import Check
from monitor.daemon.schedule import make_trigger, slot_at
from monitor.settings import MonitorSection
from monitor.storage.artifacts import places_of
from monitor.storage.location import Location
from redistill.configuration.settings import Settings

#: The time after its due time from which a cycle that has not begun is overdue.
_GRACE: Final = timedelta(minutes=5)


#: The state of the scheduler: the models' libraries take seconds to load.
Scheduler = Literal["starting", "running", "stopped"]


def checks(engine: Engine, monitor: MonitorSection, scheduler: Scheduler, now: datetime) -> tuple[Check, ...]:
    """Return the checks that the database is migrated, the scheduler runs and no slot is overdue.

    A database that is newer than this version passes, even if this version could no longer start with it: the
    next version is being rolled out, and removes nothing that this version uses.
    """
    return (
        _database(engine),
        Check(name="scheduler", ok=scheduler == "running", code=scheduler, detail=scheduler),
        _slots(engine, monitor, now),
    )


def models(engine: Engine, settings: Settings) -> Check:
    """Return the check that the folders of both models exist; those in S3 are not looked at.

    Their content is not read either: a probe is asked every few seconds.
    """
    try:
        with reading(engine) as connection:
            current = versions.current(connection, settings.monitor.name, Role.STUDENT)
    except (RedistillError, DBAPIError) as error:
        return _failing("models", error)
    student = (settings.student.uri,) if current is None else _places(current, settings)
    places = ((settings.teacher.uri,), student)
    missing = [str(each[0]) for each in places if not any(map(_may_exist, each))]
    detail = f"missing: {', '.join(missing)}: put it back" if missing else "found"
    return Check(name="models", ok=not missing, code="missing" if missing else "found", detail=detail)


def _places(student: ModelVersion, settings: Settings) -> tuple[Location, ...]:
    configured = settings.student.uri
    places = places_of(student, settings.redistill.registry, configured)
    return tuple(place for place in places if student.job_id is None or place != configured)


def _may_exist(place: Location) -> bool:
    return isinstance(place, str) or place.is_dir()


def _database(engine: Engine) -> Check:
    try:
        level = migrate.check(engine)
    except migrate.NewerDatabaseError as error:
        return Check(name="database", ok=True, code="newer", detail=str(error))
    except (RedistillError, DBAPIError) as error:
        return _failing("database", error)
    return Check(name="database", ok=True, code="reachable", detail=f"reachable, {level}")


def _slots(engine: Engine, monitor: MonitorSection, now: datetime) -> Check:
    try:
        with reading(engine) as connection:
            now = clock.capped_by_database(connection, now)
            last = windows.last_end(connection, monitor.name, now=now)
    except (RedistillError, DBAPIError) as error:
        return _failing("slots", error)
    if last is None:
        return Check(name="slots", ok=True, code="none", detail="the first cycle has not begun")
    due_at = slot_at(make_trigger(monitor), monitor.name, last).window_end + monitor.lateness
    ok = now <= due_at + _GRACE
    detail = f"the next cycle is due at {due_at.isoformat()}"
    code = "on_time" if ok else "overdue"
    return Check(name="slots", ok=ok, code=code, detail=detail if ok else f"overdue: {detail}")


def _failing(name: str, error: Exception) -> Check:
    """Return a check that failed because the database cannot be used."""
    is_old = isinstance(error, migrate.NotMigratedError)
    code = "not_migrated" if is_old else "unavailable"
    return Check(name=name, ok=False, code=code, detail=one_line(error))
