"""The port to a request log, wherever it lies."""

from dataclasses import dataclass
from datetime import datetime
from typing import IO, Protocol

from db.records import ObjectVersion, Reject, Traffic
from db.states import RejectReason
from monitor.sampling import BottomK
from monitor.sources.request import Request
from monitor.stop import Stopped

#: What was counted, but is no unusable record of the window.
NOT_REJECTED = frozenset({RejectReason.OUTSIDE_WINDOW, RejectReason.LATE_OBJECT})


@dataclass(frozen=True, kw_only=True)
class WindowSample:
    """The sampled requests of a window, in the order of their hashes, and what else was found in it."""

    requests: tuple[Request, ...]
    traffic: Traffic


class TrafficSource(Protocol):
    """Samples windows of a request log."""

    def read_window(
        self, window_start: datetime, window_end: datetime, *, k: int, stopped: Stopped
    ) -> WindowSample:
        """The k usable requests with the smallest keyed hashes among those of the window.

        The same for the same log, whatever was read before. An id that comes twice in the window
        counts once, with its earliest record. What cannot be used is counted and stops nothing.

        Raises:
            TrafficMissingError: there is no log.
            TrafficUnavailableError: it cannot be read now; a later attempt may succeed.
            StoppedError: `stopped` said so.
        """
        ...


def new_bottom(k: int, key: str, spill: IO[bytes] | None = None) -> BottomK[Request]:
    """An empty sample of requests; `spill`: see `DistinctCount`."""
    return BottomK(k, key, tie_break=_tie_break, spill=spill)


def window_sample(
    requests: tuple[Request, ...],
    n_seen: int,
    rejects: tuple[Reject, ...],
    objects: tuple[ObjectVersion, ...] = (),
) -> WindowSample:
    """The sample of a log that has been read to its end."""
    traffic = Traffic(
        n_seen=n_seen,
        n_sampled=len(requests),
        n_rejected=sum(each.n for each in rejects if each.reason not in NOT_REJECTED),
        rejects=rejects,
        objects=objects,
    )
    return WindowSample(requests=requests, traffic=traffic)


def _tie_break(request: Request) -> tuple[object, ...]:
    return (request.time, request.text, request.student_label or "", request.student_logits or ())
