"""The passwords of PostgreSQL connections: where they are read, and what a refused one leads to."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

import psycopg

from db.connection.unavailable import DatabaseUnreachableError
from db.errors import one_line

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)

#: The words of PostgreSQL, PgBouncer and libpq. libpq does not expose the SQLSTATE of a refused connection.
_REFUSAL: Final = re.compile(r"authentication failed|auth failed|no password supplied", re.IGNORECASE)


class PasswordRefusedError(DatabaseUnreachableError):
    """The database {url} refused the password from {place} ({cause}): {fix}."""


class PasswordUnreadableError(DatabaseUnreachableError):
    """The database {url} cannot be reached, because its password cannot be read from {place} ({cause}):
    {fix}.
    """


class UnreadableError(Exception):
    """The reason why a password cannot be read, in one line."""


class Open(Protocol[C_co]):
    """Opens a connection, with a password in place of that of the URL, if any."""

    def __call__(self, **password: str) -> C_co:
        """Return the connection."""
        ...


class Passwords:
    """The source of the passwords of one database's connections.

    Each connection reads the password again; with `kept`, because that takes long, the last one is used until
    the server refuses it. Connections that exist are not affected by a change.
    """

    def __init__(
        self, url: str, *, place: str, fix: str, read: Callable[[], str] | None, kept: bool = False
    ) -> None:
        self._url = url  #: to be shown, without a password
        self._place = place
        self._fix = fix
        self._read = read  #: None: the password is in the URL, or libpq finds it
        self._kept = kept
        self._lock = threading.Lock()
        self._last: str | None = None

    def used_by(self, opened: Open[C]) -> C:
        """Return the connection that `opened` makes with the password.

        Raises:
            PasswordRefusedError: the server refused it; if it was kept, also the one that was then read.
            PasswordUnreadableError: the file or the service that has it is not available.
        """
        if self._read is None:
            return self._attempt(opened)
        password = self._current(self._read)
        try:
            return self._attempt(opened, password=password)
        except PasswordRefusedError:
            renewed = self._renewed(self._read, refused=password) if self._kept else password
            if renewed == password:
                raise
            return self._attempt(opened, password=renewed)

    def _attempt(self, opened: Open[C], **password: str) -> C:
        try:
            return opened(**password)
        except psycopg.OperationalError as error:
            if not _REFUSAL.search(str(error)):
                raise
            cause = one_line(error).rpartition("FATAL: ")[2].strip()
            raise PasswordRefusedError(
                url=self._url, place=self._place, cause=cause, fix=self._fix
            ) from error

    def _current(self, read: Callable[[], str]) -> str:
        with self._lock:
            if not self._kept or self._last is None:
                self._last = self._asked(read)
            return self._last

    def _renewed(self, read: Callable[[], str], *, refused: str) -> str:
        with self._lock:
            if self._last is None or self._last == refused:  # else another thread has read it meanwhile
                self._last = self._asked(read)
            return self._last

    def _asked(self, read: Callable[[], str]) -> str:
        try:
            return read()
        except UnreadableError as error:
            raise PasswordUnreadableError(
                url=self._url, place=self._place, cause=error, fix=self._fix
            ) from error


def in_url(url: str, *, is_there: bool) -> Passwords:
    """Return the password of the URL, or if it has none, the one that libpq finds."""
    place = "[database] url" if is_there else "PGPASSWORD or the password file of libpq"
    fix = (
        "set the current password there and restart, or name its file or secret in [database] password_file "
        "or password_secret, which are read again without a restart"
    )
    return Passwords(url, place=place, fix=fix, read=None)


def in_file(url: str, path: Path) -> Passwords:
    """Return the password in a file, as orchestrators mount secrets; a line feed at its end is ignored."""

    def read() -> str:
        try:
            found = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise UnreadableError(error.strerror or str(error)) from error
        except UnicodeDecodeError as error:
            raise UnreadableError("it is not UTF-8") from error
        if not found:
            raise UnreadableError("it is empty")
        return found

    fix = "write the user's current password to that file; no restart is needed"
    return Passwords(url, place=f"[database] password_file, {path}", fix=fix, read=read)
