"""The check of the way to a PostgreSQL server."""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import make_url

from db.connection import postgres
from db.connection.tls import Transport, transport_of
from redistill.checks.result import CheckResult, ok, warning
from redistill.configuration.settings import Settings

_FIX: Final = "add ?sslmode=verify-full&sslrootcert=FILE to [database] url (see docs/database.md)"
_FOUND: Final[Mapping[Transport, str]] = {
    Transport.LOCAL: "the server is on this machine",
    Transport.VERIFIED: "encrypted, and the server's certificate and name are verified",
    Transport.PLAINTEXT: "password and data may cross the network in plaintext",
    Transport.UNVERIFIED: "encrypted, but the server is not verified: another one could take its place",
    Transport.ANY_HOST: "encrypted, but the server's name is not verified",
}


def tls(settings: Settings) -> Iterator[CheckResult]:
    """Check that connections to PostgreSQL on another machine are encrypted, and its certificate verified."""
    url = make_url(settings.database.url)
    if url.drivername not in postgres.DRIVERS:
        return
    transport = transport_of(url)
    found = _FOUND[transport]
    if transport in {Transport.LOCAL, Transport.VERIFIED}:
        yield ok("tls", found)
    else:
        yield warning("tls", found, _FIX)
