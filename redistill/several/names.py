"""The monitors that are in force in this process: a name is unique in its database."""

import threading
from pathlib import Path

from sqlalchemy import make_url

from db.connection.session import without_password
from db.errors import RedistillError
from redistill.configuration.settings import Settings
from redistill.configuration.source import Source


class SameMonitorError(RedistillError):
    """{source} names the monitor {monitor!r} of the database {url}, as does {other}: rename one of them in
    [monitor] name, or leave one of the configurations out.
    """


class Names:
    """The monitors by the configuration that names them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[tuple[str, str], int] = {}
        self._sources: dict[int, Source] = {}

    def claim(self, number: int, source: Source, settings: Settings) -> None:
        """Claim a monitor for the configuration with that number, in place of what it held before.

        Raises:
            SameMonitorError: another configuration holds it.
        """
        key = _key(settings)
        self.release(number, but=key)
        with self._lock:
            holder = self._holders.setdefault(key, number)
            self._sources[number] = source
            if holder != number:
                raise SameMonitorError(
                    source=source,
                    monitor=settings.monitor.name,
                    url=without_password(make_url(settings.database.url)),
                    other=self._sources[holder],
                )

    def release(self, number: int, *, but: tuple[str, str] | None = None) -> None:
        """Release what the configuration with that number holds, except one monitor."""
        with self._lock:
            self._holders = {
                key: holder for key, holder in self._holders.items() if holder != number or key == but
            }


def _key(settings: Settings) -> tuple[str, str]:
    url = make_url(settings.database.url)
    if url.get_backend_name() == "sqlite":
        database = str(Path(url.database or "").resolve())
    else:
        database = f"{url.host}:{url.port or 5432}/{url.database}"
    return database, settings.monitor.name
