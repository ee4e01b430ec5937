"""The causes of failed cycles in words."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from db.states import CycleStatus
from redistill.display import show
from redistill.display.show import Row


def print_failures(cycles: Sequence[Row]) -> None:
    """Print why cycles failed, one line per run of cycles with the same error."""
    lines = list(_lines([cycle for cycle in cycles if cause(cycle)]))
    if lines:
        show.say("\nFailed cycles, which a daemon retries within catch_up:")
        show.facts(lines)


def cause(cycle: Row) -> str | None:
    """Return the error that ended the last attempt at a cycle that has no result, or None."""
    is_open = cycle["status"] in {CycleStatus.FAILED, CycleStatus.RUNNING}
    return str(cycle["error"]) if is_open and cycle["error"] else None


def _lines(failed: Sequence[Row]) -> Iterator[tuple[str, show.Cell]]:
    for error, group in groupby(failed, key=cause):
        cycles = list(group)
        first, last = (show.time(cycles[end]["window_end"]) for end in (0, -1))
        windows = first if len(cycles) == 1 else f"{first} to {last} ({len(cycles)} cycles)"
        yield windows, str(error)
