"""Slots, the right to work on them, and the results of their cycles. Times are aware UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from db.records.measurements import LateLabel, Measurement
from db.records.shadows import ShadowScores
from db.records.traffic import Traffic


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write for `name`, valid as long as no process has a higher `token`."""

    name: str
    owner: str
    token: int


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One window of one monitor: records with window_start <= time < window_end."""

    monitor: str
    window_start: datetime
    window_end: datetime


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The location of a cycle's archived sample."""

    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class EarlierResult:
    """The part of an ended cycle on which a new judgement of its window depends."""

    archive: Archive | None
    n_records: int  #: records of the window, usable or not; 0 if it was never read
    n_erasures: int  #: changes to the archive by `redistill archive erase`
    late: Mapping[str, str | None]  #: imported true labels, by the hashes of their requests


@dataclass(frozen=True, kw_only=True)
class QuietWindow:
    """The state of a quiet cycle's row before its window was extended by the next slot."""

    window_end: datetime
    attempt: int
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A slot that this process may run now, or a quiet window with its next slot."""

    cycle_id: int
    slot: Slot
    attempt: int
    started_at: datetime
    n_slots: int = 1
    #: The window before this slot, if the claim has extended it; it is in force again if the claim is undone.
    extended: QuietWindow | None = None
    may_wait: bool = False  #: whether the next slot may extend the window
    #: The result of a window that is judged again, which stays in force until the new one.
    earlier: EarlierResult | None = None


@dataclass(frozen=True, kw_only=True)
class ArchivedCycle:
    """A cycle whose sample was archived; the file may have expired."""

    cycle_id: int
    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CycleResult:
    """Everything that a cycle measured; `triggers` decides what it means."""

    traffic: Traffic
    measurement: Measurement | None  #: None if nothing was sampled
    archive: Archive | None
    teacher_version: str
    student_version: str
    alpha: Decimal | None  #: the alpha with which the student was distilled, if known
    temperature: float
    late: tuple[LateLabel, ...] = ()  #: imported true labels of the sample, if a window is judged again
    shadow: ShadowScores | None = None  #: of the candidate in shadow, if there is one
    stage_seconds: Mapping[str, float] = field(default_factory=dict)  #: the time that each stage took


@dataclass(frozen=True, kw_only=True)
class QuietResult:
    """A window with too few requests, which waits for the next slot; nothing was scored."""

    traffic: Traffic


@dataclass(frozen=True, kw_only=True)
class SampledCycle:
    """An ended cycle whose sample was archived; the file may have expired."""

    cycle_id: int
    window_end: datetime
    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """A change to an archive that was begun."""

    cycle_id: int
    sha256_after: str
