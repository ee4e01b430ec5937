"""The one base of every error that a person can mend."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def one_line(text: object) -> str:
    """Return the text on one line: every run of white space becomes a single blank."""
    return " ".join(str(text).split())


class RedistillError(Exception):
    """An expected failure; subclasses state their message, with {fields}, as their docstring."""

    exit_code = 1

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(one_line(self.__doc__ or "").format(**fields))

    def __reduce__(self) -> tuple[Callable[[], RedistillError], tuple[()]]:
        """So that it comes out of another process as it went in."""
        return partial(type(self), **self.fields), ()


class LeaseLostError(RedistillError):
    """The lease {name!r} (fencing token {token}) is held by another process now: nothing of this
    attempt was written; the other process goes on.
    """
