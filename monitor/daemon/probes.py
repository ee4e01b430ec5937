"""The probes: /healthz (the process is alive) and /readyz (the daemon can do its work)."""

import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import BaseRoute, Route

from db.errors import RedistillError
from monitor.daemon.shared_call import SharedCall

#: The time that the checks may take, about as long as a load balancer waits.
CHECKS_TIMEOUT_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition of the daemon's readiness."""

    name: str
    ok: bool
    code: str  #: the state in a word, without names of hosts, users or folders
    detail: str

    def document(self, *, in_detail: bool) -> dict[str, object]:
        """Return the check as it is served."""
        return {"ok": self.ok, "code": self.code, **({"detail": self.detail} if in_detail else {})}


Checks = Callable[[], tuple[Check, ...]]


def _within_limit(call: SharedCall[tuple[Check, ...]]) -> tuple[Check, ...]:
    try:
        return call.begin().result(CHECKS_TIMEOUT_SECONDS)
    except TimeoutError:
        detail = f"no answer within {CHECKS_TIMEOUT_SECONDS:g} s"
        return (Check(name="checks", ok=False, code="timeout", detail=detail),)


class _Log:
    """The log of failing checks: one line when a check begins to fail, or fails for another reason."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}

    def note(self, found: tuple[Check, ...]) -> None:
        for check in found:
            if not check.ok and self._codes.get(check.name) != check.code:
                structlog.get_logger().warning(
                    "not ready", check=check.name, code=check.code, detail=check.detail
                )
        self._codes = {check.name: check.code for check in found if not check.ok}


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def app(checks: Checks, *, in_detail: bool, routes: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application, with the probes and other routes.

    It runs `checks` for each /readyz, and checks that hang block nothing else.

    Without `in_detail` a check is served as its code only, and its detail is logged when it begins to fail.
    """
    call, log = SharedCall(checks, name="checks"), _Log()

    async def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    def readyz(_request: Request) -> JSONResponse:
        found = _within_limit(call)
        ready = all(check.ok for check in found)
        if not in_detail:
            log.note(found)
        body = {
            "ready": ready,
            "checks": {check.name: check.document(in_detail=in_detail) for check in found},
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), *routes])


def address(host: str, port: int) -> str:
    """Return the host and the port as a URL has them.

    Example:
        >>> address("127.0.0.1", 8080), address("::1", 8080)
        ('127.0.0.1:8080', '[::1]:8080')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class PortError(RedistillError):
    """[web] cannot listen on {address} ({cause}): choose another host or port; port 0 is any free one."""


def listening(*, host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        PortError: the address or the port cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        cause = str(error.strerror).partition(" (while")[0]  # the rest repeats the address
        raise PortError(address=address(host, port), cause=cause) from error


class Server:
    """A server of the application, in a thread, until it is stopped."""

    def __init__(self, application: Starlette, listener: socket.socket) -> None:
        self._socket = listener
        self.port: int = listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(
                application, log_config=None, access_log=False, timeout_graceful_shutdown=_STOP_SECONDS
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    def start(self) -> None:
        """Start to serve requests."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and wait up to 2 s for open requests."""
        self._server.should_exit = True
        self._thread.join(timeout=_STOP_SECONDS)
        self._socket.close()
