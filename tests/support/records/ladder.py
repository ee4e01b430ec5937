"""What has happened on a ladder in alpha, event by event, and what must be ordered by it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from db.states import JobDecision, JobRecovery, JobStatus, OrderReason
from triggers.settings import AlphaPolicy

POLICY: Final = AlphaPolicy(
    alpha=Decimal("0.7"),
    alpha_step=Decimal("0.2"),
    alpha_floor=Decimal("0.2"),
    max_attempts=3,
    cooldown=timedelta(minutes=90),
    watch_cycles=2,
)
COMPLETED: Final = (JobStatus.SUCCEEDED, JobStatus.REJECTED)
OPEN: Final = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(kw_only=True)
class Work:
    """A job, as far as the ladder goes."""

    teacher: str
    alpha_to: Decimal
    at: datetime  #: when it was ordered
    by_person: bool
    status: JobStatus = JobStatus.QUEUED
    ended_at: datetime | None = None
    decision: JobDecision | None = None
    replaced: str = ""  #: the student that its candidate came after
    recovery: JobRecovery | None = None


@dataclass(kw_only=True)
class Known:
    """What has happened."""

    teacher: str = "teacher-1"
    student: str = "student-1"
    made_by: dict[str, int] = field(default_factory=dict)  #: the job that made a student
    began_at: datetime | None = None  #: the ladder
    n_healthy: int = 0  #: evaluated cycles in a row, up to now
    reset_at: datetime | None = None  #: when so many were healthy that the drift before is over
    last_before: int = 0  #: the last job that a window until then ordered
    trial: int | None = None  #: the job whose candidate serves by itself, until it is known whether it helps
    n_tried: int = 0  #: evaluated cycles of it
    works: dict[int, Work] = field(default_factory=dict)
    at_end: bool = False  #: it was told that the teacher needs retraining, and no cycle was healthy since

    @property
    def own(self) -> list[Work]:
        """The ended jobs of this ladder, by their ends."""
        return self._ended_after(0)

    def _ended_after(self, job_id: int) -> list[Work]:
        found = [
            work
            for number, work in self.works.items()
            if number > job_id
            and work.teacher == self.teacher
            and (self.began_at is None or work.at >= self.began_at)
        ]
        return sorted((work for work in found if work.ended_at), key=ended_at)

    @property
    def is_reset(self) -> bool:
        """Whether a drift has ended since the ladder began."""
        return self.reset_at is not None and (self.began_at is None or self.reset_at >= self.began_at)

    @property
    def of_drift(self) -> list[Work]:
        return self._ended_after(self.last_before if self.is_reset else 0)

    def note_cycle(self, *, healthy: bool, now: datetime) -> None:
        """An evaluated cycle."""
        self.n_healthy = self.n_healthy + 1 if healthy else 0
        if self.n_healthy >= POLICY.watch_cycles:
            self.reset_at = now
            self.last_before = max(
                (number for number, work in self.works.items() if not work.by_person), default=0
            )

    @property
    def alpha(self) -> Decimal:
        """Where the ladder stands: one step for each job that made a candidate."""
        stepped = [work.alpha_to for work in self.of_drift if work.status in COMPLETED]
        if stepped:
            return stepped[-1]
        if self.is_reset:
            return POLICY.alpha
        maker = self.works.get(self.made_by.get(self.student, 0))
        return maker.alpha_to if maker and maker.teacher == self.teacher else POLICY.alpha

    @property
    def failures(self) -> int:
        """In a row, up to now."""
        count = 0
        for work in self.of_drift:
            if work.decision is JobDecision.HELD or work.recovery is JobRecovery.RECOVERED:
                count = 0
            else:
                is_failure = work.status in {JobStatus.REJECTED, JobStatus.FAILED}
                count += is_failure or work.recovery is JobRecovery.NOT_RECOVERED
        return count

    def expected(self, *, wanted: bool, now: datetime) -> OrderReason:
        """The first thing that is in the way of a job."""
        ends = [work.ended_at for work in self.works.values() if work.teacher == self.teacher]
        last = max((end for end in ends if end), default=None)
        is_open = any(work.status in OPEN for work in self.works.values())
        is_held = any(work.decision is JobDecision.HELD for work in self.own)
        in_the_way = {
            OrderReason.NOT_WANTED: not wanted,
            OrderReason.JOB_OPEN: is_open or is_held,
            OrderReason.WATCHING: self.trial is not None and self.works[self.trial].teacher == self.teacher,
            OrderReason.ATTEMPTS_EXHAUSTED: self.failures >= POLICY.max_attempts,
            OrderReason.AT_FLOOR: self.alpha <= POLICY.alpha_floor,
            OrderReason.COOLDOWN: last is not None and now - last < POLICY.cooldown,
        }
        return next((reason for reason, is_so in in_the_way.items() if is_so), OrderReason.ORDERED)


def ended_at(work: Work) -> datetime:
    assert work.ended_at is not None
    return work.ended_at
