"""The result of one check of `redistill doctor`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from db.errors import RedistillError


class Level(StrEnum):
    """The severity of a result."""

    OK = "ok"  #: nothing to do
    WARNING = "warning"  #: everything runs, but perhaps not as intended; doctor still exits with 0
    PROBLEM = "problem"  #: a cycle or a re-distillation would fail; doctor exits with 1


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The state of one thing that a cycle or a re-distillation needs, and how to fix it."""

    check: str
    ok: bool  #: False for a problem only
    level: Level
    found: str
    fix: str | None = None  #: None if nothing is wrong, or if `found` contains the fix

    @property
    def document(self) -> Mapping[str, object]:
        """The result for --json; `mend` is the older name of `fix`."""
        return {**asdict(self), "mend": self.fix}


def ok(check: str, found: str) -> CheckResult:
    """Return a result that needs no action."""
    return CheckResult(check=check, ok=True, level=Level.OK, found=found)


def warning(check: str, found: str, fix: str | None = None) -> CheckResult:
    """Return a result that stops nothing, but may not be intended."""
    return CheckResult(check=check, ok=True, level=Level.WARNING, found=found, fix=fix)


def problem(check: str, found: str, fix: str | None = None) -> CheckResult:
    """Return a result with which a cycle or a re-distillation would fail."""
    return CheckResult(check=check, ok=False, level=Level.PROBLEM, found=found, fix=fix)


def run_check(name: str, check: Callable[[], Iterator[CheckResult]]) -> Iterator[CheckResult]:
    """Yield the results of `check`; any exception ends it with one more problem."""
    try:
        yield from check()
    except RedistillError as error:
        yield problem(name, str(error))
    except Exception as error:  # noqa: BLE001 - a check that fails must not prevent the others
        yield problem(name, f"{type(error).__name__}: {' '.join(str(error).split())}")
