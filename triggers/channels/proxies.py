"""The proxies that the environment configures for HTTP, and the variable to correct if one is unusable."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx


def proxy_variable(url: str) -> str | None:
    """Return the name of the variable whose proxy a request to the URL goes through; None without a proxy."""
    parts, proxies = urlsplit(url), getproxies()
    if proxy_bypass(parts.hostname or "", proxies):
        return None
    return next((_variable(scheme) for scheme in (parts.scheme, "all") if proxies.get(scheme)), None)


def unusable_variables() -> str:
    """Return the names of the variables with which no HTTP client can be made, for people."""
    return " and ".join(_unusable(getproxies())) or "SSL_CERT_FILE and SSL_CERT_DIR"


def _unusable(proxies: Mapping[str, str]) -> Iterator[str]:
    for scheme in ("http", "https", "all"):
        url = proxies.get(scheme)
        if url and not _is_usable(url if "://" in url else f"http://{url}"):
            yield _variable(scheme)
    if not all(map(_is_pattern, proxies.get("no", "").split(","))):
        yield _variable("no")


def _is_usable(proxy: str) -> bool:
    try:
        httpx.Client(proxy=proxy, trust_env=False).close()
    except Exception:  # noqa: BLE001 - the library raises several kinds, also ImportError
        return False
    return True


def _is_pattern(host: str) -> bool:
    """Return whether the library accepts an entry of NO_PROXY; an IPv6 address has no brackets there."""
    try:
        httpx.URL(host.strip() if "://" in host else f"all://*{host.strip()}")
    except httpx.InvalidURL:
        return False
    return True


def _variable(scheme: str) -> str:
    return f"{scheme.upper()}_PROXY"
