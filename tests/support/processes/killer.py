"""Kills a process again and again, at random moments, and starts the next one at once."""

import signal
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Engine, Row, select

from db.connection.session import reading
from db.connection.unavailable import UNAVAILABLE
from db.states import CycleStatus, DeliveryState, JobStatus
from db.tables import cycles, deliveries, jobs
from tests.support.processes.product import Process, fork
from tests.support.world.installation import Site, logged, now
from triggers.channels.outbox import HOLD

_FREEZE_SECONDS: Final = 0.005
_LOOK_SECONDS: Final = 0.004
_YOUNG: Final = timedelta(seconds=20)


class Moment(StrEnum):
    """From when on a process has so many seconds to live."""

    START = "start"  #: its start
    CYCLE = "cycle"  #: it has claimed a slot
    VERDICT = "verdict"  #: the slot's sample is archived: the transaction is next
    JOB = "job"  #: it has claimed a job
    STAGED = "staged"  #: the candidate is saved, and about to be proved
    ADDED = "added"  #: the candidate is a version: the transaction is next, and then the link


class Mark(StrEnum):
    """What else can be seen of a process."""

    TRANSACTION = "in a transaction"  #: that writes
    TRAINING = "in a training"
    SENDING = "sending"  #: it waits for the answer of a channel
    UNLINKED = "before the link"  #: it has promoted, and the registry's link leads to the student before


