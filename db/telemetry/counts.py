"""Running counts: each is increased in the transaction of what it counts, and never decreases."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from db.connection.upsert import insert_for
from db.tables import running_counts

#: Upper bounds of a histogram's buckets, in seconds; the last bucket has none.
BUCKETS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0)
#: The label of the bucket without an upper bound.
INFINITE: Final = "+Inf"


class Count(NamedTuple):
    """An addition to one count."""

    name: str
    labels: str  #: JSON, in alphabetical order
    by: float


def count(name: str, by: float = 1, /, **labels: str) -> Count:
    """Return the addition of `by` to a count.

    Example:
        >>> count("cycles_total", verdict="healthy")
        Count(name='cycles_total', labels='{"verdict": "healthy"}', by=1)
    """
    return Count(name, json.dumps(labels, sort_keys=True), by)


def observed(name: str, seconds: float, /, **labels: str) -> tuple[Count, Count]:
    """Return what a duration adds to a histogram: one to its bucket, and the duration to the sum.

    Example:
        >>> bucket, total = observed("delivery_seconds", 0.2, channel="pager")
        >>> bucket.labels, total
        ('{"channel": "pager", "le": "0.3"}', Count('delivery_seconds_sum', '{"channel": "pager"}', 0.2))
    """
    place = bisect_left(BUCKETS, seconds)
    bound = str(BUCKETS[place]) if place < len(BUCKETS) else INFINITE
    return count(f"{name}_bucket", **labels, le=bound), count(f"{name}_sum", seconds, **labels)


def add(connection: Connection, monitor: str, counts: Iterable[Count]) -> None:
    """Add to the monitor's counts, in the transaction of what is counted.

    The rows are written in one order, so that two processes never wait for each other.
    """
    rows = [{"monitor": monitor, "name": name, "labels": labels, "value": by} for name, labels, by in counts]
    rows.sort(key=lambda row: (row["name"], row["labels"]))
    if not rows:
        return
    statement = insert_for(connection)(running_counts)
    total = running_counts.c.value + statement.excluded.value
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(running_counts.primary_key.columns), set_={"value": total}
        ),
        rows,
    )


def of_monitor(connection: Connection, monitor: str) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Return the monitor's counts by name, each with its labels."""
    rows = connection.execute(
        select(running_counts.c.name, running_counts.c.labels, running_counts.c.value).where(
            running_counts.c.monitor == monitor
        )
    )
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for row in rows:
        found.setdefault(row.name, []).append((json.loads(row.labels), row.value))
    return found
