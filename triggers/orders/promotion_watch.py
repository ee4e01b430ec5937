"""Whether a student that a job has promoted ends the drift: watched for its first evaluated cycles."""

from dataclasses import dataclass, replace

from db.records import Job
from db.states import JobRecovery


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A job's candidate that serves, and what its cycles have shown so far."""

    job: Job
    n_evaluated: int  #: its evaluated cycles since it was promoted
    n_healthy: int  #: of them healthy
    watch_cycles: int
    rolled_back_to: str | None = None  #: the version that serves again, if it did not recover

    @property
    def recovery(self) -> JobRecovery | None:
        """Known at its first healthy cycle, or when `watch_cycles` have brought none; None until then."""
        if self.n_healthy:
            return JobRecovery.RECOVERED
        return JobRecovery.NOT_RECOVERED if self.n_evaluated >= self.watch_cycles else None

    @property
    def settled(self) -> Job:
        """The job with what is known of it now."""
        return replace(self.job, recovery=self.recovery)

    @property
    def detail(self) -> str:
        """The same in one line."""
        version = (self.job.candidate_version or "")[:12]
        told = (
            f"the student {version} of job {self.job.job_id} serves, and of its {self.n_evaluated} evaluated "
            f"cycles {self.n_healthy or 'none'} was healthy"
        )
        if self.recovery is not JobRecovery.NOT_RECOVERED:
            return told
        counts = f"{told}: the job counts as a failed attempt"
        back = self.rolled_back_to
        return f"{counts}; the student {back[:12]} serves again" if back else counts
