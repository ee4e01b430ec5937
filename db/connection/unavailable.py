"""Errors of a database that cannot be used now: how the drivers report them, and the fix of each."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError

from db.errors import RedistillError, one_line


class DatabaseUnreachableError(RedistillError):
    """The database {url} cannot be reached ({cause}): check [database] url, and that the database is up."""


class DatabaseUnusableError(RedistillError):
    """The database {url} cannot be used now ({cause}): {fix}."""


#: The errors that may pass: the same work may succeed later.
UNAVAILABLE: Final = (DatabaseUnreachableError, DatabaseUnusableError)

_RETRY = "retry when the process that holds the lock is done"
#: By SQLite's primary result code: https://www.sqlite.org/rescode.html
_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: _RETRY,
    sqlite3.SQLITE_LOCKED: _RETRY,
    sqlite3.SQLITE_PROTOCOL: _RETRY,
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_READONLY: "fix the permissions of the file and its folder, or the mount",
    sqlite3.SQLITE_PERM: "fix the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and is writable, which reading needs too",
    sqlite3.SQLITE_IOERR: "check that its disk is mounted, healthy and not full",
}
_START = "check that the server is up"
_FREE = "free disk space, memory or connections on the server"
#: By PostgreSQL's SQLSTATE, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES: Final = {
    "08": _START,
    "57P": _START,  # the server stops, starts or closed the connection; excludes 57014, a slow statement
    "53": _FREE,
    "58": "check that the server's disk is healthy",
    "25006": "set [database] url to the primary",
    "42501": "grant the role of [database] url its rights on the tables",
    "40001": _RETRY,
    "40P01": _RETRY,
    "55P03": _RETRY,
}


def is_lock_conflict(error: DatabaseUnusableError) -> bool:
    """Return whether the only problem is that another process holds a lock."""
    return error.fields["fix"] == _RETRY


def unavailable_error(error: DBAPIError | sqlite3.Error, url: str) -> RedistillError | None:
    """Return a one-line error with its fix for a driver's error that may pass, or None for any other."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    diagnosis = getattr(cause, "diag", None)  # psycopg's; the whole error adds the context in further lines
    message = one_line((diagnosis and diagnosis.message_primary) or cause)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnreachableError(url=url, cause=message)
    if isinstance(cause, sqlite3.Error):
        fix = _SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    else:
        state = getattr(cause, "sqlstate", None) or ""
        fix = next((_POSTGRES[key] for key in (state, state[:3], state[:2]) if key in _POSTGRES), None)
    return None if fix is None else DatabaseUnusableError(url=url, cause=message, fix=fix)
