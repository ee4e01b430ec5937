"""Slices of a cycle's sample, ranked by their excess disagreement. Shares and rates are in [0, 1]."""

from dataclasses import dataclass

from db.states import SliceKind


@dataclass(frozen=True, kw_only=True)
class SliceNumbers:
    """The traffic and the disagreements of a slice in one window."""

    share: float  #: of the window's requests
    rate: float  #: of disagreements among the requests of the slice; 0 without any
    excess: float  #: (rate - the rate to which it is compared) * share, in [-0.25, 0.25]


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A slice whose requests disagree more often than the others."""

    kind: SliceKind
    name: str  #: the teacher's label, the range of lengths, or the word
    student_label: str | None  #: of a confusion
    n: int  #: sampled requests of the slice
    n_texts: int  #: their distinct texts
    n_disagreements: int  #: sampled requests of the slice that count as disagreements
    now: SliceNumbers
    part: float  #: share of all disagreements of the window
    p_value: float  #: of disagreeing no more often than the others
    q_value: float  #: the p-value, corrected for all slices that were tested
    reference: SliceNumbers | None  #: in the reference; None without a reference
    q_moved: float | None  #: of not having more disagreements than in the reference, or no more than others
    also: tuple[str, ...] = ()  #: words that mark the same disagreements

    @property
    def growth(self) -> float:
        """Return the excess that was added since the reference; without one, the excess."""
        return self.now.excess - (self.reference.excess if self.reference else 0.0)
