"""The same work by several threads or processes at the same moment."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine

from db.connection.session import connect

T = TypeVar("T")
WAIT_SECONDS = 60


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """What `count` threads get that start together; each is told its number."""
    barrier = threading.Barrier(count)

    def run(number: int) -> T:
        barrier.wait(WAIT_SECONDS)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count), timeout=WAIT_SECONDS))


def in_processes(
    count: int, url: str, work: Callable[[Engine, int], T], *, seconds: float = WAIT_SECONDS
) -> list[T]:
    """What `count` processes get that start together, each with an engine of its own."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(count), context.Queue()

    def run(number: int) -> None:
        engine = connect(url)
        try:
            barrier.wait(WAIT_SECONDS)
            answers.put((None, work(engine, number)))
        except BaseException as error:  # noqa: BLE001 - the parent raises it
            answers.put((repr(error), None))
        finally:
            engine.dispose()

    processes = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=seconds) for _ in processes]
    for process in processes:
        process.join(WAIT_SECONDS)
    assert [error for error, _ in found if error] == []
    return [answer for _, answer in found]
