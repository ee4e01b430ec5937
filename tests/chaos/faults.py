"""What goes wrong between the processes: clocks that differ, an HTTP proxy that fails, a pooler that cuts."""

import http.client
import os
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, tzinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

import apscheduler.executors.base
import apscheduler.schedulers.base
import numpy as np
import psycopg

import monitor.clock
from tests.chaos.database_locks import name_at_the_database
from tests.support.servers.http import serving
from tests.support.servers.pgbouncer import PgBouncer

#: A clock that is behind would change the order in which cycles say that they ended: the reference's order.
_AHEAD: Final = timedelta(days=1)
_CUT_SECONDS: Final = (4.0, 12.0)
#: What the proxy does with a request, and how often.
_ACTIONS: Final = {"forward": 0.64, "502": 0.12, "407": 0.06, "reset": 0.06, "lose": 0.12}
_FORWARDED: Final = ("Retry-After", "Content-Type")


def prepare(variables: Mapping[str, str]) -> None:
    """In a process that was forked: give it the variables, and a clock that is ahead, by up to a day."""
    os.environ.update(variables)
    name_at_the_database()
    _set_clock(float(np.random.default_rng(os.getpid()).uniform()) * _AHEAD)


def _set_clock(ahead: timedelta) -> None:
    true = monitor.clock.utc_now

    def utc_now() -> datetime:
        return true() + ahead

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + ahead  # noqa: TID251 - the scheduler's

    for module in [*sys.modules.values()]:
        if getattr(module, "utc_now", None) is true:
            module.utc_now = utc_now  # type: ignore[attr-defined]
    apscheduler.schedulers.base.datetime = apscheduler.executors.base.datetime = Ahead


class FailingProxy(ThreadingHTTPServer):
    """An HTTP proxy that answers a third of the requests itself, resets them, or loses the answer."""

    daemon_threads = True

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.done: Counter[str] = Counter()
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def next_action(self) -> str:
        with self._lock:
            action = str(self._rng.choice([*_ACTIONS], p=[*_ACTIONS.values()]))
            self.done[action] += 1
        return action


class _Handler(BaseHTTPRequestHandler):
    server: FailingProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        action = self.server.next_action()
        if action in {"502", "407"}:
            self._answer(int(action), {})
        elif action == "reset":
            self._reset()
        else:
            self._forward(body, loses=action == "lose")

    def _forward(self, body: bytes, *, loses: bool) -> None:
        url = urlsplit(self.path)
        connection = http.client.HTTPConnection(url.netloc, timeout=10)
        try:
            connection.request("POST", url.path, body, dict(self.headers))
            response = connection.getresponse()
            response.read()
        except OSError:
            self._reset()
            return
        finally:
            connection.close()
        if loses:
            self._reset()
        else:
            headers = {name: response.headers[name] for name in _FORWARDED if name in response.headers}
            self._answer(response.status, headers)

    def _answer(self, status: int, headers: Mapping[str, str]) -> None:
        with suppress(ConnectionError):  # the sender has died
            self.send_response(status)
            for header in headers.items():
                self.send_header(*header)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        if not self.connection._closed:
            super().finish()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def failing_proxy(seed: int) -> Iterator[FailingProxy]:
    with serving(FailingProxy(seed)) as server:
        yield server


@contextmanager
def cut_off(pooler: PgBouncer, seed: int) -> Iterator[Callable[[], int]]:
    """Cut all connections through the pooler off, every few seconds; yields how often that was so far."""
    done, rng = threading.Event(), np.random.default_rng(seed)
    n_cuts = 0
    database = pooler.url.database

    def cut() -> None:
        nonlocal n_cuts
        url = pooler.admin.render_as_string(hide_password=False)
        while not done.wait(float(rng.uniform(*_CUT_SECONDS))):
            with psycopg.connect(url, autocommit=True) as console:
                console.execute(f"KILL {database}".encode())
                console.execute(f"RESUME {database}".encode())
            n_cuts += 1

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield lambda: n_cuts
    finally:
        done.set()
        thread.join()
