"""The shadow of a candidate, and what a cycle measured on it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Shadow:
    """A shadow that runs."""

    shadow_id: int
    monitor: str
    job_id: int
    candidate_version: str
    incumbent_version: str
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class ShadowNumbers:
    """The comparison of a candidate with the student in service on the sample of one cycle."""

    n: int  #: distinct texts
    n_candidate_only: int  #: texts on which only the candidate agrees with the teacher
    n_incumbent_only: int  #: texts on which only the incumbent does
    agreement: float  #: of the candidate, as a share of the window's requests
    kl: float  #: of the candidate, in nats


@dataclass(frozen=True, kw_only=True)
class ShadowScores:
    """The numbers of one cycle for a shadow, or the reason why there are none."""

    shadow_id: int
    numbers: ShadowNumbers | None
    error: str | None = None  #: in one line


@dataclass(frozen=True, kw_only=True)
class ShadowTotals:
    """The cycles of a shadow so far."""

    n_cycles: int = 0  #: in which the candidate was scored
    n_candidate_only: int = 0
    n_incumbent_only: int = 0
    n_errors_in_a_row: int = 0  #: newest cycles in which it could not be scored
