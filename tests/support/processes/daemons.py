"""Monitors that were started as processes: what they have done, by their own words, and how they end."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx

from tests.support.processes.product import ROOT, Process, running, spawn
from tests.support.processes.waiting import wait_until
from tests.support.world.installation import Site, logged

STOP_SECONDS: Final = 10  #: in which a monitor ends that is asked to
_HOLD_SECONDS: Final = 5.0  #: less than anybody waits for a lock
_BETWEEN_SECONDS: Final = 1.0  #: longer than a transaction takes


@contextmanager
def monitoring(site: Site, *arguments: str, tree: Path = ROOT) -> Iterator[Process]:
    """`redistill monitor`, from when on it is ready."""
    with running(spawn, site, "monitor", *arguments, tree=tree) as daemon:
        wait_until(lambda: web_of(daemon) is not None, "a monitor that has started")
        wait_until(lambda: is_ready(daemon), "a monitor that is ready")
        yield daemon


def web_of(daemon: Process) -> str | None:
    started = (str(line["web"]) for line in logged(daemon.log) if line["event"] == "monitor started")
    return next(started, None)


def is_ready(daemon: Process) -> bool:
    return httpx.get(f"{web_of(daemon)}/readyz", timeout=10).status_code == httpx.codes.OK


def run_by(*daemons: Process, since: datetime | None = None) -> list[str]:
    """The ends of the windows, later than `since`, whose cycles they have brought to their end."""
    ends = (
        line["window_end"]
        for daemon in daemons
        for line in logged(daemon.log)
        if line["event"] == "cycle ended"
    )
    return [end for end in ends if since is None or datetime.fromisoformat(end) > since]


def has_a_cycle(daemon: Process) -> bool:
    """Whether one is under way."""
    events = [line["event"] for line in logged(daemon.log) if line["event"].startswith("cycle ")]
    return events[-1:] == ["cycle started"]


def hold(daemon: Process, *, until: Callable[[], bool]) -> None:
    """Let it stand still, from when it has no cycle under way, and for a while at most: it may hold a lock.

    The ticks of two daemons may be such that one of them sees each slot first; so the other comes to its own.
    """
    time.sleep(_BETWEEN_SECONDS)
    wait_until(lambda: not has_a_cycle(daemon), "a time without a cycle", every=0.01)
    daemon.signal(signal.SIGSTOP)
    deadline = time.monotonic() + _HOLD_SECONDS
    while not until() and time.monotonic() < deadline:
        time.sleep(0.005)
    daemon.signal(signal.SIGCONT)


def stop_in_a_cycle(daemon: Process, *, beside: Process | None = None) -> float:
    """Ask it to stop with a cycle under way, which it gives back or brings to its end; how long it takes."""
    deadline = time.monotonic() + 60
    while not has_a_cycle(daemon):
        assert time.monotonic() < deadline, "no cycle to stop in"
        if beside is None:
            time.sleep(0.005)
        else:
            hold(beside, until=lambda: has_a_cycle(daemon))
    asked = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(STOP_SECONDS) == 0
    seconds = time.monotonic() - asked
    events = [line["event"] for line in logged(daemon.log)]
    after = events[events.index("monitor stops") :]
    assert {"cycle given back", "cycle ended"} & set(after), "no cycle was under way"
    assert not has_a_cycle(daemon)
    return seconds
