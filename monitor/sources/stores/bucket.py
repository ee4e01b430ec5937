"""The objects of an S3 bucket, whose keys begin with the hour in which they were written."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, cast

from monitor.settings import S3Traffic
from monitor.sources.stores.port import TrafficObject, TrafficUnavailableError, is_skipped
from monitor.sources.stores.window import Window
from monitor.stop import Stopped, StoppedError
from monitor.storage import s3
from monitor.storage.disk import scratch
from triggers.aws import FAULTS, explained

_HOUR = timedelta(hours=1)
_MONTH = timedelta(days=31)
_YEARS = ("%Y", "%y", "%F")
_CHUNK_BYTES = 2**18
_HELD_BYTES = 16 * 2**20  #: in memory; larger objects are stored in a temporary file


class Bucket:
    """A bucket, which is listed by the hour: a request log may have millions of objects."""

    def __init__(self, section: S3Traffic) -> None:
        self.section = section
        self._made: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the client: each process creates its own."""
        return {"section": self.section, "_made": None}

    def list(self, window: Window, /) -> tuple[TrafficObject, ...]:
        """Return the objects of the hours from the window's start to `late` after its end.

        Raises:
            TrafficUnavailableError: S3 refuses the request, or does not respond.
        """
        hours = _hours(window.start, window.end + self.section.late)
        with self._translated_errors():
            found = {each.name: each for hour in hours for each in self._list_hour(hour)}
        return tuple(found[name] for name in sorted(found))

    @contextmanager
    def open(self, each: TrafficObject, stopped: Stopped, /) -> Iterator[BinaryIO]:
        """Fetch an object into memory or a temporary file: a body of S3 that breaks off cannot be resumed.

        Raises:
            TrafficUnavailableError: the object is gone, has changed since it was listed, or S3 fails.
            StoppedError: `stopped`, which is checked every 256 KiB, returned True.
        """
        with tempfile.SpooledTemporaryFile(_HELD_BYTES) as file:
            with self._translated_errors(each.name):
                self._fetch(each, cast("BinaryIO", file), stopped)
            yield cast("BinaryIO", file)

    def _list_hour(self, hour: datetime) -> Iterator[TrafficObject]:
        prefix = hour.strftime(self.section.hour_prefix)
        written = _written(self.section.hour_prefix, hour)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.section.bucket, Prefix=prefix
        )
        for page in pages:
            for found in page.get("Contents", ()):
                key: str = found["Key"]
                is_folder = key.endswith("/")  # as the S3 console creates it
                if not is_folder and not is_skipped(key, len(prefix)):
                    yield TrafficObject(
                        name=key,
                        address=key,
                        version=found["ETag"].strip('"'),
                        size=found["Size"],
                        modified_at=_within(written, found["LastModified"].astimezone(UTC)),
                    )

    def _fetch(self, each: TrafficObject, file: BinaryIO, stopped: Stopped) -> None:
        def ask() -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
            if stopped():
                raise StoppedError
            return self._client.get_object(
                Bucket=self.section.bucket, Key=each.address, IfMatch=f'"{each.version}"'
            )

        s3.fetch_whole(ask, lambda answer: _download(each, answer, file, stopped))

    @contextmanager
    def _translated_errors(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except (*FAULTS, s3.BrokenBodyError) as error:
            uri = f"s3://{self.section.bucket}/{name or self.section.hour_prefix}"
            raise TrafficUnavailableError(uri=uri, problem=explained(error)) from error

    @property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        self._made = self._made or s3.client()
        return self._made


def _download(each: TrafficObject, answer: Any, file: BinaryIO, stopped: Stopped) -> None:  # noqa: ANN401
    if answer["ETag"].strip('"') != each.version:
        raise s3.BrokenBodyError(f"its ETag is {answer['ETag']}, not {each.version}")
    file.seek(0)
    file.truncate()
    for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
        if stopped():
            raise StoppedError
        with scratch():
            file.write(chunk)
    received = file.tell()
    if received != each.size:
        raise s3.BrokenBodyError(f"{received} of its {each.size} bytes arrived")
    file.seek(0)


def _written(pattern: str, hour: datetime) -> Window | None:
    """Return the time in which the objects of an hour's prefix were written, by the pattern of the prefix.

    It is None if the prefix does not say when: it has no year, or is of more than a month.
    """
    prefix, start, end = hour.strftime(pattern), hour, hour + _HOUR
    while end - start <= _MONTH and (start - _HOUR).strftime(pattern) == prefix:
        start -= _HOUR
    while end - start <= _MONTH and end.strftime(pattern) == prefix:
        end += _HOUR
    is_dated = end - start <= _MONTH and any(year in pattern for year in _YEARS)
    return Window(start=start, end=end) if is_dated else None


def _within(written: Window | None, time: datetime) -> datetime:
    """Return the time, or the nearest one in `written`: an upload may end later, and a copy much later."""
    return time if written is None else min(max(time, written.start), written.end - datetime.resolution)


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour <= end:
        yield hour
        hour += _HOUR
