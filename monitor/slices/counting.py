"""The traffic and the disagreements of each slice of a family in one window."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from db.records import SliceNumbers
from monitor.slices.exact_test import Numbers, Weighed, more_frequent
from monitor.slices.families import Family
from monitor.slices.texts import Texts


@dataclass(frozen=True, kw_only=True, eq=False)
class Counted:
    """The numbers of a family's slices in one window, each (slices,)."""

    members: sparse.csc_array  #: (texts, slices), as 0 and 1
    event: NDArray[np.bool_]  #: (texts,)
    overall: float  #: rate of the event among all requests that could have it
    share: Numbers
    rate: Numbers
    excess: Numbers
    own: Weighed  #: texts of each slice, by the event
    base: Weighed  #: all texts that could have the event, (1,)
    joint: Weighed  #: all texts of the window, by whether they are in the slice and have the event

    def rows(self, at: int) -> NDArray[np.intp]:
        """Return the texts of one slice."""
        start, stop = self.members.indptr[at : at + 2]
        return np.asarray(self.members.indices[start:stop], dtype=np.intp)

    def numbers(self, at: int) -> SliceNumbers:
        """Return the numbers of one slice."""
        return SliceNumbers(
            share=float(self.share[at]), rate=float(self.rate[at]), excess=float(self.excess[at])
        )

    def more_than_others(self) -> Numbers:
        """Return the p-values of the texts of a slice having the event no more often than the others."""
        return more_frequent(self.own, self.base.minus(self.own))

    def more_than(self, then: "Counted") -> Numbers:
        """Return the p-values of no larger a share of the requests being in a slice with the event."""
        return more_frequent(self.joint, then.joint)


def count(family: Family, texts: Texts) -> Counted:
    """Count a family in a window.

    Within a window distinct texts are compared: each counts once, with the weight of one of its requests.
    Between windows requests are compared, in clusters of equal text: the larger of two samples has more of
    the rare texts.
    """
    members, event, base = family.members(texts), family.event(texts), family.base(texts)
    by_slice = members.T
    points, share = by_slice @ (texts.shares * event), by_slice @ texts.shares
    in_base = float(texts.shares[base].sum())
    overall = float(texts.shares[event].sum()) / in_base if in_base else 0.0
    of_requests = _weighed(by_slice.dot, texts.shares, event)
    return Counted(
        members=members.tocsc(),
        event=event,
        overall=overall,
        share=share,
        rate=np.divide(points, share, out=np.zeros_like(points), where=share > 0),
        excess=points - overall * share,
        own=_weighed(by_slice.dot, texts.weights * base, event),
        base=_weighed(_sum, texts.weights * base, event),
        joint=Weighed(
            events=of_requests.events,
            events_squared=of_requests.events_squared,
            others=texts.shares.sum() - of_requests.events,
            others_squared=np.square(texts.shares).sum() - of_requests.events_squared,
        ),
    )


def _sum(values: Numbers) -> Numbers:
    return np.array([values.sum()])


def _weighed(add: Callable[[Numbers], Numbers], weights: Numbers, event: NDArray[np.bool_]) -> Weighed:
    squared = np.square(weights)
    return Weighed(
        events=add(weights * event),
        events_squared=add(squared * event),
        others=add(weights * ~event),
        others_squared=add(squared * ~event),
    )
