"""The log events with which attempts at slots end."""

from datetime import datetime

from structlog.typing import FilteringBoundLogger

from db.records import Claim, QuietResult
from db.states import ShadowState
from monitor.stop import StoppedError
from triggers.conclude import Conclusion


def report(log: FilteringBoundLogger, ended: Conclusion) -> None:
    """Log the decision on a cycle, and that on the candidate in shadow."""
    log.info(
        "cycle ended",
        verdict=ended.judgement.verdict.value,
        reason=ended.judgement.reason.value,
        detail=ended.judgement.detail,
        teacher=ended.teacher.health.value,
        order=ended.order.reason.value,
        job_id=ended.order.job_id,
    )
    if ended.shadow is not None:
        event = "shadow continues" if ended.shadow.state is ShadowState.RUNNING else "shadow ended"
        log.info(event, state=ended.shadow.state.value, detail=ended.shadow.detail)


def report_quiet(
    log: FilteringBoundLogger, claim: Claim, result: QuietResult, *, min_samples: int, judged_by: datetime
) -> None:
    """Log a window that waits for the next slot; `judged_by` is its latest end."""
    log.info(
        "window is quiet",
        since=claim.slot.window_start.isoformat(),
        n_seen=result.traffic.n_seen,
        min_samples=min_samples,
        n_slots=claim.n_slots,
        judged_by=judged_by.isoformat(),
    )


def report_without_result(log: FilteringBoundLogger, claim: Claim, error: Exception) -> None:
    """Log an attempt that was given back."""
    if claim.earlier is not None:
        log.info("cycle left as it was", reason=str(error))
    elif isinstance(error, StoppedError):
        log.info("cycle given back")
    else:
        log.warning("cycle waits for the database", error=str(error))
