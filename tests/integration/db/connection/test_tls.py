"""The way to a PostgreSQL server on another machine: encrypted, and to the right server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text

from db.connection.session import connect, reading
from db.connection.tls import Transport, encrypts, transport_of
from db.connection.unavailable import DatabaseUnreachableError
from tests.support.servers.certificates import Authority
from tests.support.servers.postgres import Stoppable, stoppable
from tests.support.servers.tls_proxy import tls_before

ROLE = "CREATE ROLE app LOGIN PASSWORD 'app'"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server whose certificate is for `db.test`, and the authority that signed it."""

    port: int
    authority: Authority

    def url(self, host: str = "db.test", **query: str) -> URL:
        named = {"hostaddr": "127.0.0.1", **query}
        return URL.create("postgresql", "app", "app", host, self.port, "postgres", query=named)


@contextmanager
def behind_a_proxy(authority: Authority) -> Iterator[int]:
    with stoppable(tcp=True) as server:
        server.execute(ROLE)
        with tls_before(port_of(server), authority.server("db.test")) as proxy:
            yield proxy.port


@contextmanager
def by_itself(authority: Authority) -> Iterator[int]:
    with stoppable(tcp=True, tls=authority.server("db.test")) as server:
        server.execute(ROLE)
        yield port_of(server)


def port_of(server: Stoppable) -> int:
    assert server.port is not None
    return server.port


@pytest.fixture(scope="module", params=[behind_a_proxy, pytest.param(by_itself, marks=pytest.mark.pgbouncer)])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with request.param(authority) as port:
        yield Endpoint(port=port, authority=authority)


def asked(url: URL) -> object:
    engine = connect(url.render_as_string(hide_password=False))
    try:
        with reading(engine) as connection:
            return connection.scalar(text("SELECT current_user"))
    finally:
        engine.dispose()


def test_a_server_is_reached_by_its_name_and_authority(endpoint: Endpoint) -> None:
    url = endpoint.url(sslmode="verify-full", sslrootcert=str(endpoint.authority.path))
    assert asked(url) == "app"
    assert transport_of(url.difference_update_query(["hostaddr"])) is Transport.VERIFIED


def test_a_server_of_another_name_is_refused(endpoint: Endpoint) -> None:
    url = endpoint.url("other.test", sslmode="verify-full", sslrootcert=str(endpoint.authority.path))
    with pytest.raises(DatabaseUnreachableError, match=r'"db.test" does not match host name "other.test"'):
        asked(url)


def test_a_server_of_another_authority_is_refused(endpoint: Endpoint, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    with pytest.raises(DatabaseUnreachableError, match="certificate verify failed"):
        asked(endpoint.url(sslmode="verify-full", sslrootcert=str(other.path)))


def test_a_server_that_takes_only_tls_refuses_plaintext(endpoint: Endpoint) -> None:
    with pytest.raises(DatabaseUnreachableError):
        asked(endpoint.url(sslmode="disable"))


def test_without_verification_any_server_is_taken(endpoint: Endpoint) -> None:
    """Which is why `doctor` warns of it."""
    assert asked(endpoint.url("other.test", sslmode="require")) == "app"


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("postgresql:///name", Transport.LOCAL),
        ("postgresql:///name?host=/run/postgresql", Transport.LOCAL),
        ("postgresql://localhost/name", Transport.LOCAL),
        ("postgresql://127.8.0.1/name", Transport.LOCAL),
        ("postgresql://[::1]/name", Transport.LOCAL),
        ("postgresql:///name?host=localhost&host=db", Transport.PLAINTEXT),
        ("postgresql://db/name", Transport.PLAINTEXT),
        ("postgresql://db/name?sslmode=disable", Transport.PLAINTEXT),
        ("postgresql://db/name?sslmode=allow", Transport.PLAINTEXT),
        ("postgresql://db/name?sslmode=prefer", Transport.PLAINTEXT),
        ("postgresql://10.0.0.1/name?sslmode=require", Transport.UNVERIFIED),
        ("postgresql://db/name?sslmode=verify-ca&sslrootcert=ca.pem", Transport.ANY_HOST),
        ("postgresql://db/name?sslmode=verify-full&sslrootcert=ca.pem", Transport.VERIFIED),
        ("postgresql+psycopg://db/name?sslrootcert=system", Transport.VERIFIED),
    ],
)
def test_the_protection_that_a_url_asks_for(
    url: str, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert transport_of(make_url(url)) is transport


def test_libpqs_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert transport_of(make_url("postgresql://db/name")) is Transport.VERIFIED
    monkeypatch.setenv("PGHOST", "db")
    monkeypatch.delenv("PGSSLMODE")
    assert transport_of(make_url("postgresql:///name")) is Transport.PLAINTEXT


def test_a_way_is_encrypted_only_if_the_mode_demands_it() -> None:
    """Also to this machine, where a tunnel may begin."""
    assert not encrypts(make_url("postgresql://localhost/name"))
    assert not encrypts(make_url("postgresql://localhost/name?sslmode=prefer"))
    assert encrypts(make_url("postgresql://localhost/name?sslmode=require"))
