"""What daemons and workers are in the middle of, and when one more death would be one too many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, select

from db.connection.session import reading
from db.states import CycleStatus, DeliveryState, JobStatus
from db.tables import cycles, deliveries, jobs, leases
from tests.chaos.database_locks import is_writing, ports_of
from tests.support.processes.killer import Kill, Mark, Sight, progress
from tests.support.processes.product import Process
from tests.support.servers.receiver import Receiver
from tests.support.world.installation import MONITOR, Site, logged, now
from triggers.channels.outbox import HOLD

#: A message that was taken so long ago is under way, or its sender has died since.
_UNDER_WAY: Final = timedelta(seconds=1)
#: How many workers a job may have lost by then. One that five have died with is given up.
_DEATHS: Final = {"training": 3, "proving": 4, "added, not promoted": 4}


@dataclass(frozen=True, kw_only=True)
class DaemonSight:
    """A slot's first death is followed by another attempt at once, its second after a minute, and a message's
    after two. So no slot dies twice, nor a message, and at the end, when all wait for them, none at all.
    """

    site: Site
    engine: Engine
    receiver: Receiver
    kills: Sequence[Kill]  #: so far, by all
    messages_may_die: Callable[[], bool]

    def __call__(self, process: Process, _since: datetime) -> Sight:
        with reading(self.engine) as connection:
            # On a busy machine a slot can lose its lease as well: it waits, as running, while another runs.
            running = (
                select(cycles)
                .where(cycles.c.status == CycleStatus.RUNNING)
                .order_by(cycles.c.started_at.desc())
            )
            holds = is_held_by(connection, f"monitor:{MONITOR}", process)
            cycle = connection.execute(running).first() if holds else None
            taken = (
                deliveries.c.state == DeliveryState.PENDING,
                deliveries.c.next_attempt_at > now() + HOLD - _UNDER_WAY,
            )
            messages = frozenset(connection.scalars(select(deliveries.c.id).where(*taken)))
        state = "between cycles" if cycle is None else progress(self.site, cycle)
        return Sight(
            state=state,
            row=None if cycle is None else cycle.id,
            spared=(cycle is not None and cycle.attempt > 1) or self._have_died(messages),
            marks=self._marks(process),
            messages=messages,
        )

    def _have_died(self, messages: frozenset[int]) -> bool:
        died = {message for kill in [*self.kills] for message in kill.sight.messages}
        return bool(messages) and (not self.messages_may_die() or not died.isdisjoint(messages))

    def _marks(self, process: Process) -> frozenset[Mark]:
        found = {Mark.TRANSACTION} if is_writing(self.engine, process) else set()
        under_way = set(self.receiver.under_way)
        if under_way and under_way & ports_of(process):
            found.add(Mark.SENDING)
        return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class WorkerSight:
    """Of a job's four deaths that are allowed three are in its training: one is left for what follows."""

    site: Site
    engine: Engine

    def __call__(self, process: Process, _since: datetime) -> Sight:
        with reading(self.engine) as connection:
            found = connection.execute(select(jobs).order_by(jobs.c.id)).all()
            own = bool(found) and is_held_by(connection, f"job:{found[-1].id}", process)
        marks = {Mark.TRANSACTION} if is_writing(self.engine, process) else set()
        if not found:
            return Sight(state="no job", marks=frozenset(marks))
        job = found[-1]
        if job.status == JobStatus.SUCCEEDED and has_ended(process, job.id):
            marks |= set() if self.site.served == job.candidate_version else {Mark.UNLINKED}
            return Sight(state=f"job {job.status}", marks=frozenset(marks))
        if not own or job.status != JobStatus.RUNNING:
            return Sight(state="no job", marks=frozenset(marks))
        state = self._progress(job.id, n_jobs=len(found))
        marks |= {Mark.TRAINING} if state == "training" else set()
        return Sight(state=state, row=job.id, spared=job.attempt > _DEATHS[state], marks=frozenset(marks))

    def _progress(self, job_id: int, *, n_jobs: int) -> str:
        if len(self.site.versions) == n_jobs:
            return "added, not promoted"
        return "proving" if self.site.staged(job_id) else "training"


def is_held_by(connection: Connection, lease: str, process: Process) -> bool:
    """Whether the process has the lease, and has not given it back."""
    row = connection.execute(select(leases).where(leases.c.name == lease)).one_or_none()
    return row is not None and f":{process.pid}:" in row.owner and row.expires_at > now()


def has_ended(process: Process, job_id: int) -> bool:
    """Whether it is the process that has brought the job to its end."""
    return any(line["event"] == "job ended" and line["job_id"] == job_id for line in logged(process.log))
