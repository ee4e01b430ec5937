"""A database that cannot be used now: how the drivers say so, and what to do about it."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError

from db.errors import RedistillError, one_line


class DatabaseUnreachableError(RedistillError):
    """The database {url} cannot be reached ({cause}): check [database] url and that it is up."""


class DatabaseUnusableError(RedistillError):
    """The database {url} cannot be used now ({cause}): {mend}."""


#: What passes: the same work, done again later, may well succeed.
AWAY: Final = (DatabaseUnreachableError, DatabaseUnusableError)

_HELD = "another process holds what is needed; try again when it is done"
#: By SQLite's primary result code: https://www.sqlite.org/rescode.html
_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_PROTOCOL: _HELD,
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_READONLY: "mend the rights of the file and its folder, or the mount",
    sqlite3.SQLITE_PERM: "mend the rights of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "see that its folder is there and may be written, as is needed to read it, too",
    sqlite3.SQLITE_IOERR: "see that its disk is mounted, sound and not full",
}
_UP = "see that the server is up"
_ROOM = "make room on the server: of its disk, its memory or its connections"
#: By PostgreSQL's SQLSTATE, or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES: Final = {
    "08": _UP,
    "57P": _UP,  # it stops, starts, or dropped the connection; 57014 is a statement that took too long
    "53": _ROOM,
    "58": "see that the server's disk is sound",
    "25006": "it is read-only: let [database] url lead to the primary",
    "40001": _HELD,
    "40P01": _HELD,
    "55P03": _HELD,
}


def is_held(error: DatabaseUnusableError) -> bool:
    """Whether all that is wrong is that somebody else holds it now."""
    return error.fields["mend"] == _HELD


def away(error: DBAPIError | sqlite3.Error, url: str) -> RedistillError | None:
    """The error in one line, with what to do, if it is one that passes; None for all others."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    diagnosis = getattr(cause, "diag", None)  # psycopg's; the whole error has the context in further lines
    told = one_line((diagnosis and diagnosis.message_primary) or cause)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return DatabaseUnreachableError(url=url, cause=told)
    if isinstance(cause, sqlite3.Error):
        mend = _SQLITE.get(getattr(cause, "sqlite_errorcode", 0) & 0xFF)
    else:
        state = getattr(cause, "sqlstate", None) or ""
        mend = next((_POSTGRES[key] for key in (state, state[:3], state[:2]) if key in _POSTGRES), None)
    return None if mend is None else DatabaseUnusableError(url=url, cause=told, mend=mend)
