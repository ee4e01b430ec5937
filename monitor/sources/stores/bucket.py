"""The objects of an S3 bucket, whose keys begin with the hour in which they were written."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, cast

from db.errors import one_line
from monitor.settings import S3Traffic
from monitor.sources.stores.port import TrafficObject, TrafficUnavailableError, is_skipped
from monitor.sources.stores.window import Window
from monitor.stop import Stopped, StoppedError
from monitor.storage import s3
from monitor.storage.disk import scratch
from triggers.aws import FAULTS

_HOUR = timedelta(hours=1)
_CHUNK_BYTES = 2**18
_HELD_BYTES = 16 * 2**20  #: of a larger object the rest lies in a temporary file


class Bucket:
    """Lists an hour at a time: a request log may have millions of objects."""

    def __init__(self, section: S3Traffic) -> None:
        self.section = section
        self._made: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the client: each process makes its own."""
        return {"section": self.section, "_made": None}

    def list(self, window: Window, /) -> tuple[TrafficObject, ...]:
        """Those of the hours from the window's start to `late` after its end.

        Raises:
            TrafficUnavailableError: S3 refuses, or does not answer.
        """
        hours = _hours(window.start, window.end + self.section.late)
        with self._translated_errors():
            found = {each.name: each for hour in hours for each in self._list_hour(hour)}
        return tuple(found[name] for name in sorted(found))

    @contextmanager
    def open(self, each: TrafficObject, stopped: Stopped, /) -> Iterator[BinaryIO]:
        """Its bytes, in memory or in a temporary file: what S3 sends cannot be resumed where it broke off.

        Raises:
            TrafficUnavailableError: it is not there any more, has changed since it was listed, or S3 fails.
            StoppedError: `stopped`, which is asked every 256 KiB, said so.
        """
        with tempfile.SpooledTemporaryFile(_HELD_BYTES) as file:
            with self._translated_errors(each.name):
                self._fetch(each, cast("BinaryIO", file), stopped)
            yield cast("BinaryIO", file)

    def _list_hour(self, hour: datetime) -> Iterator[TrafficObject]:
        prefix = hour.strftime(self.section.hour_prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.section.bucket, Prefix=prefix
        )
        for page in pages:
            for found in page.get("Contents", ()):
                key: str = found["Key"]
                is_folder = key.endswith("/")  # as consoles make one
                if not is_folder and not is_skipped(key, len(prefix)):
                    yield TrafficObject(
                        name=key,
                        address=key,
                        version=found["ETag"].strip('"'),
                        size=found["Size"],
                        modified_at=found["LastModified"].astimezone(UTC),
                    )

    def _fetch(self, each: TrafficObject, file: BinaryIO, stopped: Stopped) -> None:
        def ask() -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
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
            problem = one_line(error)
            raise TrafficUnavailableError(uri=uri, problem=problem) from error

    @property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
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
    if file.tell() != each.size:
        raise s3.BrokenBodyError(f"{file.tell()} of its {each.size} bytes came")
    file.seek(0)


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour <= end:
        yield hour
        hour += _HOUR
