"""The places of archives: folders of this machine, or S3. A file exists completely or not at all."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, cast

from botocore.exceptions import ClientError

from db.errors import RedistillError
from monitor.storage import s3
from monitor.storage.disk import private_folder, sync
from triggers.aws import FAULTS, explained, is_transient


class ArchiveWriteError(RedistillError):
    """The archive {path} cannot be written: {problem}. Free space, fix the permissions, or wait until it
    responds; the cycle is retried.
    """


class ArchiveReadError(RedistillError):
    """The archive {path} cannot be read: {problem}."""


class ArchiveUnavailableError(ArchiveReadError):
    """The archive {path} cannot be read now: {problem}. The read is retried."""


class Place(Protocol):
    """A place that stores files by URI."""

    def put(self, uri: str, content: bytes) -> None:
        """Write or replace a file; if ArchiveWriteError is raised, an earlier file is unchanged."""
        ...

    def get(self, uri: str) -> bytes | None:
        """Return the bytes of a file; None if there is no such file.

        Raises:
            ArchiveUnavailableError: the file cannot be read now; a later attempt may succeed.
            ArchiveReadError: the file cannot be read.
        """
        ...

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the file names in a folder, in order; none if it does not exist. Raises ArchiveReadError."""
        ...

    def delete(self, uri: str) -> None:
        """Delete a file if it exists. Raises ArchiveWriteError."""
        ...


class Places:
    """The places of URIs, with one S3 client for all of them. `encryption`: parameters of each upload."""

    def __init__(self, encryption: Mapping[str, str] | None = None) -> None:
        self._s3 = _S3(encryption or {})

    def of(self, uri: str) -> Place:
        """Return the place of a URI."""
        return self._s3 if uri.startswith("s3://") else _Folders()


class _Folders:
    """Folders with files that only their owner may read."""

    def put(self, uri: str, content: bytes) -> None:
        path = Path(uri)
        with _translated_errors(uri):
            private_folder(path.parent)
            with _replacing(path) as descriptor:
                _write_all(descriptor, content)
            sync(path.parent)

    def get(self, uri: str) -> bytes | None:
        try:
            return Path(uri).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ArchiveReadError(path=uri, problem=error.strerror or error) from error

    def names(self, folder: str) -> tuple[str, ...]:
        with _translated_errors(folder, ArchiveReadError):
            return tuple(sorted(path.name for path in Path(folder).glob("*")))

    def delete(self, uri: str) -> None:
        with _translated_errors(uri):
            Path(uri).unlink(missing_ok=True)


@dataclass(frozen=True)
class _S3:
    """Objects in S3, which replaces them atomically; the bucket determines who may read them."""

    encryption: Mapping[str, str]

    def put(self, uri: str, content: bytes) -> None:
        bucket, key = s3.split(uri)
        with _translated_errors(uri):
            # A file is sent in pieces, and the timeout applies to each piece.
            self._client.put_object(Bucket=bucket, Key=key, Body=BytesIO(content), **self.encryption)

    def get(self, uri: str) -> bytes | None:
        bucket, key = s3.split(uri)
        try:
            return s3.fetch_whole(
                lambda: self._client.get_object(Bucket=bucket, Key=key),
                lambda answer: cast("bytes", answer["Body"].read()),
            )
        except FAULTS as error:
            if isinstance(error, ClientError) and error.response["Error"]["Code"] == "NoSuchKey":
                return None
            kind = ArchiveUnavailableError if is_transient(error) else ArchiveReadError
            raise kind(path=uri, problem=explained(error)) from error

    def names(self, folder: str) -> tuple[str, ...]:
        bucket, prefix = s3.split(f"{folder}/")
        with _translated_errors(folder, ArchiveReadError):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter="/"
            )
            return tuple(
                found["Key"].removeprefix(prefix) for page in pages for found in page.get("Contents", ())
            )

    def delete(self, uri: str) -> None:
        bucket, key = s3.split(uri)
        with _translated_errors(uri):
            self._client.delete_object(Bucket=bucket, Key=key)

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        return s3.client()


@contextmanager
def _translated_errors(uri: str, kind: type[RedistillError] = ArchiveWriteError) -> Iterator[None]:
    try:
        yield
    except FAULTS as error:
        problem = getattr(error, "strerror", None) or explained(error)
        raise kind(path=uri, problem=problem) from error


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """Open a temporary file beside `path`, which replaces it on success and is deleted on failure."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
