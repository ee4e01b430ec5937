"""The profile of a request log: its fields, span and rate, and the window that suits it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from db.records import Slot
from monitor.daemon.schedule import make_trigger, slots_between
from monitor.setting_values import Format
from monitor.settings import FilesTraffic, MonitorSection
from monitor.sources.fields import FieldNames, guess_fields, guess_format
from monitor.sources.objects import ObjectsSource
from monitor.sources.stores.folder import Folder
from monitor.sources.survey import Survey, survey
from monitor.stop import never_stopped
from redistill.configuration.period import Arrivals, Period, shortest_period

_DAY: Final = timedelta(days=1)
_SPAN: Final = timedelta(days=7)  #: the end of the log by which the window is chosen
_SAMPLE: Final = 100_000  #: the most requests of that span that are read
_EMPTY: Final = "1h"  #: the window for a log without a usable request
_MOST_WINDOWS: Final = 24  #: of a suggested backfill


@dataclass(frozen=True, kw_only=True)
class TrafficProfile:
    """The profile of a request log."""

    uri: Path
    format: Format
    fields: FieldNames | None  #: None: the format has fixed names
    survey: Survey
    per_day: int  #: distinct usable requests in the last day of the log, or in all of a shorter log
    period: Period | None  #: the shortest whose windows have enough requests; None: there are no requests

    @property
    def every(self) -> str:
        """The length of the window that suits the log, in the notation of [monitor]."""
        return self.period.every if self.period else _EMPTY

    def windows(self, now: datetime) -> tuple[Slot, ...]:
        """Return the complete windows that the log covers, oldest first and at most the newest 24.

        The log covers a window also if it begins at most `lateness` after the window's start, or ends at most
        `lateness` before the window's end.
        """
        first, last = self.survey.first_time, self.survey.last_time
        section = MonitorSection.model_validate({"every": self.every})
        if first is None or last is None or section.every is None:
            return ()
        start = max(first, last - _MOST_WINDOWS * section.every) - section.lateness
        end = min(last + section.lateness, now - section.lateness)
        return slots_between(make_trigger(section), section.name, start, end)[-_MOST_WINDOWS:]


def profile_traffic(uri: Path, labels: tuple[str, ...]) -> TrafficProfile:
    """Guess the format and the field names, survey the log, and choose a window by its last seven days.

    Raises:
        TrafficMissingError: `uri` is neither a file nor a folder.
        ParquetMissingError: the log is Parquet, and pyarrow is not installed.
    """
    written = guess_format(uri)
    fields = None if written == "sagemaker-capture" else guess_fields(uri, labels)
    named = {key: name for key, name in vars(fields).items() if name is not None} if fields else {}
    section = FilesTraffic(uri=uri, format=written, **named)
    found = survey(section, labels or None)
    arrivals = _arrivals(section, labels, found.last_time)
    return TrafficProfile(
        uri=uri,
        format=written,
        fields=fields,
        survey=found,
        per_day=arrivals.since(arrivals.last - _DAY) if arrivals else 0,
        period=shortest_period(arrivals, MonitorSection().min_samples) if arrivals else None,
    )


def _arrivals(section: FilesTraffic, labels: tuple[str, ...], last: datetime | None) -> Arrivals | None:
    if last is None:
        return None
    source = ObjectsSource(Folder(uri=section.uri), section, labels)
    end = last + timedelta(microseconds=1)
    window = source.read_window(end - _SPAN, end, k=_SAMPLE, stopped=never_stopped)
    times = [each.time for each in window.requests]
    return Arrivals(times=times, n=window.traffic.n_seen) if times else None
