"""The archived samples: what the numbers can be recomputed from, and what a worker trains on.

PLACE/<monitor>/<window end>.jsonl.zst, where the place is a folder or s3://bucket/prefix.
"""

import hashlib
import re
from datetime import UTC, datetime
from pathlib import Path

from db.records import Archive
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import NotASampleError, ScoredSample, packed, parsed

_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"\.?(\d{8}T\d{6}Z)\.jsonl\.(?:zst|gz)(?:\..*\.tmp)?")


def write(place: str | Path, sample: ScoredSample) -> Archive:
    """Write the sample of a slot, in place of an earlier one of the same slot.

    Raises:
        ArchiveWriteError: disk full, no rights, …; an earlier file is still there, and nothing else is.
    """
    slot = sample.slot
    uri = f"{_folder(place, slot.monitor)}/{slot.window_end:{_STAMP}}.jsonl.zst"
    content = packed(sample)
    Places().of(uri).put(uri, content)
    return Archive(uri=uri, sha256=hashlib.sha256(content).hexdigest())


def read(uri: str, *, sha256: str | None = None) -> ScoredSample:
    """The sample that was written. With `sha256` the bytes must be those that were written.

    Raises:
        ArchiveReadError: no such file, damaged, changed, or not an archive.
    """
    return sample_in(content_of(uri, Places()), uri, sha256=sha256)


def content_of(uri: str, places: Places) -> bytes:
    """The bytes of an archive. Raises ArchiveReadError."""
    content = places.of(uri).get(uri)
    if content is None:
        raise ArchiveReadError(path=uri, problem="there is no such file; 'archive_days' may have passed")
    return content


def sample_in(content: bytes, uri: str, *, sha256: str | None = None) -> ScoredSample:
    """The sample in the bytes of the archive of that uri. Errors as for `read`."""
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ArchiveReadError(path=uri, problem="it was changed after it was written")
    try:
        return parsed(content)
    except NotASampleError as error:
        raise ArchiveReadError(path=uri, problem=error) from error


def expire(place: str | Path, monitor: str, *, before: datetime) -> tuple[str, ...]:
    """Delete the monitor's archives of windows that ended before `before`; returns their uris.

    What a killed process left of one goes with it. Other files are left alone.

    Raises:
        ArchiveReadError, ArchiveWriteError: the folder cannot be listed, or a file not deleted.
    """
    folder = _folder(place, monitor)
    there = Places().of(folder)
    expired = [name for name in there.names(folder) if _ended_before(name, before)]
    for name in expired:
        there.delete(f"{folder}/{name}")
    return tuple(f"{folder}/{name}" for name in expired if not name.startswith("."))


def _folder(place: str | Path, monitor: str) -> str:
    return f"{str(place).rstrip('/')}/{monitor}"


def _ended_before(name: str, before: datetime) -> bool:
    found = _NAME.fullmatch(name)
    return found is not None and datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC) < before