@dataclass(frozen=True, kw_only=True)
class Aim:
    moment: Moment
    delay_seconds: float
    mark: Mark | None = None  #: what is waited for after that, as long as the killer's patience lasts


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a process that is about to be killed is in the middle of."""

    state: str
    row: int | None = None  #: its cycle or job
    spared: bool = False  #: one death more would change what the product rightly does
    marks: frozenset[Mark] = frozenset()
    messages: frozenset[int] = frozenset()  #: that were being sent, by this process or another


@dataclass(frozen=True, kw_only=True)
class Kill:
    name: str  #: of the killer
    aim: Aim
    sight: Sight


@dataclass(kw_only=True)
class Killer:
    """Keeps one command running in `site`, and has killed it once for each aim when `hunt` ends."""

    site: Site
    command: str
    aims: Iterable[Aim]
    look: Callable[[Process, datetime], Sight]  #: at the process, which was started then
    patience_seconds: float  #: how long a moment or a mark is waited for: there may be none
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)  #: of the processes: see `fork`
    is_strict: bool = False  #: who works when the moment is missed lives on until the next one
    is_over: Callable[[], bool] = lambda: False  #: nobody is killed any more
    kills: list[Kill] = field(default_factory=list)
    process: Process = field(init=False)
    _started_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._start()

    @property
    def is_young(self) -> bool:
        """Whether the process may not have loaded the product yet, on a busy machine."""
        return now() - self._started_at < _YOUNG

    def hunt(self) -> None:
        for aim in self.aims:
            if not self._kill(aim):
                return
            self._start()

    def _start(self) -> None:
        self._started_at = now()
        self.process = fork(self.site, self.command, **self.options)

    def _kill(self, aim: Aim) -> bool:
        while not self.is_over():
            is_missed = not self._wait_for(aim.moment)
            time.sleep(0 if is_missed else aim.delay_seconds)
            deadline = time.monotonic() + self.patience_seconds
            while not self.is_over():
                is_missed = is_missed or (aim.mark is not None and time.monotonic() > deadline)
                if self._killed(aim, is_missed=is_missed):
                    return True
                if is_missed or aim.mark is None:
                    break
                time.sleep(_LOOK_SECONDS)
        return False

    def _killed(self, aim: Aim, *, is_missed: bool) -> bool:
        """Whether what was seen was what the aim wants, or what there is when that is missed."""
        code = self.process.exit_code
        assert code is None, f"{self.command} has ended by itself ({code}):\n{self.process.log.read_text()}"
        self.process.signal(signal.SIGSTOP)
        time.sleep(_FREEZE_SECONDS)
        try:
            sight = self.look(self.process, self._started_at)
        except UNAVAILABLE:  # it was frozen with a lock that SQLite's readers want, or the machine is busy
            self.process.signal(signal.SIGCONT)
            return False
        is_wanted = aim.mark is None or aim.mark in sight.marks
        fits = sight.row is None or not self.is_strict if is_missed else is_wanted
        if fits and not sight.spared:
            self.process.kill()
            self.kills.append(Kill(name=self.name, aim=aim, sight=sight))
            return True
        self.process.signal(signal.SIGCONT)
        return False

    def _wait_for(self, moment: Moment) -> bool:
        """Whether it came."""
        deadline = time.monotonic() + self.patience_seconds
        before = self._count(moment)
        while moment is not Moment.START and self._count(moment) == before:
            if self.is_over() or time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _count(self, moment: Moment) -> int:
        match moment:
            case Moment.START:
                return 0
            case Moment.CYCLE | Moment.JOB:
                return sum(line["event"] == f"{moment} started" for line in logged(self.process.log))
            case Moment.VERDICT:
                return sum(path.stat().st_mtime_ns for path in self.site.archive.glob("*.zst"))
            case Moment.STAGED:
                return sum((path / "model.safetensors").exists() for path in self.site.staged())
            case Moment.ADDED:
                return len(self.site.versions)


def hunt_at_once(*killers: Killer) -> None:
    """Hunt with all killers. The failure of one ends the hunt of all, and is raised at once."""
    pool = ThreadPoolExecutor(len(killers))
    try:
        for hunt in as_completed([pool.submit(killer.hunt) for killer in killers]):
            hunt.result()
    finally:
        pool.shutdown(wait=False)


def daemon_sight(
    site: Site, engine: Engine, _process: Process, since: datetime, *, deaths: int, while_sending: bool
) -> Sight:
    """A slot's first death is followed by another attempt at once, its second after a minute. So that the
    slots stay in order until one has ordered a job, none dies twice before; then `deaths` times at most.
    """
    with reading(engine) as connection:
        own = (cycles.c.status == CycleStatus.RUNNING, cycles.c.started_at > since)
        row = connection.execute(select(cycles).where(*own)).one_or_none()
        has_ordered = connection.scalar(select(jobs.c.id)) is not None
        taken = (deliveries.c.state == DeliveryState.PENDING, deliveries.c.next_attempt_at > since + HOLD)
        sends = connection.scalar(select(deliveries.c.id).where(*taken)) is not None
    state = "between cycles" if row is None else progress(site, row)
    return Sight(
        state=f"{state}, sending" if sends else state,
        row=None if row is None else row.id,
        spared=(sends and not while_sending)
        or (row is not None and row.attempt > (deaths if has_ordered else 1)),
    )


def progress(site: Site, cycle: Row[Any]) -> str:
    """How far a running cycle is."""
    archive = site.archive / f"{cycle.window_end:%Y%m%dT%H%M%SZ}.jsonl.zst"
    is_archived = archive.exists() and archive.stat().st_mtime > cycle.started_at.timestamp()
    return "archived, not concluded" if is_archived else "measuring"


def worker_sight(site: Site, engine: Engine, _process: Process, _since: datetime, *, deaths: int) -> Sight:
    """A job that five workers have died with is given up, so it may die `deaths` times."""
    with reading(engine) as connection:
        job = connection.execute(select(jobs)).one_or_none()
    if job is None:
        return Sight(state="no job")
    if job.status != JobStatus.RUNNING:
        is_served = site.served == job.candidate_version
        return Sight(state=f"job {job.status}, {'served' if is_served else 'not served yet'}")
    if site.versions:
        state = "added, not promoted"
    elif site.staged():
        state = "proving"
    else:
        state = "training"
    return Sight(state=state, row=job.id, spared=job.attempt > deaths)
