"""What one check of `redistill doctor` says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from db.errors import RedistillError


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"  #: nothing to do
    WARNING = "warning"  #: everything runs, but not as its owner may think; doctor still exits with 0
    PROBLEM = "problem"  #: a cycle or a re-distillation would fail; doctor exits with 1


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One thing that a cycle or a re-distillation needs: its state, and what to do about it."""

    check: str
    ok: bool  #: False for a problem only
    level: Level
    found: str
    mend: str | None = None  #: None where all is well, or where `found` says it


def good(check: str, found: str) -> CheckResult:
    """Return a finding that needs nothing to be done."""
    return CheckResult(check=check, ok=True, level=Level.OK, found=found)


def warn(check: str, found: str, mend: str | None = None) -> CheckResult:
    """Return a finding that stops nothing, but that somebody should know before it matters."""
    return CheckResult(check=check, ok=True, level=Level.WARNING, found=found, mend=mend)


def bad(check: str, found: str, mend: str | None = None) -> CheckResult:
    """Return a finding by which a cycle or a re-distillation would fail."""
    return CheckResult(check=check, ok=False, level=Level.PROBLEM, found=found, mend=mend)


def attempt(check: str, look: Callable[[], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    """What `look` finds; a failure, expected or not, ends it with one more finding."""
    try:
        yield from look()
    except RedistillError as error:
        yield bad(check, str(error))
    except Exception as error:  # noqa: BLE001 - no check keeps the others from being made
        yield bad(check, f"{type(error).__name__}: {' '.join(str(error).split())}")
