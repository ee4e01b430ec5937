"""What a window of the log holds, before anything is scored."""

from dataclasses import dataclass

from db.states import RejectReason


@dataclass(frozen=True, kw_only=True)
class Reject:
    """How many records of one window were refused for one reason."""

    reason: RejectReason
    n: int
    example_hash: str  #: SHA-256 of the first example's bytes; the text itself is never kept
    example_object: str  #: the object (file) that it came from


@dataclass(frozen=True, kw_only=True)
class ObjectVersion:
    """An object of the request log as it was read: with other contents it is another version."""

    name: str
    version: str  #: the ETag, in S3


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """The requests of a window to which the student gave one label, as its log recorded it."""

    label: str | None  #: None: no label was recorded
    n_seen: int  #: distinct usable requests of the window
    n: int  #: of them in the sample


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What was found in a window before scoring."""

    n_seen: int  #: distinct usable requests of the window
    n_sampled: int
    n_rejected: int  #: unusable records of the window (`outside_window` and `late_object` are not counted)
    rejects: tuple[Reject, ...]
    objects: tuple[ObjectVersion, ...] = ()  #: that were read for it, where their versions are kept
    strata: tuple[Stratum, ...] = ()  #: those that have requests
