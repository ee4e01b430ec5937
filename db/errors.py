"""The base class of every error that a user can fix."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


#: Errors are stored and sent: a library may put a whole input into its message.
LONGEST_TEXT: Final = 4_000


def one_line(text: object) -> str:
    """Return the text on one line, at most 4,000 characters; a run of white space becomes a single blank."""
    return _cut(" ".join(str(text).split()))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


class RedistillError(Exception):
    """An expected failure; subclasses state their message, with {fields}, as their docstring."""

    exit_code = 1

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(_cut(one_line(self.__doc__ or "").format(**fields)))

    def __reduce__(self) -> tuple[Callable[[], RedistillError], tuple[()]]:
        """Let pickle rebuild the error unchanged in another process."""
        return partial(type(self), **self.fields), ()


class LeaseLostError(RedistillError):
    """The lease {name!r} (fencing token {token}) is now held by another process: nothing of this
    attempt was written, and the other process continues.
    """
