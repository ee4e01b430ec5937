"""The port to a request log, wherever it lies."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Protocol

import numpy as np

from db.records import ObjectVersion, Reject, Stratum, Traffic
from db.states import RejectReason
from monitor.sampling import BottomK, Draw
from monitor.sources.request import Request
from monitor.stop import Stopped
from monitor.strata import Strata

#: What was counted, but is no unusable record of the window.
NOT_REJECTED = frozenset({RejectReason.OUTSIDE_WINDOW, RejectReason.LATE_OBJECT})


@dataclass(frozen=True, kw_only=True)
class WindowSample:
    """The sampled requests of a window, in the order of their hashes, and what else was found in it."""

    requests: tuple[Request, ...]
    of_strata: tuple[int, ...]  #: which of `traffic.strata` each request is of
    traffic: Traffic

    @property
    def strata(self) -> Strata:
        """What each request stands for."""
        sizes = tuple(each.n_seen for each in self.traffic.strata)
        return Strata(sizes=sizes, of=np.array(self.of_strata, dtype=np.intp))


class LabelStrata:
    """Numbers for the strata of a sample: the recorded labels, after the requests that have none.

    With a floor of 0 there is one stratum only.
    """

    def __init__(self, labels: Collection[str], floor: int) -> None:
        self.floor = floor
        self.names: tuple[str | None, ...] = (None, *(sorted(labels) if floor else ()))
        self._number: Mapping[str | None, int] = {name: number for number, name in enumerate(self.names)}

    def of(self, student_label: str | None) -> int:
        """The stratum of a request with that recorded label."""
        return self._number.get(student_label, 0)

    def of_all(self, student_labels: Iterable[str | None]) -> list[int] | None:
        """The strata of many; None where there is one only."""
        number = self._number.get
        return [number(label, 0) for label in student_labels] if self.floor else None

    def bottom(self, k: int, key: str, spill: IO[bytes] | None = None) -> BottomK[Request]:
        """An empty sample of requests; `spill`: see `DistinctCount`."""
        return BottomK(k, key, tie_break=_tie_break, spill=spill, strata=len(self.names), floor=self.floor)


class TrafficSource(Protocol):
    """Samples windows of a request log."""

    def read_window(
        self, window_start: datetime, window_end: datetime, *, k: int, stopped: Stopped, floor: int = 0
    ) -> WindowSample:
        """The k usable requests with the smallest keyed hashes among those of the window.

        With a floor it is stratified by the recorded student label: of each label, and of the requests
        without one, the `floor` smallest are in it whatever the others are (see `BottomK`).

        The same for the same log, whatever was read before. An id that comes twice in the window
        counts once, with its earliest record. What cannot be used is counted and stops nothing.

        Raises:
            TrafficMissingError: there is no log.
            TrafficUnavailableError: it cannot be read now; a later attempt may succeed.
            StoppedError: `stopped` said so.
        """
        ...


def window_sample(
    draw: Draw[Request],
    names: LabelStrata,
    rejects: tuple[Reject, ...],
    objects: tuple[ObjectVersion, ...] = (),
) -> WindowSample:
    """The sample of a log that has been read to its end."""
    there = [stratum for stratum, size in enumerate(draw.sizes) if size]
    traffic = Traffic(
        n_seen=sum(draw.sizes),
        n_sampled=len(draw.items),
        n_rejected=sum(each.n for each in rejects if each.reason not in NOT_REJECTED),
        rejects=rejects,
        objects=objects,
        strata=tuple(
            Stratum(label=names.names[each], n_seen=draw.sizes[each], n=draw.strata.count(each))
            for each in there
        ),
    )
    return WindowSample(requests=draw.items, of_strata=tuple(map(there.index, draw.strata)), traffic=traffic)


def _tie_break(request: Request) -> tuple[object, ...]:
    answer = (request.student_label or "", request.student_logits or ())
    return (request.time, request.text, *answer, request.label or "")
