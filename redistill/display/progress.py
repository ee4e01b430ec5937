"""Progress bars on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

#: Called with the name of a task, how much of it is done, and its total.
ShowProgress = Callable[[str, int, int], None]


def show_nothing(what: str, done: int, total: int) -> None:
    """Show no progress, for a process without a terminal."""
    del what, done, total


@contextmanager
def bars() -> Iterator[ShowProgress]:
    """Yield a function that shows a bar per task on standard error during the block; no bars in a pipe."""
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
