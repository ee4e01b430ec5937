"""The requests that were erased, remembered by the hashes of their ids: no later cycle archives them again.

The hashes are in a file beside the archives of a monitor, since a backfill may read a window of any age.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from db.cycles.labels import request_hash
from db.records import Archive
from monitor.archive import files
from monitor.archive.places import Places
from monitor.archive.sample import ScoredSample, without

_NAME: Final = "erased.txt"


def remember(folder: str, request_ids: Iterable[str], places: Places) -> None:
    """Add requests to those that are erased from the archives in a folder.

    Raises:
        ArchiveReadError, ArchiveWriteError: the file cannot be read or written.
    """
    known = _hashes_in([folder], places)
    wanted = known | set(map(request_hash, request_ids))
    if wanted != known:
        uri = f"{folder}/{_NAME}"
        places.of(uri).put(uri, "".join(f"{each}\n" for each in sorted(wanted)).encode())


def write(
    place: str | Path,
    sample: ScoredSample,
    *,
    names: Sequence[str],
    beside: bool,
    encryption: Mapping[str, str] | None = None,
) -> Archive:
    """Archive the requests of a sample that are not erased, as `files.write` does.

    `names` are those that the monitor has had. An erasure first remembers its requests and then looks for
    archives. So an erasure that began meanwhile either is seen here, after the archive was written, or finds
    the archive.
    """
    places = Places(encryption)
    folders = [files.folder_of(place, name) for name in names]
    erased = _hashes_in(folders, places)
    while True:
        ids = {each.id for each in sample.requests if request_hash(each.id) in erased}
        kept = without(sample, ids) if ids else sample
        archive = files.write(place, kept, beside=beside, encryption=encryption)
        before, erased = erased, _hashes_in(folders, places)
        if before == erased:
            return archive


def _hashes_in(folders: Iterable[str], places: Places) -> frozenset[str]:
    found = (places.of(folder).get(f"{folder}/{_NAME}") for folder in folders)
    return frozenset(line.decode() for content in found if content for line in content.split())
