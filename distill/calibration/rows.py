"""Archived requests that a student is calibrated on: which ones there are, and the rows themselves.

The archives have the logits of both models, so that no model runs, and redacted texts do not matter.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.archives.cycle_archives import NewestTeacher, StudentArchive
from db.states import CalibrationSource, TeacherHealth
from monitor.archive import files
from monitor.archive.sample import ScoredSample
from monitor.labels.truth import Late, known_labels
from monitor.stop import Stopped, StoppedError
from triggers.calibration_settings import CalibrationPolicy
from triggers.incidents.recalibration_due import SOURCES, RowsOffered

#: The rows that a calibration on traffic needs, and the most that it reads.
MIN_ROWS: Final = 300
MAX_ROWS: Final = 10_000

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ArchivesOffered(RowsOffered):
    """Archives of the student with enough rows, newest first."""

    archives: tuple[StudentArchive, ...]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the hashes of the archives."""
        return hashlib.sha256("".join(each.sha256 for each in self.archives).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class TrafficRows:
    """The rows of archives; all arrays have n rows."""

    labels: tuple[str, ...]  #: one per column of the logits
    student_logits: Floats  #: (n, labels)
    teacher_logits: Floats  #: (n, labels)
    truth: Ints  #: the true labels; none in rows for the teacher
    weights: Floats  #: of each row in the traffic, in any unit


def offered(
    archives: Sequence[StudentArchive],
    teacher: NewestTeacher | None,
    on: CalibrationPolicy,
    *,
    labels_are_random: bool,
) -> ArchivesOffered | None:
    """Return the best source of traffic that `on` allows and that has at least `MIN_ROWS` rows, or None.

    `archives` are those of the student, newest first. True labels count only if they are of requests that
    were drawn at random. The teacher counts only in evaluated cycles, and not while it is unhealthy.
    """
    for source in SOURCES[on.on]:
        if source is CalibrationSource.TRAFFIC_LABELS and labels_are_random:
            found = _newest([each for each in archives if each.n_labelled], lambda each: each.n_labelled)
        elif source is CalibrationSource.TEACHER and teacher is not None and _can_judge(teacher):
            found = _newest([each for each in archives if _is_judged(each, teacher)], lambda each: each.n)
        else:
            continue
        if found:
            return ArchivesOffered(source=source, rows_until=found[0].window_end, archives=found)
    return None


def labelled_rows(chosen: ArchivesOffered, late: Callable[[int], Late], stopped: Stopped) -> TrafficRows:
    """Read the requests whose true label is known, and is one of the models' labels.

    `late` returns the labels that were imported for a cycle. People label disagreements of the two models
    more often than other requests. So each row counts as many times as it stands for requests in its window,
    and agreements and disagreements have the shares that they have in all rows of the archives.

    Source: Cochran 1977, "Sampling Techniques", section 5A.9 (post-stratification).

    Raises:
        ArchiveReadError: an archive is missing or damaged.
        StoppedError: `stopped` returned True.
    """
    parts, agreements, all_weights, all_agreements = [], [], [], []
    for archive in chosen.archives:
        sample = _read(archive, stopped)
        known = known_labels(sample, late(archive.cycle_id))
        true = {row: sample.labels.index(each) for row, each in known.items() if each in sample.labels}
        agrees = sample.teacher_logits.argmax(axis=1) == sample.student_logits.argmax(axis=1)
        all_weights.append(sample.strata.weights)
        all_agreements.append(agrees)
        agreements.append(agrees[list(true)])
        parts.append(_rows(sample, list(true), list(true.values())))
    rows = _together(parts)
    shares = post_stratified(
        rows.weights, np.concatenate(agreements), np.concatenate(all_weights), np.concatenate(all_agreements)
    )
    return replace(rows, weights=shares)


def teacher_rows(chosen: ArchivesOffered, stopped: Stopped) -> TrafficRows:
    """Read all requests of the archives. Errors are as for `labelled_rows`."""
    samples = (_read(each, stopped) for each in chosen.archives)
    return _together([_rows(sample, slice(None), ()) for sample in samples])


def post_stratified(
    weights: Floats, agrees: NDArray[np.bool_], all_weights: Floats, all_agree: NDArray[np.bool_]
) -> Floats:
    """Return the weights of rows, with agreements and disagreements scaled to their shares of all rows.

    Source: as for `labelled_rows`.

    Example:
        >>> labelled, everyone = np.ones(2), np.ones(10)
        >>> agrees, all_agree = np.array([True, False]), np.arange(10) < 9
        >>> post_stratified(labelled, agrees, everyone, all_agree).tolist()
        [9.0, 1.0]
    """
    scaled = weights.copy()
    for rows, everyone in ((agrees, all_agree), (~agrees, ~all_agree)):
        if rows.any():
            scaled[rows] *= all_weights[everyone].sum() / weights[rows].sum()
    return scaled


def _newest(
    archives: Sequence[StudentArchive], n_of: Callable[[StudentArchive], int]
) -> tuple[StudentArchive, ...]:
    """Return the newest archives with at most `MAX_ROWS` rows, but one at least; none below `MIN_ROWS`."""
    sizes = [*accumulate(n_of(each) for each in archives)]
    kept = sum(1 for index, size in enumerate(sizes) if index == 0 or size <= MAX_ROWS)
    return tuple(archives[:kept]) if kept and sizes[kept - 1] >= MIN_ROWS else ()


def _can_judge(teacher: NewestTeacher) -> bool:
    return teacher.health is not TeacherHealth.UNHEALTHY


def _is_judged(archive: StudentArchive, teacher: NewestTeacher) -> bool:
    return archive.is_evaluated and archive.teacher_version == teacher.version


def _read(archive: StudentArchive, stopped: Stopped) -> ScoredSample:
    if stopped():
        raise StoppedError
    return files.read(archive.uri, sha256=archive.sha256)


def _rows(sample: ScoredSample, rows: list[int] | slice, truth: Sequence[int]) -> TrafficRows:
    return TrafficRows(
        labels=sample.labels,
        student_logits=sample.student_logits[rows].astype(np.float64),
        teacher_logits=sample.teacher_logits[rows].astype(np.float64),
        truth=np.array(truth, dtype=np.int64),
        weights=sample.strata.weights[rows],
    )


def _together(parts: Sequence[TrafficRows]) -> TrafficRows:
    """Return the rows of all parts, with the labels in the order of the first part."""
    labels = parts[0].labels
    columns = [[part.labels.index(label) for label in labels] for part in parts]
    numbers = [np.array([labels.index(label) for label in part.labels]) for part in parts]
    return TrafficRows(
        labels=labels,
        student_logits=np.concatenate(
            [part.student_logits[:, own] for part, own in zip(parts, columns, strict=True)]
        ),
        teacher_logits=np.concatenate(
            [part.teacher_logits[:, own] for part, own in zip(parts, columns, strict=True)]
        ),
        truth=np.concatenate([own[part.truth] for part, own in zip(parts, numbers, strict=True)]),
        weights=np.concatenate([part.weights for part in parts]),
    )
