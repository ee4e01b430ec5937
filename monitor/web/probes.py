"""/healthz and /readyz: is the process alive, and is it doing its work."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from db.errors import RedistillError


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that must be so for the daemon to be ready."""

    name: str
    ok: bool
    detail: str


def app(checks: Callable[[], tuple[Check, ...]]) -> Starlette:
    """The application; `checks` is asked at every /readyz."""

    def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    def readyz(_request: Request) -> JSONResponse:
        found = checks()
        ready = all(check.ok for check in found)
        body = {
            "ready": ready,
            "checks": {check.name: {"ok": check.ok, "detail": check.detail} for check in found},
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


class PortError(RedistillError):
    """[web] cannot listen on {host}:{port} ({cause}): choose another port, or 0 for any free one."""


class Server:
    """Serves the application in a thread until it is stopped."""

    def __init__(self, application: Starlette, *, host: str, port: int) -> None:
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            cause = str(error.strerror).partition(" (while")[0]  # the rest repeats the address
            raise PortError(host=host, port=port, cause=cause) from error
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(application, log_config=None, access_log=False))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and wait for the open requests."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()
