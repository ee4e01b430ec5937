"""True labels of sampled requests, and the correctness of the two models by these labels."""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from db.cycles.rows import interval_of
from db.records import Correctness, Interval, LateLabel, OutcomeTally, SampledCycle, Slot
from db.states import CycleStatus, LabelOutcome, TeacherReason, VerdictReason
from db.tables import correctness, cycles, labels, teacher_metrics

#: The shares of a `Correctness`, each of which has an interval.
SHARES = ("teacher_right", "student_right", "both_wrong", "teacher_accuracy", "student_accuracy")


@dataclass(frozen=True, kw_only=True)
class LabelledSlot:
    """A window with true labels: the agreement of the two models in it, and their correctness."""

    slot: Slot
    agreement: float
    correctness: Correctness


@dataclass(frozen=True, kw_only=True)
class CycleCorrectness:
    """The correctness of the two models in one cycle."""

    cycle_id: int
    window_end: datetime
    teacher_version: str
    student_version: str
    correctness: Correctness


def request_hash(request_id: str) -> str:
    """Return the SHA-256 of a request's id, which identifies the request in SQL."""
    return hashlib.sha256(request_id.encode(errors="surrogatepass")).hexdigest()


def sampled_cycles(connection: Connection, monitor: str) -> Sequence[SampledCycle]:
    """Return the monitor's ended cycles whose samples were archived, newest first."""
    rows = connection.execute(
        select(cycles.c.id, cycles.c.window_end, cycles.c.archive, cycles.c.archive_sha256)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.status.in_((CycleStatus.EVALUATED, CycleStatus.INCONCLUSIVE)),
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end.desc())
    )
    return [
        SampledCycle(cycle_id=row.id, window_end=row.window_end, uri=row.archive, sha256=row.archive_sha256)
        for row in rows
    ]


def is_unchanged(connection: Connection, cycle: SampledCycle) -> bool:
    """Lock the cycle until the transaction ends; return whether its archive is the one that was read."""
    query = select(cycles.c.archive_sha256).where(cycles.c.id == cycle.cycle_id).with_for_update()
    return connection.scalar(query) == cycle.sha256


def of_cycle(connection: Connection, cycle_id: int) -> Mapping[str, str | None]:
    """Return the labels that were imported for a cycle, by the hash of the request."""
    query = select(labels.c.request_hash, labels.c.label).where(labels.c.cycle_id == cycle_id)
    return {row.request_hash: row.label for row in connection.execute(query)}


def put(connection: Connection, cycle_id: int, late: Sequence[LateLabel], now: datetime) -> None:
    """Store labels, replacing earlier ones of the same requests."""
    if not late:
        return
    earlier = (labels.c.cycle_id == cycle_id, labels.c.request_hash == bindparam("earlier"))
    connection.execute(delete(labels).where(*earlier), [{"earlier": each.request_hash} for each in late])
    rows = [{"cycle_id": cycle_id, "imported_at": now, **asdict(each)} for each in late]
    connection.execute(insert(labels), rows)


def set_answers(connection: Connection, cycle_id: int, late: Sequence[LateLabel]) -> None:
    """Store the models' new answers for the labelled requests of a cycle that was judged again."""
    if not late:
        return
    this = (labels.c.cycle_id == cycle_id, labels.c.request_hash == bindparam("labelled"))
    names = ("teacher_label", "student_label", "weight")
    connection.execute(
        update(labels).where(*this).values({name: bindparam(f"new_{name}") for name in names}),
        [
            {"labelled": each.request_hash, **{f"new_{name}": getattr(each, name) for name in names}}
            for each in late
        ],
    )


def forget(connection: Connection, monitor: str, request_hashes: Collection[str]) -> int:
    """Delete the labels of these requests in all cycles of the monitor; return how many there were."""
    own = select(cycles.c.id).where(cycles.c.monitor == monitor)
    return sum(
        connection.execute(
            delete(labels).where(labels.c.cycle_id.in_(own), labels.c.request_hash == each)
        ).rowcount
        for each in request_hashes
    )


