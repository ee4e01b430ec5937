"""Artifacts in S3. A pointer is an object, and a directory is whole once its last file is there."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import orjson
from boto3.exceptions import Boto3Error
from botocore.exceptions import ClientError

from monitor.storage import s3
from monitor.storage.disk import private_folder
from monitor.storage.s3_copies import TARGET, S3Copies, is_absent, is_taken, reading
from monitor.storage.store import ArtifactReadError, ArtifactWriteError
from triggers.aws import FAULTS, explained

_SHA256: Final = "sha256"  #: the metadata of an uploaded file
#: How often a conditional write is repeated because another process wrote first.
_CONDITIONAL_ATTEMPTS: Final = 5
_MOST_DELETED: Final = 1_000  #: S3's limit for one request


@dataclass(frozen=True)
class S3Store:
    """A bucket, or a prefix in one. An interrupted upload resumes with the first file that is not there."""

    uri: str
    copies: S3Copies
    encryption: Mapping[str, str]

    @cached_property
    def staging(self) -> Path:
        """A folder beside the copies."""
        folder = self.copies.cache / f"staging-{hashlib.sha256(self.uri.encode()).hexdigest()[:16]}"
        private_folder(folder)
        return folder

    def location(self, key: str) -> str:
        """Return the URI of a key."""
        return f"{self.uri.rstrip('/')}/{key}"

    def names(self, key: str) -> tuple[str, ...]:
        """Return the names under a prefix."""
        bucket, prefix = s3.split(f"{self.location(key).rstrip('/')}/")
        with reading(self.location(key)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, Delimiter="/"
            )
            found = {
                name.removeprefix(prefix).rstrip("/")
                for page in pages
                for name in (
                    *(each["Key"] for each in page.get("Contents", ())),
                    *(each["Prefix"] for each in page.get("CommonPrefixes", ())),
                )
            }
        return tuple(sorted(found - {""}))

    def modified(self, key: str) -> datetime | None:
        """Return when the newest object under a prefix was written."""
        with reading(self.location(key)):
            return max((each["LastModified"] for each in self._objects(key)), default=None)

    def size(self, key: str) -> int:
        """Return the bytes of the objects under a prefix."""
        with reading(self.location(key)):
            return sum(int(each["Size"]) for each in self._objects(key))

    def fetch(self, key: str) -> Path:
        """Return a copy of an object."""
        return self.copies.file(self.location(key))

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a small object."""
        found = self.copies.read(self.location(key))
        return None if found is None else found[0]

    def put(self, key: str, staged: Path) -> None:
        """Upload a file, in parts if it is large."""
        with self._writing(key):
            try:
                self._upload(key, staged)
            finally:
                staged.unlink(missing_ok=True)

    def put_directory(self, key: str, staged: Path, *, last: str) -> None:
        """Upload a directory, its last file under the condition that there is none."""
        with self._writing(key):
            try:
                for path in sorted(staged.iterdir()):
                    if path.name != last:
                        self._upload_unless_there(f"{key}/{path.name}", path)
                content = (staged / last).read_bytes()
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        self.create(f"{key}/{last}", content)

    def create(self, key: str, content: bytes) -> bytes:
        """Store a small object under the condition that there is none."""
        with self._writing(key):
            for _ in range(_CONDITIONAL_ATTEMPTS):
                if self._put_if(key, content, IfNoneMatch="*"):
                    return content
                if (found := self.read(key)) is not None:
                    return found
        raise ArtifactWriteError(location=self.location(key), problem="other processes keep changing it")

    def publish(self, key: str, content: bytes) -> None:
        """Store a small object; the policy of the bucket says who may read it."""
        with self._writing(key):
            self._put_if(key, content)

    def remove(self, key: str) -> None:
        """Remove an object and all objects under the prefix."""
        bucket, own = s3.split(self.location(key))
        with self._writing(key):
            keys = [{"Key": own}, *({"Key": each["Key"]} for each in self._objects(key))]
            for begin in range(0, len(keys), _MOST_DELETED):
                some = keys[begin : begin + _MOST_DELETED]
                answer = self._client.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True})
                for failed in answer.get("Errors", ()):
                    problem = f"{failed.get('Code')}: {failed.get('Message')}"
                    raise ArtifactWriteError(location=self.location(key), problem=problem)

    def remove_directory(self, key: str, *, last: str) -> None:
        """Remove the file that makes the directory whole, then the others."""
        self.remove(f"{key}/{last}")
        self.remove(key)

    def remove_incomplete(self, key: str, *, last: str, before: datetime) -> None:
        """Remove what uploads that never ended have left."""
        for name in self.names(key):
            each = f"{key}/{name}"
            if last in self.names(each):
                continue
            modified = self.modified(each)
            if modified is not None and modified < before:
                self.remove(each)

    def point(self, name: str, target: str) -> bool:
        """Replace the pointer under the condition that nobody else has replaced it meanwhile."""
        wanted = target.removeprefix(self.location(""))
        content = orjson.dumps({TARGET: wanted}, option=orjson.OPT_APPEND_NEWLINE)
        with self._writing(name):
            for attempt in range(_CONDITIONAL_ATTEMPTS):
                found = self.copies.read(self.location(name))
                if found is not None and found[0] == content:
                    return attempt > 0  # after an attempt: this process wrote it, and the answer was lost
                condition = {"IfNoneMatch": "*"} if found is None else {"IfMatch": found[1]}
                if self._put_if(name, content, **condition):
                    return True
        raise ArtifactWriteError(location=self.location(name), problem="other processes keep changing it")

    def pointed(self, name: str) -> str | None:
        """Return the location in the pointer."""
        found = self.read(name)
        if found is None:
            return None
        try:
            target = str(orjson.loads(found)[TARGET])
        except (ValueError, KeyError, TypeError) as error:
            problem = "it is not a registry's pointer; `redistill models promote VERSION` writes it again"
            raise ArtifactReadError(location=self.location(name), problem=problem) from error
        return target if target.startswith(("s3://", "/")) else self.location(target)

    @property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
        return self.copies.client

    def _objects(self, key: str) -> Iterator[Mapping[str, Any]]:
        bucket, prefix = s3.split(f"{self.location(key).rstrip('/')}/")
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return (each for page in pages for each in page.get("Contents", ()))

    def _upload_unless_there(self, key: str, path: Path) -> None:
        bucket, own = s3.split(self.location(key))
        try:
            found = self._client.head_object(Bucket=bucket, Key=own)
        except ClientError as error:
            if not is_absent(error):
                raise
        else:
            if found["ContentLength"] == path.stat().st_size and found["Metadata"].get(_SHA256) == _sha256(
                path
            ):
                return
        self._upload(key, path)

    def _upload(self, key: str, path: Path) -> None:
        bucket, own = s3.split(self.location(key))
        extra = {"Metadata": {_SHA256: _sha256(path)}, **self.encryption}
        self._client.upload_file(str(path), bucket, own, ExtraArgs=extra)

    def _put_if(self, key: str, content: bytes, **condition: str) -> bool:
        """Write a small object under a condition; return whether it was met.

        If the answer is lost, the repeated request finds the object of the first one and reports that the
        condition was not met. Callers therefore compare what is there with what they want.
        """
        bucket, own = s3.split(self.location(key))
        try:
            self._client.put_object(
                Bucket=bucket, Key=own, Body=BytesIO(content), **condition, **self.encryption
            )
        except ClientError as error:
            if is_taken(error):
                return False
            raise
        return True

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except (*FAULTS, Boto3Error) as error:
            problem = getattr(error, "strerror", None) or explained(error)
            raise ArtifactWriteError(location=self.location(key), problem=problem) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
