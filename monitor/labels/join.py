"""The join of labels that arrive later with the sampled requests, by request id, cycle by cycle.

Each cycle is one transaction, and only ended cycles are written: the daemon's writes do not interfere, and a
process that dies leaves only complete cycles behind.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from db.accuracy import estimates, teacher_calibrations
from db.connection.session import reading, writing
from db.cycles import labels
from db.errors import RedistillError
from db.records import SampledCycle
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import ScoredSample
from monitor.labels.files import GivenLabel, Malformed
from monitor.labels.given import GivenLabels, labels_on_disk
from monitor.labels.truth import Late, accuracy_of, correctness_of, hashes, late_labels
from triggers.estimated_accuracy import believed

#: Receives the number of samples read and their total.
Progress = Callable[[int, int], None]


class NothingLabelledError(RedistillError):
    """None of the {n_read} rows has a label for a request; the first, line {line}, has {problem}: name the
    fields with --id and --label.
    """


class NothingJoinedError(RedistillError):
    """None of the {n} requests is in a readable sample. {n_unread} of the samples cannot be read; the first
    error: {first}
    """


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The result of importing a file of labels."""

    n_read: int  #: rows
    n_malformed: int
    first_malformed: Malformed | None
    n_requests: int  #: that have a label in the file
    n_joined: int  #: requests of the file that are in a sample
    n_changed: int  #: labels that are new or differ from before
    n_unknown: int  #: labels of sampled requests that the models do not know
    first_unknown: str | None
    n_cycles: int  #: whose numbers were computed again
    n_unread: int  #: samples that could not be read
    first_unread: str | None

    @property
    def n_unsampled(self) -> int:
        """Return the number of requests that are in no sample."""
        return self.n_requests - self.n_joined


def import_labels(
    engine: Engine,
    monitor: str,
    rows: Iterable[GivenLabel | Malformed],
    *,
    kept: timedelta,
    now: datetime,
    progress: Progress,
    labels_are_random: bool = True,
) -> Imported:
    """Store the labels of sampled requests, and what follows from them, in the monitor's cycles.

    That is the correctness of both models and, if the labels are of requests that were drawn at random, the
    student's estimated accuracy. Samples are read once each, from the newest to the oldest that is kept,
    until all requests are found. A label replaces one that the log or an earlier import gave. Importing a
    file again changes nothing.

    Raises:
        NothingLabelledError: the file has rows, but none has a label.
        NothingJoinedError: no request was found, and some samples could not be read.
    """
    read = _Rows(rows)
    with labels_on_disk(read) as given:
        if read.first_malformed and not given.n_requests:
            first = read.first_malformed
            raise NothingLabelledError(n_read=read.n, line=first.line, problem=first.problem)
        join = _Join(
            engine=engine, monitor=monitor, given=given, now=now, labels_are_random=labels_are_random
        )
        join.join_all(_within(_sampled(engine, monitor), kept), progress)
        if join.unread and not given.n_joined:
            raise NothingJoinedError(n=given.n_requests, n_unread=len(join.unread), first=join.unread[0])
        return Imported(
            n_read=read.n,
            n_malformed=read.n_malformed,
            first_malformed=read.first_malformed,
            n_requests=given.n_requests,
            n_joined=given.n_joined,
            n_changed=join.n_changed,
            n_unknown=len(join.unknown),
            first_unknown=join.unknown[0] if join.unknown else None,
            n_cycles=join.n_cycles,
            n_unread=len(join.unread),
            first_unread=str(join.unread[0]) if join.unread else None,
        )


class _Rows:
    """The usable rows of a file, and the count of the others read so far."""

    def __init__(self, rows: Iterable[GivenLabel | Malformed]) -> None:
        self.n = 0
        self.n_malformed = 0
        self.first_malformed: Malformed | None = None
        self._rows = rows

    def __iter__(self) -> Iterator[GivenLabel]:
        for row in self._rows:
            self.n += 1
            if isinstance(row, GivenLabel):
                yield row
            else:
                self.n_malformed += 1
                self.first_malformed = self.first_malformed or row


@dataclass(kw_only=True)
class _Join:
    engine: Engine
    monitor: str
    given: GivenLabels
    now: datetime
    labels_are_random: bool
    n_changed: int = 0
    unknown: list[str] = field(default_factory=list)
    n_cycles: int = 0
    unread: list[ArchiveReadError] = field(default_factory=list)

    def join_all(self, cycles: list[SampledCycle], progress: Progress) -> None:
        places = Places()
        for number, cycle in enumerate(cycles, start=1):
            if self.given.n_joined == self.given.n_requests:
                break
            try:
                content = files.content_of(cycle.uri, places)
                self._join(cycle, files.sample_in(content, cycle.uri, sha256=cycle.sha256))
            except ArchiveReadError as error:
                self.unread.append(error)
            progress(number, len(cycles))

    def _join(self, cycle: SampledCycle, sample: ScoredSample) -> None:
        found = self.given.of(hashes(sample))
        if not found:
            return
        known = set(sample.labels)
        self._write(cycle, sample, {key: label if label in known else None for key, label in found.items()})
        self.given.mark_joined(found)
        self.unknown += [label for label in found.values() if label not in known]

    def _write(self, cycle: SampledCycle, sample: ScoredSample, late: Late) -> None:
        with writing(self.engine) as connection:
            if not labels.is_unchanged(connection, cycle):
                raise ArchiveReadError(
                    path=cycle.uri, problem="it was changed meanwhile; import the file again"
                )
            before = labels.of_cycle(connection, cycle.cycle_id)
            changed = {key for key, label in late.items() if key not in before or before[key] != label}
            if not changed:
                return
            labels.put(connection, cycle.cycle_id, late_labels(sample, late, changed), self.now)
            known = {**before, **late}
            if correctness := correctness_of(sample, known):
                labels.set_correctness(connection, cycle.cycle_id, correctness)
            self._set_accuracy(connection, cycle, sample, known)
        self.n_changed += len(changed)
        self.n_cycles += 1

    def _set_accuracy(
        self, connection: Connection, cycle: SampledCycle, sample: ScoredSample, known: Late
    ) -> None:
        version = sample.teacher_version
        found = accuracy_of(
            sample,
            known,
            calibration=teacher_calibrations.in_force(connection, self.monitor, version),
            labels_are_random=self.labels_are_random,
        )
        before = estimates.contradicted_before(connection, self.monitor, version, cycle.window_end)
        health, reason = estimates.health_at(connection, cycle.cycle_id)
        shown = believed(found, health, reason, contradicted_before=before)
        estimates.put(connection, cycle.cycle_id, found, shown, contradicted_before=before)


def _sampled(engine: Engine, monitor: str) -> list[SampledCycle]:
    with reading(engine) as connection:
        return list(labels.sampled_cycles(connection, monitor))


def _within(cycles: list[SampledCycle], kept: timedelta) -> list[SampledCycle]:
    """Return the cycles whose archives have not expired."""
    return [each for each in cycles if each.window_end >= cycles[0].window_end - kept]
