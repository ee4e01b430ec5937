"""How far a long piece of work has come: a bar on a terminal, nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

#: Shows how far a piece of work has come: its name, how much is done, of how much.
ShowProgress = Callable[[str, int, int], None]


def show_nothing(what: str, done: int, total: int) -> None:
    """For a process that nobody watches."""
    del what, done, total


@contextmanager
def bars() -> Iterator[ShowProgress]:
    """A bar for each piece of work, on the standard error while the block lasts; none in a pipe."""
    if not sys.stderr.isatty():
        yield show_nothing
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)
            if done >= total:
                progress.remove_task(tasks.pop(what))

        yield show
