"""Local copies of objects in S3: CACHE/<bucket>/<key>/@<digits>/.

The digits are those of the copied objects' names and ETags, so that a changed object has another copy. A copy
is whole or absent, however many processes make it at once.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from botocore.exceptions import ClientError

from db.errors import RedistillError, one_line
from monitor.storage import s3
from monitor.storage.disk import open_private, private_folder
from monitor.storage.store import ArtifactMissingError, ArtifactReadError, ArtifactUnavailableError
from triggers.aws import FAULTS, explained, is_transient

#: A pointer is a small JSON object with this key.
TARGET: Final = "target"
#: The time after which a copy that nobody asked for is removed.
_UNUSED_SECONDS: Final = 7 * 86_400
_CHUNK: Final = 2**20
#: How often a directory is listed again because an object in it was replaced meanwhile.
_LISTINGS: Final = 3


@dataclass(frozen=True)
class _Object:
    name: str
    key: str
    etag: str
    size: int


class _ReplacedError(Exception):
    """An object was replaced or removed after it was listed."""


@dataclass(frozen=True)
class S3Copies:
    """The copies in one cache folder; `show` gets a download, its done part and its size in MiB."""

    cache: Path
    show: Callable[[str, int, int], None]

    def directory(self, uri: str) -> Path:
        """Return a copy of the files in a directory, or in the one that the pointer `uri` names."""
        for _ in range(_LISTINGS):
            objects = self._listed(uri)
            if not objects:
                return self.directory(self._pointed(uri))
            with suppress(_ReplacedError):
                return self._copy(uri, objects)
        raise ArtifactUnavailableError(location=uri, problem="its objects are being replaced")

    def file(self, uri: str) -> Path:
        """Return a copy of an object."""
        for _ in range(_LISTINGS):
            found = self._head(uri)
            with suppress(_ReplacedError):
                return self._copy(uri, [found]) / found.name
        raise ArtifactUnavailableError(location=uri, problem="it is being replaced")

    def read(self, uri: str) -> tuple[bytes, str] | None:
        """Return the bytes and the ETag of a small object; None if there is none."""
        bucket, key = s3.split(uri)
        with reading(uri):
            try:
                return s3.fetch_whole(
                    lambda: self.client.get_object(Bucket=bucket, Key=key),
                    lambda answer: (answer["Body"].read(), str(answer["ETag"])),
                )
            except ClientError as error:
                if is_absent(error):
                    return None
                raise

    @cached_property
    def client(self) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        """The S3 client."""
        return s3.client()

    def _pointed(self, uri: str) -> str:
        found = self.read(uri.rstrip("/"))
        if found is None:
            raise ArtifactMissingError(location=uri)
        try:
            target = str(orjson.loads(found[0])[TARGET])
        except (ValueError, KeyError, TypeError) as error:
            problem = "it is one object, neither a directory nor a registry's pointer"
            raise ArtifactReadError(location=uri, problem=problem) from error
        return target if target.startswith("s3://") else f"{uri.rpartition('/')[0]}/{target}"

    def _listed(self, uri: str) -> list[_Object]:
        bucket, prefix = s3.split(f"{uri.rstrip('/')}/")
        with reading(uri):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter="/"
            )
            return [
                _Object(each["Key"].removeprefix(prefix), each["Key"], each["ETag"], each["Size"])
                for page in pages
                for each in page.get("Contents", ())
                if each["Key"] != prefix
            ]

    def _head(self, uri: str) -> _Object:
        bucket, key = s3.split(uri)
        with reading(uri):
            try:
                found = self.client.head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if is_absent(error):
                    raise ArtifactMissingError(location=uri) from error
                raise
        return _Object(key.rpartition("/")[2], key, found["ETag"], found["ContentLength"])

    def _copy(self, uri: str, objects: Sequence[_Object]) -> Path:
        bucket, key = s3.split(uri.rstrip("/"))
        digest = hashlib.sha256(json.dumps([[each.name, each.etag] for each in objects]).encode()).hexdigest()
        copy = self.cache / bucket / key / f"@{digest[:16]}"
        if _is_whole(copy, objects):
            with suppress(OSError):  # a cache that cannot be written still serves
                os.utime(copy)
            return copy
        draft = copy.with_name(f".tmp-{uuid.uuid4().hex}")
        with reading(uri):
            try:
                self._download(uri, bucket, objects, draft)
                if not _is_whole(copy, objects):  # else another process has made it meanwhile
                    shutil.rmtree(copy, ignore_errors=True)
                    with suppress(OSError):  # or in this very moment
                        draft.rename(copy)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            _remove_unused(copy)
        return copy

    def _download(self, uri: str, bucket: str, objects: Sequence[_Object], folder: Path) -> None:
        private_folder(folder)
        began, done, total = time.monotonic(), 0, sum(each.size for each in objects)

        def show(n_bytes: int) -> None:
            self.show(f"downloading {uri} (MiB)", _mebibytes(done + n_bytes), _mebibytes(total))

        for each in objects:
            ask = partial(self.client.get_object, Bucket=bucket, Key=each.key, IfMatch=each.etag)
            try:
                s3.fetch_whole(ask, partial(_save, each, folder / each.name, show))
                done += each.size
            except ClientError as error:
                if is_absent(error) or is_taken(error):
                    raise _ReplacedError from error
                raise
        structlog.get_logger().info(
            "artifact downloaded",
            location=uri,
            n_bytes=total,
            seconds=round(time.monotonic() - began, 3),
        )


def _is_whole(copy: Path, objects: Sequence[_Object]) -> bool:
    """Return whether the files of a copy are there, with their sizes."""
    try:
        return all((copy / each.name).stat().st_size == each.size for each in objects)
    except OSError:
        return False


def is_absent(error: ClientError) -> bool:
    """Return whether there is no such object."""
    return error.response["Error"]["Code"] in {"NoSuchKey", "404", "NotFound"}


def is_taken(error: ClientError) -> bool:
    """Return whether the condition of a request was not met, because the object has changed."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status in {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT}


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Translate the errors of S3 and of the disk of the cache."""
    try:
        yield
    except FAULTS as error:
        kind: type[RedistillError] = ArtifactReadError
        if not isinstance(error, OSError) and is_transient(error):
            kind = ArtifactUnavailableError
        raise kind(location=uri, problem=explained(error)) from error
    except s3.BrokenBodyError as error:
        raise ArtifactUnavailableError(location=uri, problem=one_line(error)) from error


def _save(wanted: _Object, path: Path, show: Callable[[int], None], answer: Any) -> None:  # noqa: ANN401 - boto3 creates its classes at run time
    n_bytes = 0
    with open_private(path) as file:
        for chunk in answer["Body"].iter_chunks(_CHUNK):
            n_bytes += file.write(chunk)
            show(n_bytes)
    if n_bytes != wanted.size:
        raise s3.BrokenBodyError(f"{n_bytes} of {wanted.size} bytes arrived")


def _mebibytes(n_bytes: int) -> int:
    return -(-n_bytes // 2**20)


def _remove_unused(copy: Path) -> None:
    """Remove the other copies of the same artifact that were not used for a week."""
    unused_since = time.time() - _UNUSED_SECONDS
    for other in copy.parent.glob("[@.]*"):
        with suppress(FileNotFoundError):
            if other != copy and other.stat().st_mtime < unused_since:
                shutil.rmtree(other, ignore_errors=True)
