"""The collector of metrics: it reads the state of each monitor when it is asked."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from importlib.metadata import version
from time import monotonic
from typing import Final

import structlog
from prometheus_client.metrics_core import Metric
from sqlalchemy import Engine

from db.connection.session import reading
from db.errors import one_line
from db.telemetry import state
from db.telemetry.state import MonitorState
from monitor.daemon.shared_call import SharedCall
from redistill.configuration.settings import Settings
from redistill.web.catalogue import METRICS, Definition
from redistill.web.samples import Sample, samples

#: The time that the databases of all monitors have to answer, less than Prometheus waits by default.
LIMIT_SECONDS: Final = 5.0


class Watched:
    """A monitor whose state is read, each time in a thread of its own and in one short transaction."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._call = SharedCall(self._read, name="metrics")
        self._problem = ""  #: the error that was logged last

    def begin(self) -> Future[MonitorState]:
        """Begin to read the state, unless a call does so already."""
        return self._call.begin()

    def samples_of(self, future: Future[MonitorState], until: float) -> Iterable[Sample] | None:
        """Return the samples of the state, or None if it could not be read by then; log a new problem."""
        try:
            found = future.result(max(0.0, until - monotonic()))
        except TimeoutError:
            self._note(f"no answer within {LIMIT_SECONDS:g} s")
            return None
        except Exception as error:  # noqa: BLE001 - the other metrics are served all the same
            self._note(one_line(error))
            return None
        self._problem = ""
        return samples(self._settings, found)

    def _read(self) -> MonitorState:
        with reading(self._engine) as connection:
            return state.read(connection, self._settings.monitor.name)

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            structlog.get_logger().warning(
                "metrics incomplete", monitor=self._settings.monitor.name, error=problem
            )


#: Returns the monitors by name; None: its configuration could not be read yet.
Monitors = Callable[[], Mapping[str, Watched | None]]


class MonitorCollector:
    """A collector for prometheus_client. A monitor that cannot be read has `redistill_database_up` 0."""

    def __init__(self, monitors: Monitors) -> None:
        self._monitors = monitors

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with the samples of all monitors."""
        families = {name: _family(each) for name, each in METRICS.items()}
        for monitor, found in self._read():
            for sample in (*_own(is_up=found is not None), *(found or ())):
                family = families[sample.metric]
                suffix = METRICS[sample.metric].name.removeprefix(family.name)
                labels = {"monitor": monitor, **sample.labels}
                family.add_sample(f"{family.name}{suffix}{sample.part}", labels, sample.value)
        yield from families.values()

    def _read(self) -> Iterator[tuple[str, Iterable[Sample] | None]]:
        until = monotonic() + LIMIT_SECONDS
        begun = [(name, each, each and each.begin()) for name, each in self._monitors().items()]
        for name, watched, future in begun:
            yield name, watched.samples_of(future, until) if watched and future else None


def _own(*, is_up: bool) -> Iterator[Sample]:
    yield Sample("redistill_database_up", {}, float(is_up))
    yield Sample("redistill_build_info", {"version": version("redistill")}, 1)


def _family(definition: Definition) -> Metric:
    return Metric(definition.family, definition.help, definition.kind, definition.unit)
