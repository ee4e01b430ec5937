"""/metrics, in the text format of Prometheus or in OpenMetrics, as the client asks."""

import hmac
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from redistill.web.collector import MonitorCollector, Monitors

_UNAUTHORIZED: Final = "This path wants the token of [web]: send the header Authorization: Bearer TOKEN.\n"


def metrics_route(monitors: Monitors, token: SecretStr | None) -> Route:
    """Return the route of /metrics for the monitors and this process, behind the token if there is one."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(MonitorCollector(monitors))

    def metrics(request: Request) -> Response:
        if not _is_allowed(request, token):
            return PlainTextResponse(_UNAUTHORIZED, 401, {"WWW-Authenticate": "Bearer"})
        encode, content_type = _encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return Route("/metrics", metrics)


def _is_allowed(request: Request, token: SecretStr | None) -> bool:
    if token is None:
        return True
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    wanted = token.get_secret_value().encode()
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), wanted)


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # a version that is not a number
        return choose_encoder("")
