"""A slot, who may work on it, and what its cycle found. Times are aware UTC."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from db.records.measurements import LateLabel, Measurement
from db.records.traffic import Traffic


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write for `name`, good while no one has a higher `token`."""

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
    """Where a cycle's sample lies."""

    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The part of an ended cycle that a new judgement of its window depends on."""

    archive: Archive | None
    n_records: int  #: of the window, usable or not; 0 if it was never read
    n_erasures: int  #: changes of that archive by `redistill archive erase`
    late: Mapping[str, str | None]  #: imported true labels, by the hashes of their requests


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A slot that this process may run now."""

    cycle_id: int
    slot: Slot
    attempt: int
    started_at: datetime
    earlier: Earlier | None = None  #: of a window that is judged again; its result stands until the new one


@dataclass(frozen=True, kw_only=True)
class ArchivedCycle:
    """A cycle whose sample was archived; the file may have expired."""

    cycle_id: int
    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class CycleResult:
    """Everything a cycle measured; what it means is decided in `triggers`."""

    traffic: Traffic
    measurement: Measurement | None  #: None when nothing was sampled
    archive: Archive | None
    teacher_version: str
    student_version: str
    alpha: Decimal | None  #: the alpha that the student was distilled with, if known
    temperature: float
    late: tuple[LateLabel, ...] = ()  #: imported true labels of the sample, where a window is judged again


@dataclass(frozen=True, kw_only=True)
class SampledCycle:
    """An ended cycle whose sample was archived; the file may be gone."""

    cycle_id: int
    window_end: datetime
    uri: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """A change of an archive that was begun."""

    cycle_id: int
    sha256_after: str
