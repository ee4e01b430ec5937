"""A real PgBouncer before a PostgreSQL server."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from tests.support.servers.postgres import account, free_port, own_folder

VARIABLE = "REDISTILL_TEST_PGBOUNCER"
MISSING = f"PgBouncer is missing: install Debian's package `pgbouncer`, or set {VARIABLE}=/path/of/pgbouncer"
START_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class PgBouncer:
    """A pooler; `url` is that of the database behind it."""

    url: URL
    admin: URL

    def show(self, what: str) -> list[tuple[object, ...]]:
        """The rows of SHOW, from its console."""
        with psycopg.connect(self.admin.render_as_string(hide_password=False), autocommit=True) as console:
            return (
                console.cursor(row_factory=psycopg.rows.tuple_row).execute(f"SHOW {what}".encode()).fetchall()
            )


@contextmanager
def pooling(upstream: URL, *, connections: int) -> Iterator[PgBouncer]:
    """In transaction mode, with that number of connections to the server of the URL's Unix socket."""
    program = os.environ.get(VARIABLE) or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.fail(MISSING)
    port = free_port()
    with own_folder() as folder:
        (folder / "pgbouncer.ini").write_text(_settings(upstream, port, connections))
        (folder / "users.txt").write_text(f'"{upstream.username}" ""\n')
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [program, folder / "pgbouncer.ini"],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                **account(),
            )
        url = URL.create(
            "postgresql", upstream.username, host="127.0.0.1", port=port, database=upstream.database
        )
        try:
            _wait(url, process, folder / "log")
            yield PgBouncer(url=url, admin=url.set(database="pgbouncer"))
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)


def _settings(upstream: URL, port: int, connections: int) -> str:
    """Its defaults, but for the pool."""
    host, server_port = upstream.query["host"], upstream.query.get("port", "5432")
    return f"""
[databases]
{upstream.database} = host={host} port={server_port} dbname={upstream.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = users.txt
admin_users = {upstream.username}
pool_mode = transaction
default_pool_size = {connections}
"""


def _wait(url: URL, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(url.render_as_string(hide_password=False)).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"PgBouncer did not start:\n{log.read_text()}")
