"""What a request log says about itself: fields, span, rate, and the window that suits it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from db.records import Slot
from monitor.daemon.schedule import make_trigger, slots_between
from monitor.settings import FilesTraffic, Format, MonitorSection
from monitor.sources.fields import FieldNames, guess_fields, guess_format
from monitor.sources.objects import ObjectsSource
from monitor.sources.stores.folder import Folder
from monitor.sources.survey import Survey, survey
from monitor.stop import never_stopped
from redistill.configuration.period import Period, Profile, shortest_period

_DAY: Final = timedelta(days=1)
_PROFILE: Final = timedelta(days=7)  #: the end of the log that the window is chosen by
_PROFILE_SAMPLE: Final = 100_000  #: requests of it, if it has more
_EMPTY: Final = "1h"  #: the window for a log without a usable request
_MOST_WINDOWS: Final = 24  #: of a backfill that is suggested


@dataclass(frozen=True, kw_only=True)
class TrafficLook:
    """A look at a request log."""

    uri: Path
    format: Format
    fields: FieldNames | None  #: None: those that the format has
    survey: Survey
    per_day: int  #: distinct usable requests in its last day, or less if it is younger
    period: Period | None  #: the shortest whose windows have enough requests; None: there are no requests

    @property
    def every(self) -> str:
        """The window that suits the log, as [monitor] has it."""
        return self.period.every if self.period else _EMPTY

    def windows(self, now: datetime) -> tuple[Slot, ...]:
        """Return the complete windows that the log covers, oldest first and at most the newest 24.

        It covers a window if it begins and ends at most `lateness` within it.
        """
        first, last = self.survey.first_time, self.survey.last_time
        section = MonitorSection.model_validate({"every": self.every})
        if first is None or last is None or section.every is None:
            return ()
        start = max(first, last - _MOST_WINDOWS * section.every) - section.lateness
        end = min(last + section.lateness, now - section.lateness)
        return slots_between(make_trigger(section), section.name, start, end)[-_MOST_WINDOWS:]


def look_at(uri: Path, labels: tuple[str, ...]) -> TrafficLook:
    """Guess the format and the field names, survey the log, and choose a window by its last seven days.

    Raises:
        TrafficMissingError: there is neither a file nor a folder.
        ParquetMissingError: it is Parquet, and pyarrow is not installed.
    """
    written = guess_format(uri)
    fields = None if written == "sagemaker-capture" else guess_fields(uri, labels)
    named = {key: name for key, name in vars(fields).items() if name is not None} if fields else {}
    section = FilesTraffic(uri=uri, format=written, **named)
    found = survey(section, labels or None)
    profile = _profile(section, labels, found.last_time)
    return TrafficLook(
        uri=uri,
        format=written,
        fields=fields,
        survey=found,
        per_day=profile.since(profile.last - _DAY) if profile else 0,
        period=shortest_period(profile, MonitorSection().min_samples) if profile else None,
    )


def _profile(section: FilesTraffic, labels: tuple[str, ...], last: datetime | None) -> Profile | None:
    if last is None:
        return None
    source = ObjectsSource(Folder(uri=section.uri), section, labels)
    end = last + timedelta(microseconds=1)
    found = source.read_window(end - _PROFILE, end, k=_PROFILE_SAMPLE, stopped=never_stopped)
    times = [each.time for each in found.requests]
    return Profile(times=times, n=found.traffic.n_seen) if times else None
