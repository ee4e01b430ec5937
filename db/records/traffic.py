"""The records of a window of the log, before scoring."""

from dataclasses import dataclass

from db.states import RejectReason


@dataclass(frozen=True, kw_only=True)
class Reject:
    """The number of a window's records that were refused for one reason."""

    reason: RejectReason
    n: int
    example_hash: str  #: SHA-256 of the first example's bytes; the text itself is never kept
    example_object: str  #: the object (file) that holds it


@dataclass(frozen=True, kw_only=True)
class ObjectVersion:
    """An object of the request log as it was read: different contents are a different version."""

    name: str
    version: str  #: in S3, the ETag


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """The requests of a window to which the student gave one label, as recorded in the log."""

    label: str | None  #: None: no label was recorded
    n_seen: int  #: distinct usable requests of the window
    n: int  #: those of them in the sample


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The traffic of one window, before scoring."""

    n_seen: int  #: distinct usable requests of the window
    n_sampled: int
    n_rejected: int  #: unusable records of the window (without `NOT_REJECTED`)
    rejects: tuple[Reject, ...]
    objects: tuple[ObjectVersion, ...] = ()  #: the objects that were read, if their versions are kept
    strata: tuple[Stratum, ...] = ()  #: only those that have requests
