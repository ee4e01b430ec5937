"""What the teacher has answered already: the archives are the cache of its logits.

So it is shared by all who read the archive, needs no other store, and forgets what is erased and what has
expired (ADR 8).
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.archive import files
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import ScoredSample

Logits = NDArray[np.float32]


def known_logits(archives: Iterable[tuple[str, str]], *, limit_bytes: int) -> Mapping[str, Logits]:
    """The teacher's logits (labels,) by text, from archives (uri, SHA-256) of one teacher, newest first.

    They are read until `limit_bytes`, of compressed archives, are reached; 0 gives nothing. A text that was
    redacted before it was archived is not known. A damaged archive is told to the log, and passed over.

    Raises:
        ArchiveReadError: one cannot be fetched now.
    """
    known: dict[str, Logits] = {}
    places, left = Places(), limit_bytes
    for uri, sha256 in archives:
        if left <= 0:
            break
        content = files.content_of(uri, places)
        left -= len(content)
        try:
            sample = files.sample_in(content, uri, sha256=sha256)
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
