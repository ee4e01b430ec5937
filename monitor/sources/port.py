"""The port to a request log of any kind."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import IO, Protocol

import numpy as np

from db.records import ObjectVersion, Reject, Stratum, Traffic
from db.states import RejectReason
from monitor.sampling import BottomK, Draw
from monitor.sources.request import Request
from monitor.stop import Stopped
from monitor.strata import Strata

#: Reasons that are counted, but do not stand for unusable records of the window.
NOT_REJECTED = frozenset(
    {
        RejectReason.REPEATED_ID,
        RejectReason.OUTSIDE_WINDOW,
        RejectReason.UNDATED_OBJECT,
        RejectReason.LATE_OBJECT,
    }
)


@dataclass(frozen=True, kw_only=True)
class WindowSample:
    """The sampled requests of a window, in the order of their hashes, and the counts of its traffic."""

    requests: tuple[Request, ...]
    of_strata: tuple[int, ...]  #: the index in `traffic.strata` of the stratum of each request
    traffic: Traffic

    @property
    def strata(self) -> Strata:
        """Return the strata of the sample."""
        sizes = tuple(each.n_seen for each in self.traffic.strata)
        return Strata(sizes=sizes, of=np.array(self.of_strata, dtype=np.intp))


class LabelStrata:
    """The numbering of the strata of a sample: first the requests without a recorded label, then each label.

    With a floor of 0 there is only one stratum.
    """

    def __init__(self, labels: Collection[str], floor: int) -> None:
        self.floor = floor
        self.names: tuple[str | None, ...] = (None, *(sorted(labels) if floor else ()))
        self._number: Mapping[str | None, int] = {name: number for number, name in enumerate(self.names)}

    def of(self, student_label: str | None) -> int:
        """Return the stratum of a request with that recorded label."""
        return self._number.get(student_label, 0)

    def of_all(self, student_labels: Iterable[str | None]) -> list[int] | None:
        """Return the stratum of each of several requests; None if there is only one stratum."""
        number = self._number.get
        return [number(label, 0) for label in student_labels] if self.floor else None

    def bottom(self, k: int, key: str, spill: IO[bytes] | None = None) -> BottomK[Request]:
        """Return an empty sample of requests; `spill`: see `DistinctCount`."""
        return BottomK(k, key, tie_break=_tie_break, spill=spill, strata=len(self.names), floor=self.floor)


class TrafficSource(Protocol):
    """A request log from which windows are sampled."""

    def read_window(
        self, window_start: datetime, window_end: datetime, *, k: int, stopped: Stopped, floor: int = 0
    ) -> WindowSample:
        """Return the k usable requests with the smallest keyed hashes among those of the window.

        With a floor, the sample is stratified by the recorded student label: it has the `floor` smallest
        hashes of each label and of the requests without a label, whatever the others are (see `BottomK`).

        The result for a log does not depend on earlier reads. An id that occurs several times in the window
        counts once, with its earliest record. Unusable records are counted and stop nothing.

        Raises:
            TrafficMissingError: there is no log.
            TrafficUnavailableError: the log cannot be read now; a later attempt may succeed.
            StoppedError: `stopped` returned True.
        """
        ...


def window_sample(
    draw: Draw[Request],
    names: LabelStrata,
    rejects: tuple[Reject, ...],
    objects: tuple[ObjectVersion, ...] = (),
) -> WindowSample:
    """Return the sample of a window whose log was read completely."""
    rejects = (*rejects, *_repeated(draw))
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


def _repeated(draw: Draw[Request]) -> tuple[Reject, ...]:
    """Return the count of the records whose id had occurred before, which have no example of their own."""
    if not draw.repeats:
        return ()
    none = sha256().hexdigest()
    return (Reject(reason=RejectReason.REPEATED_ID, n=draw.repeats, example_hash=none, example_object=""),)


def _tie_break(request: Request) -> tuple[object, ...]:
    answer = (request.student_label or "", request.student_logits or ())
    return (request.time, request.text, *answer, request.label or "")
