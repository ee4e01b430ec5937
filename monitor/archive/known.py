"""What the teacher has answered already: the archives are the cache of its logits.

So it is shared by all who read the archive, needs no other store, forgets what is erased and what has
expired, and a slot that is run again finds what it found the first time (ADR 8).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from db.records import Slot
from monitor.archive import files
from monitor.archive.places import ArchiveReadError
from monitor.archive.sample import ScoredSample

Logits = NDArray[np.float32]


def known_logits(
    place: str | Path, slot: Slot, *, teacher_version: str, labels: Sequence[str], limit_bytes: int
) -> Mapping[str, Logits]:
    """The teacher's logits (labels,) by text, from archives of the monitor's windows before the slot's.

    They are read from the newest on until one is of another teacher or `limit_bytes`, of compressed
    archives, are exceeded; 0 gives nothing. A text that was redacted before it was archived is not known. An
    archive that cannot be read is told to the log, and passed over.
    """
    known: dict[str, Logits] = {}
    left = limit_bytes
    for uri in files.before(place, slot) if limit_bytes else ():
        try:
            content = files.content_of(uri)
            left -= len(content)
            if left < 0:
                break
            sample = files.sample_in(content, uri)
        except ArchiveReadError as error:
            structlog.get_logger().warning("archive passed over", error=str(error))
            continue
        if (sample.teacher_version, sample.labels) != (teacher_version, tuple(labels)):
            break
        known = {**_unredacted(sample), **known}
    return known


def _unredacted(sample: ScoredSample) -> Mapping[str, Logits]:
    if sample.redacted is None:
        return {}
    rows = zip(sample.requests, sample.redacted, sample.teacher_logits, strict=True)
    return {request.text: logits for request, redacted, logits in rows if not redacted}