def set_correctness(connection: Connection, cycle_id: int, found: Correctness) -> None:
    """Store the correctness of the two models in a cycle, replacing what was stored before."""
    connection.execute(delete(correctness).where(correctness.c.cycle_id == cycle_id))
    connection.execute(
        insert(correctness).values(
            cycle_id=cycle_id,
            n_labelled=found.n_labelled,
            n_disagreements=found.n_disagreements,
            n_out_of_scope=found.n_out_of_scope,
            tallies=json.dumps({each.outcome: (each.n, each.weight, each.squares) for each in found.tallies}),
            **_bounds(found),
        )
    )


def correctness_of(
    connection: Connection,
    monitor: str,
    *,
    until: datetime | None = None,
    pair: tuple[str, str] | None = None,
    teacher_version: str | None = None,
    newest: int | None = None,
) -> tuple[CycleCorrectness, ...]:
    """Return the correctness of the two models in the cycles that have labels, newest first.

    The arguments, where given, keep only windows that ended at `until` or before, one (teacher, student)
    version pair or one teacher, and at most `newest` cycles.
    """
    query = (
        select(correctness, cycles.c.window_end, cycles.c.teacher_version, cycles.c.student_version)
        .join(cycles, cycles.c.id == correctness.c.cycle_id)
        .where(cycles.c.monitor == monitor)
        .order_by(cycles.c.window_end.desc())
        .limit(newest)
    )
    if until is not None:
        query = query.where(cycles.c.window_end <= until)
    if pair is not None:
        query = query.where(cycles.c.teacher_version == pair[0], cycles.c.student_version == pair[1])
    if teacher_version is not None:
        query = query.where(cycles.c.teacher_version == teacher_version)
    return tuple(
        CycleCorrectness(
            cycle_id=row.cycle_id,
            window_end=row.window_end,
            teacher_version=row.teacher_version,
            student_version=row.student_version,
            correctness=_correctness(row),
        )
        for row in connection.execute(query)
    )


def of_moved_labels(connection: Connection, monitor: str) -> tuple[LabelledSlot, ...]:
    """Return the labelled windows that have no verdict because the teacher's mix of labels moved.

    They come oldest first, with the correctness by the labels so far.
    """
    query = (
        select(correctness, cycles.c.window_start, cycles.c.window_end, cycles.c.agreement)
        .join(cycles, cycles.c.id == correctness.c.cycle_id)
        .join(teacher_metrics, teacher_metrics.c.cycle_id == cycles.c.id)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.verdict_reason == VerdictReason.TEACHER_UNHEALTHY,
            teacher_metrics.c.reason == TeacherReason.LABELS_MOVED,
        )
        .order_by(cycles.c.window_end)
    )
    return tuple(
        LabelledSlot(
            slot=Slot(monitor=monitor, window_start=row.window_start, window_end=row.window_end),
            agreement=row.agreement,
            correctness=_correctness(row),
        )
        for row in connection.execute(query)
    )


def _bounds(found: Correctness) -> dict[str, float | None]:
    """Return three columns for each share, with NULL in place of NaN, which PostgreSQL would store."""
    columns: dict[str, float | None] = {}
    for name in SHARES:
        share: Interval = getattr(found, name)
        for end, value in (("", share.estimate), ("_low", share.low), ("_high", share.high)):
            columns[name + end] = None if math.isnan(value) else value
    return columns


def _correctness(row: Row[tuple[object, ...]]) -> Correctness:
    return Correctness(
        n_labelled=row.n_labelled,
        n_disagreements=row.n_disagreements,
        n_out_of_scope=row.n_out_of_scope,
        tallies=tuple(_tallies(json.loads(row.tallies))),
        **{name: interval_of(row, name) for name in SHARES},
    )


def _tallies(stored: Mapping[str, tuple[int, float, float]]) -> Iterable[OutcomeTally]:
    for outcome in LabelOutcome:
        n, weight, squares = stored[outcome]
        yield OutcomeTally(outcome=outcome, n=n, weight=weight, squares=squares)
