"""The watch over a promoted candidate: whether its first evaluated cycles end the drift."""

from dataclasses import dataclass, replace

from db.records import Job
from db.states import JobRecovery


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A job's candidate in service, and the results of its cycles so far."""

    job: Job
    n_evaluated: int  #: evaluated cycles since the promotion
    n_healthy: int  #: healthy ones among them
    watch_cycles: int
    rolled_back_to: str | None = None  #: the version in service again, if the candidate did not recover
    lost: str | None = None  #: the version that cannot serve again, as its files are not where they were
    by_labels: bool = False  #: true labels decided for the candidate, against the teacher's answers
    improves: bool = False  #: promoted for a proven gain, below the threshold of the condemned sample

    @property
    def recovery(self) -> JobRecovery | None:
        """Recovered at the first healthy cycle, not recovered after `watch_cycles`; None before that."""
        if self.n_healthy:
            return JobRecovery.RECOVERED
        return JobRecovery.NOT_RECOVERED if self.n_evaluated >= self.watch_cycles else None

    @property
    def settled(self) -> Job:
        """The job with its recovery as far as known."""
        return replace(self.job, recovery=self.recovery)

    @property
    def detail(self) -> str:
        """The result in one line."""
        version = (self.job.candidate_version or "")[:12]
        text = (
            f"student {version} of job {self.job.job_id}: {self.n_healthy} of {self.n_evaluated} evaluated "
            f"cycles healthy (watch_cycles {self.watch_cycles})"
        )
        if self.recovery is not JobRecovery.NOT_RECOVERED:
            return text
        text = f"{text}; the job counts as a failed attempt"
        if self.by_labels:
            return f"{text}, but the student stays: by true labels it is better than the one before"
        if self.improves:
            return f"{text}, but the student stays: it agrees with its teacher more than the one before"
        if self.lost is not None:
            return f"{text}, and student {self.lost[:12]} cannot serve again: its files are gone or changed"
        back = self.rolled_back_to
        return f"{text}, and student {back[:12]} is in service again" if back else text
