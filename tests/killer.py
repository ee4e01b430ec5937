"""Kills a process again and again, at random moments, and starts the next one at once."""

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Engine, Row, select

from db.session import reading
from db.states import CycleStatus, DeliveryState, JobStatus
from db.tables import cycles, deliveries, jobs
from tests.processes import Process, fork
from tests.site import Site, logged, now
from triggers.outbox import HOLD

_FREEZE_SECONDS: Final = 0.005


class Moment(StrEnum):
    """From when on a process has so many seconds to live."""

    START = "start"  #: its start
    CYCLE = "cycle"  #: it has claimed a slot
    VERDICT = "verdict"  #: the slot's sample is archived: the transaction is next
    JOB = "job"  #: it has claimed a job
    STAGED = "staged"  #: the candidate is saved, and about to be proved
    ADDED = "added"  #: the candidate is a version: the transaction is next, and then the link


@dataclass(frozen=True, kw_only=True)
class Aim:
    moment: Moment
    delay_seconds: float


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a process that is about to be killed is in the middle of."""

    state: str
    row: int | None = None  #: its cycle or job
    spared: bool = False  #: one death more would change what the product rightly does


@dataclass(frozen=True, kw_only=True)
class Kill:
    aim: Aim
    sight: Sight


@dataclass(kw_only=True)
class Killer:
    """Keeps one command running in `site`, and has killed it once for each aim when `hunt` ends."""

    site: Site
    command: str
    aims: Sequence[Aim]
    look: Callable[[datetime], Sight]  #: at the process that was started then
    patience_seconds: float  #: how long a moment is waited for: there may be none
    kills: list[Kill] = field(default_factory=list)
    process: Process = field(init=False)
    _started_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    def hunt(self) -> None:
        for aim in self.aims:
            self._kill(aim)
            self._start()

    def _start(self) -> None:
        self._started_at = now()
        self.process = fork(self.site, self.command)

    def _kill(self, aim: Aim) -> None:
        while True:
            self._wait_for(aim.moment)
            time.sleep(aim.delay_seconds)
            self.process.signal(signal.SIGSTOP)
            time.sleep(_FREEZE_SECONDS)
            sight = self.look(self._started_at)
            if not sight.spared:
                self.process.kill()
                self.kills.append(Kill(aim=aim, sight=sight))
                return
            self.process.signal(signal.SIGCONT)

    def _wait_for(self, moment: Moment) -> None:
        deadline = time.monotonic() + self.patience_seconds
        before = self._count(moment)
        while moment is not Moment.START and self._count(moment) == before and time.monotonic() < deadline:
            time.sleep(0.002)

    def _count(self, moment: Moment) -> int:
        match moment:
            case Moment.START:
                return 0
            case Moment.CYCLE | Moment.JOB:
                return sum(line["event"] == f"{moment} started" for line in logged(self.process.log))
            case Moment.VERDICT:
                return sum(path.stat().st_mtime_ns for path in self.site.archive.glob("*.gz"))
            case Moment.STAGED:
                return len(list(self.site.registry.glob(".tmp-*/model.safetensors")))
            case Moment.ADDED:
                return len(list(self.site.registry.glob("versions/*")))


def hunt_at_once(*killers: Killer) -> None:
    with ThreadPoolExecutor(len(killers)) as pool:
        for hunt in [pool.submit(killer.hunt) for killer in killers]:
            hunt.result()


def daemon_sight(site: Site, engine: Engine, since: datetime, *, deaths: int, while_sending: bool) -> Sight:
    """A slot's first death is followed by another attempt at once, its second after a minute. So that the
    slots stay in order until one has ordered a job, none dies twice before; then `deaths` times at most.
    """
    with reading(engine) as connection:
        own = (cycles.c.status == CycleStatus.RUNNING, cycles.c.started_at > since)
        row = connection.execute(select(cycles).where(*own)).one_or_none()
        has_ordered = connection.scalar(select(jobs.c.id)) is not None
        taken = (deliveries.c.state == DeliveryState.PENDING, deliveries.c.next_attempt_at > since + HOLD)
        sends = connection.scalar(select(deliveries.c.id).where(*taken)) is not None
    state = "between cycles" if row is None else _progress(site, row)
    return Sight(
        state=f"{state}, sending" if sends else state,
        row=None if row is None else row.id,
        spared=(sends and not while_sending)
        or (row is not None and row.attempt > (deaths if has_ordered else 1)),
    )


def _progress(site: Site, cycle: Row[Any]) -> str:
    archive = site.archive / f"{cycle.window_end:%Y%m%dT%H%M%SZ}.jsonl.gz"
    is_archived = archive.exists() and archive.stat().st_mtime > cycle.started_at.timestamp()
    return "archived, not concluded" if is_archived else "measuring"


def worker_sight(site: Site, engine: Engine, _since: datetime, *, deaths: int) -> Sight:
    """A job that five workers have died with is given up, so it may die `deaths` times."""
    with reading(engine) as connection:
        job = connection.execute(select(jobs)).one_or_none()
    if job is None:
        return Sight(state="no job")
    if job.status != JobStatus.RUNNING:
        is_served = site.served == job.candidate_version
        return Sight(state=f"job {job.status}, {'served' if is_served else 'not served yet'}")
    if any(site.registry.glob("versions/*")):
        state = "added, not promoted"
    elif any(site.registry.glob(".tmp-*")):
        state = "proving"
    else:
        state = "training"
    return Sight(state=state, row=job.id, spared=job.attempt > deaths)
