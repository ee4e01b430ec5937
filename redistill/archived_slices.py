"""The slices of an archived sample, words included, with examples of their requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from db.archives import cycle_archives
from db.cycles import history
from db.errors import RedistillError, one_line
from db.records import SampledCycle, Slice
from monitor.archive import files
from monitor.archive.places import ArchiveReadError
from monitor.archive.sample import ScoredSample
from monitor.slices.samples import disagreements_in, ranked, ranked_words, texts_of
from monitor.slices.texts import Texts

_LONGEST: Final = 120  #: characters of an example; the rest is cut


class NoSampleError(RedistillError):
    """{what} has no archived sample: `redistill history` lists the cycles; samples are kept for
    {archive_days} days ('archive_days').
    """


@dataclass(frozen=True, kw_only=True)
class Example:
    """A request of a slice on which the models disagree."""

    text: str  #: as archived, in one line, cut
    teacher_label: str
    student_label: str


@dataclass(frozen=True, kw_only=True)
class SliceWithExamples:
    """A slice with some of its disagreements."""

    slice: Slice
    examples: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True)
class ArchivedSlices:
    """The slices of one cycle: those by answer or length, then those by word."""

    cycle_id: int
    window_end: datetime
    n: int  #: requests of the archived sample
    n_disagreements: int
    reference_cycle_id: int | None  #: the cycle that it is compared with, if its sample is still archived
    slices: tuple[SliceWithExamples, ...]


@dataclass(frozen=True, kw_only=True)
class ArchivedPair:
    """The archived sample of a cycle, and that of its reference."""

    cycle: SampledCycle
    reference: SampledCycle | None


def find(connection: Connection, monitor: str, cycle_id: int | None, *, archive_days: int) -> ArchivedPair:
    """Return the samples of a cycle, by default of the newest one with a sample, and of its reference.

    Raises:
        NoSampleError: the cycle has no sample, or there is no such cycle.
    """
    cycle = cycle_archives.sample_of_cycle(connection, monitor, cycle_id)
    if cycle is None:
        what = "The monitor" if cycle_id is None else f"Cycle {cycle_id}"
        raise NoSampleError(what=what, archive_days=archive_days)
    drift = history.input_drift_of(connection, cycle.cycle_id)
    reference = (
        None
        if drift is None
        else cycle_archives.sample_of_cycle(connection, monitor, drift.reference_cycle_id)
    )
    return ArchivedPair(cycle=cycle, reference=reference)


def read_slices(pair: ArchivedPair, *, n_examples: int) -> ArchivedSlices:
    """Rank the slices of an archived sample. A reference that cannot be read is left out.

    Raises:
        ArchiveReadError: the sample of the cycle cannot be read.
    """
    sample = files.read(pair.cycle.uri, sha256=pair.cycle.sha256)
    now, then = texts_of(sample), _reference(pair.reference)
    found = (*ranked(now, sample.labels, then), *ranked_words(now, then))
    shown: set[int] = set()
    return ArchivedSlices(
        cycle_id=pair.cycle.cycle_id,
        window_end=pair.cycle.window_end,
        n=len(sample.requests),
        n_disagreements=int(now.counts[now.disagrees].sum()),
        reference_cycle_id=pair.reference.cycle_id if pair.reference and then else None,
        slices=tuple(
            SliceWithExamples(slice=each, examples=tuple(_examples(each, now, sample, n_examples, shown)))
            for each in found
        ),
    )


def _reference(cycle: SampledCycle | None) -> Texts | None:
    try:
        return None if cycle is None else texts_of(files.read(cycle.uri, sha256=cycle.sha256))
    except ArchiveReadError:
        return None


def _examples(found: Slice, now: Texts, sample: ScoredSample, n: int, shown: set[int]) -> Iterator[Example]:
    """Yield the first disagreements of a slice, those that an earlier slice has shown last."""
    rows = disagreements_in(found, now, sample.labels).tolist()
    for row in sorted(rows, key=shown.__contains__)[:n]:
        shown.add(row)
        text = one_line(now.texts[row])
        yield Example(
            text=text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…",
            teacher_label=sample.labels[now.teacher[row]],
            student_label=sample.labels[now.student[row]],
        )
