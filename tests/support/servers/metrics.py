"""/metrics of a server that is started for a test, and what a monitoring system reads there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from monitor.daemon.probes import Server, app, listening
from redistill.web.collector import Watched
from redistill.web.endpoint import metrics_route

#: A name and its labels, sorted.
Series = tuple[str, tuple[tuple[str, str], ...]]


@contextmanager
def serving(monitors: Mapping[str, Watched | None], *, token: str | None = None) -> Iterator[str]:
    """Yield the URL of a server that runs, without a path."""
    secret = None if token is None else SecretStr(token)
    application = app(lambda: (), in_detail=True, routes=[metrics_route(lambda: monitors, secret)])
    server = Server(application, listening(host="127.0.0.1", port=0))
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.stop()


def scraped(monitors: Mapping[str, Watched | None]) -> dict[Series, float]:
    """Return all samples of redistill, as Prometheus' own format is read."""
    with serving(monitors) as url:
        return parsed(httpx.get(f"{url}/metrics", timeout=30).raise_for_status().text)


def parsed(text: str) -> dict[Series, float]:
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = series(sample.name, **sample.labels)
            assert key not in found, f"twice: {key}"
            if sample.name.startswith("redistill_"):
                found[key] = sample.value
    return found


def series(name: str, **labels: str) -> Series:
    return name, tuple(sorted(labels.items()))
