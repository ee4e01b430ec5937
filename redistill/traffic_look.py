"""What a request log says about itself: fields, span, rate, and the window that suits it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from monitor.settings import FilesTraffic, Format
from monitor.sources.fields import FieldNames, guess_fields, guess_format
from monitor.sources.folder import Folder
from monitor.sources.objects import ObjectsSource
from monitor.sources.survey import Survey, survey
from monitor.stop import never_stopped

#: Windows to choose from, the shortest first.
_WINDOWS: Final = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}
_ENOUGH: Final = 2_000  #: requests expected in a window: twice the default of `min_samples`
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class TrafficLook:
    """A look at a request log."""

    uri: Path
    format: Format
    fields: FieldNames | None  #: None: those that the format has
    survey: Survey
    per_day: int  #: distinct usable requests in its last day, or less if it is younger

    @property
    def every(self) -> str:
        """The shortest window in which enough requests are expected, else the longest."""
        fitting = (
            name for name, window in _WINDOWS.items() if self.per_day * (window / self._span) >= _ENOUGH
        )
        return next(fitting, list(_WINDOWS)[-1])

    @property
    def _span(self) -> timedelta:
        """What `per_day` was counted over."""
        first, last = self.survey.first_time, self.survey.last_time
        if first is None or last is None:
            return _DAY
        return min(max(last - first, timedelta(minutes=1)), _DAY)


def look_at(uri: Path, labels: tuple[str, ...]) -> TrafficLook:
    """Guess the format and the field names, survey the log, and count its last day.

    Raises:
        TrafficMissingError: there is neither a file nor a folder.
        ParquetMissingError: it is Parquet, and pyarrow is not installed.
    """
    written = guess_format(uri)
    fields = None if written == "sagemaker-capture" else guess_fields(uri, labels)
    named = {key: name for key, name in vars(fields).items() if name is not None} if fields else {}
    section = FilesTraffic(uri=uri, format=written, **named)
    found = survey(section, labels or None)
    per_day = _count(section, labels, found.last_time)
    return TrafficLook(uri=uri, format=written, fields=fields, survey=found, per_day=per_day)


def _count(section: FilesTraffic, labels: tuple[str, ...], last: datetime | None) -> int:
    if last is None:
        return 0
    source = ObjectsSource(Folder(uri=section.uri), section, labels)
    end = last + timedelta(microseconds=1)
    return source.read_window(end - _DAY, end, k=1, stopped=never_stopped).traffic.n_seen
