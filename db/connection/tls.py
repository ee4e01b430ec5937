"""The protection of a PostgreSQL URL's connections by TLS, as libpq decides it."""

import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from psycopg import pq
from sqlalchemy import URL


class Transport(StrEnum):
    """The protection of a connection."""

    LOCAL = "local"  #: a Unix socket, or an address of this machine
    PLAINTEXT = "plaintext"  #: TLS is refused, or used only if both sides happen to want it
    UNVERIFIED = "unverified"  #: encrypted, but any server may answer
    ANY_HOST = "any_host"  #: encrypted; any server with a certificate of the same authority may answer
    VERIFIED = "verified"  #: encrypted, with the server of that name


_BY_MODE: Final[Mapping[str, Transport]] = {
    "require": Transport.UNVERIFIED,
    "verify-ca": Transport.ANY_HOST,
    "verify-full": Transport.VERIFIED,
}


def transport_of(url: URL) -> Transport:
    """Return the protection of connections by `url`, with what libpq adds from its environment.

    A URL with several hosts is local only if all of them are.
    """
    settings = _settings(url)
    return Transport.LOCAL if _is_local(settings) else _by_mode(settings)


def encrypts(url: URL) -> bool:
    """Return whether the URL demands TLS, also of a server on this machine."""
    return _by_mode(_settings(url)) is not Transport.PLAINTEXT


def _settings(url: URL) -> Mapping[str, Any]:
    (_, arguments) = url.get_dialect()().create_connect_args(url)
    found = pq.Conninfo.get_defaults()
    return {**{each.keyword.decode(): each.val.decode() for each in found if each.val}, **arguments}


def _by_mode(settings: Mapping[str, Any]) -> Transport:
    if settings.get("sslrootcert") == "system":
        return Transport.VERIFIED  # libpq accepts no other mode with it
    return _BY_MODE.get(str(settings.get("sslmode")), Transport.PLAINTEXT)


def _is_local(settings: Mapping[str, Any]) -> bool:
    hosts = str(settings.get("hostaddr") or settings.get("host") or "").split(",")
    return all(host in {"", "localhost"} or host[0] in "/@" or _is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
