"""The cache of the teacher's logits, which are taken from the archives.

All readers of the archive share the cache, it needs no other store, and it loses what is erased or has
expired (ADR 8).
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.archive import files
from monitor.archive.places import ArchiveReadError, ArchiveUnavailableError, Places
from monitor.archive.sample import ScoredSample

Logits = NDArray[np.float32]


def known_logits(archives: Iterable[tuple[str, str]], *, limit_bytes: int) -> Mapping[str, Logits]:
    """Return a teacher's logits (labels,) by text, from its archives (uri, SHA-256), newest first.

    Archives are read until `limit_bytes` of compressed archives are reached; 0 gives nothing. Texts that were
    redacted before they were archived are not known. An archive that is missing, damaged or unreadable is
    logged and skipped: the teacher is asked again.

    Raises:
        ArchiveUnavailableError: an archive cannot be fetched from S3 now.
    """
    known: dict[str, Logits] = {}
    places, left = Places(), limit_bytes
    for uri, sha256 in archives:
        if left <= 0:
            break
        try:
            content = files.content_of(uri, places)
            left -= len(content)
            sample = files.sample_in(content, uri, sha256=sha256)
        except ArchiveUnavailableError:
            raise
        except ArchiveReadError as error:
            structlog.get_logger().warning("archive passed over", error=str(error))
            continue
        for text, logits in _unredacted(sample):
            known.setdefault(text, logits)
    return known


def _unredacted(sample: ScoredSample) -> Iterator[tuple[str, Logits]]:
    if sample.redacted is None:
        return
    rows = zip(sample.requests, sample.redacted, sample.teacher_logits, strict=True)
    for request, redacted, logits in rows:
        if not redacted:
            yield request.text, logits
