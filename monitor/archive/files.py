"""The archived samples, from which numbers can be recomputed and on which workers train.

Their URIs are PLACE/<monitor>/<window end>.jsonl.zst, where the place is a folder or s3://bucket/prefix. The
sample of a window that was judged again is <window end>.<digits of its SHA-256>.jsonl.zst, because the
earlier archive is needed until the new judgement is committed.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from db.records import Archive, Slot
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import NotASampleError, ScoredSample, packed, parsed

_STAMP = "%Y%m%dT%H%M%SZ"
_DIGITS = 12
_NAME = re.compile(r"\.?(\d{8}T\d{6}Z)(?:\.[0-9a-f]+)?\.jsonl\.(?:zst|gz)(?:\..*\.tmp)?")


def write(
    place: str | Path,
    sample: ScoredSample,
    *,
    beside: bool = False,
    encryption: Mapping[str, str] | None = None,
) -> Archive:
    """Write the sample of a slot, in place of an earlier one of the same slot, or `beside` it.

    `encryption` has the parameters of uploads to S3.

    Raises:
        ArchiveWriteError: the disk is full, the permissions are insufficient, or the like; an earlier file is
            unchanged, and no other file is left.
    """
    slot, content = sample.slot, packed(sample)
    sha256 = hashlib.sha256(content).hexdigest()
    own = f".{sha256[:_DIGITS]}" if beside else ""
    uri = f"{folder_of(place, slot.monitor)}/{slot.window_end:{_STAMP}}{own}.jsonl.zst"
    Places(encryption).of(uri).put(uri, content)
    return Archive(uri=uri, sha256=sha256)


def keep_only(place: str | Path, slot: Slot, kept: str | None, *, before: Archive | None) -> None:
    """Delete the slot's archives except the one with the URI `kept`; `before` may be in another place.

    File names are compared, not URIs, since the same place can be written in several ways.

    Raises:
        ArchiveReadError, ArchiveWriteError: the folder cannot be listed, or a file cannot be deleted.
    """
    folder, places = folder_of(place, slot.monitor), Places()
    there = places.of(folder)
    own = [name for name in there.names(folder) if _stamp(name) == f"{slot.window_end:{_STAMP}}"]
    uris = {f"{folder}/{name}" for name in own} | ({before.uri} if before else set())
    for uri in uris:
        if kept is None or Path(uri).name != Path(kept).name:
            places.of(uri).delete(uri)


def read(uri: str, *, sha256: str | None = None) -> ScoredSample:
    """Return the sample of an archive. With `sha256`, its bytes must be those that were written.

    Raises:
        ArchiveReadError: the file does not exist, is damaged or changed, or is not an archive.
    """
    return sample_in(content_of(uri, Places()), uri, sha256=sha256)


def content_of(uri: str, places: Places) -> bytes:
    """Return the bytes of an archive. Raises ArchiveReadError."""
    content = places.of(uri).get(uri)
    if content is None:
        raise ArchiveReadError(
            path=uri, problem="there is no such file; it may have expired ('archive_days')"
        )
    return content


def sample_in(content: bytes, uri: str, *, sha256: str | None = None) -> ScoredSample:
    """Return the sample in the bytes of the archive with that URI. Errors as for `read`."""
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ArchiveReadError(path=uri, problem="it was changed after it was written")
    try:
        return parsed(content)
    except NotASampleError as error:
        raise ArchiveReadError(path=uri, problem=error) from error


def expire(place: str | Path, monitor: str, *, before: datetime) -> tuple[str, ...]:
    """Delete the monitor's archives of windows that ended before `before`, and return their URIs.

    Temporary files that killed processes left for such windows are deleted, too. Other files are not touched.

    Raises:
        ArchiveReadError, ArchiveWriteError: the folder cannot be listed, or a file cannot be deleted.
    """
    folder = folder_of(place, monitor)
    there = Places().of(folder)
    expired = [name for name in there.names(folder) if _ended_before(name, before)]
    for name in expired:
        there.delete(f"{folder}/{name}")
    return tuple(f"{folder}/{name}" for name in expired if not name.startswith("."))


def unlisted(folder: str, listed: Collection[str]) -> tuple[str, ...]:
    """Return the URIs of a folder's archives that are not listed, and of temporary files of killed processes.

    File names are compared, not URIs, since the same place can be written in several ways.
    """
    known = {Path(uri).name for uri in listed}
    names = Places().of(folder).names(folder)
    return tuple(f"{folder}/{name}" for name in names if _stamp(name) and name not in known)


def folder_of(place: str | Path, monitor: str) -> str:
    """Return the folder of a monitor's archives."""
    return f"{str(place).rstrip('/')}/{monitor}"


def _stamp(name: str) -> str | None:
    found = _NAME.fullmatch(name)
    return found and found[1]


def _ended_before(name: str, before: datetime) -> bool:
    stamp = _stamp(name)
    return stamp is not None and datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC) < before
