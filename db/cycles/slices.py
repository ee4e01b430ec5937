"""The slices of a cycle's sample. Words of requests are never stored."""

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select

from db.records import SampledCycle, Slice, SliceNumbers
from db.states import SliceKind
from db.tables import cycles
from db.tables import slices as table


def add(connection: Connection, cycle_id: int, found: Iterable[Slice]) -> None:
    """Store the slices of a cycle in their order, except words."""
    stored = [each for each in found if each.kind is not SliceKind.WORD]
    rows = [_row(cycle_id, rank, each) for rank, each in enumerate(stored, start=1)]
    if rows:
        connection.execute(insert(table), rows)


def of_cycle(connection: Connection, cycle_id: int) -> tuple[Slice, ...]:
    """Return the stored slices of a cycle, the one whose excess has grown most first."""
    query = select(table).where(table.c.cycle_id == cycle_id).order_by(table.c.rank)
    return tuple(
        Slice(
            kind=SliceKind(row.kind),
            name=row.name,
            student_label=row.student_label,
            n=row.n,
            n_texts=row.n_texts,
            n_disagreements=row.n_disagreements,
            now=SliceNumbers(share=row.share, rate=row.rate, excess=row.excess),
            part=row.part,
            p_value=row.p_value,
            q_value=row.q_value,
            reference=None
            if row.reference_share is None
            else SliceNumbers(
                share=row.reference_share, rate=row.reference_rate, excess=row.reference_excess
            ),
            q_moved=row.q_moved,
        )
        for row in connection.execute(query)
    )


def sample_of(connection: Connection, monitor: str, cycle_id: int | None = None) -> SampledCycle | None:
    """Return the archived sample of a cycle, by default of the newest one that has a sample; None if none."""
    query = (
        select(cycles.c.id, cycles.c.window_end, cycles.c.archive, cycles.c.archive_sha256)
        .where(cycles.c.monitor == monitor, cycles.c.archive.is_not(None))
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )
    row = connection.execute(
        query if cycle_id is None else query.where(cycles.c.id == cycle_id)
    ).one_or_none()
    return row and SampledCycle(
        cycle_id=row.id, window_end=row.window_end, uri=row.archive, sha256=row.archive_sha256
    )


def _row(cycle_id: int, rank: int, found: Slice) -> dict[str, object]:
    before = found.reference
    return {
        "cycle_id": cycle_id,
        "rank": rank,
        "kind": found.kind,
        "name": found.name,
        "student_label": found.student_label,
        "n": found.n,
        "n_texts": found.n_texts,
        "n_disagreements": found.n_disagreements,
        "share": found.now.share,
        "rate": found.now.rate,
        "excess": found.now.excess,
        "part": found.part,
        "p_value": found.p_value,
        "q_value": found.q_value,
        "reference_share": before and before.share,
        "reference_rate": before and before.rate,
        "reference_excess": before and before.excess,
        "q_moved": found.q_moved,
    }
