"""What one check of `redistill doctor` says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from db.errors import RedistillError


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a cycle or a re-distillation needs: whether it is so, and if not, what to do."""

    check: str
    ok: bool
    found: str
    mend: str | None = None  #: None where all is well, or where `found` says it


def good(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, ok=True, found=found)


def bad(check: str, found: str, mend: str | None = None) -> Finding:
    """Something is to be mended."""
    return Finding(check=check, ok=False, found=found, mend=mend)


def attempt(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What `look` finds; a failure, expected or not, ends it with one more finding."""
    try:
        yield from look()
    except RedistillError as error:
        yield bad(check, str(error))
    except Exception as error:  # noqa: BLE001 - no check keeps the others from being made
        yield bad(check, f"{type(error).__name__}: {' '.join(str(error).split())}")
