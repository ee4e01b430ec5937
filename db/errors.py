"""The base class of every error that a user can fix."""

from __future__ import annotations

from functools import partial
from string import Formatter
from typing import TYPE_CHECKING, Final, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable


#: Errors are stored and sent: a library may put a whole input into its message.
LONGEST_TEXT: Final = 4_000
#: A value in a message, such as a label in a file, may be of any length.
LONGEST_VALUE: Final = 200


def one_line(text: object, *, longest: int = LONGEST_TEXT) -> str:
    """Return the text on one line, at most 4,000 characters; a run of white space becomes a single blank."""
    return _cut(" ".join(str(text).split()), longest)


def quoted(value: object) -> str:
    """Return the `repr` of a value for a message, with at most 200 characters.

    Example:
        >>> quoted("refund"), quoted("x" * 1_000) == "'" + "x" * 197 + "…'"
        ("'refund'", True)
    """
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 2]}…{text[-1]}"


def _cut(text: str, longest: int = LONGEST_TEXT) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


class _Template(Formatter):
    """The format of messages, in which `!r` quotes as `quoted` does."""

    def convert_field(self, value: object, conversion: str | None) -> object:
        return (
            quoted(value)
            if conversion == "r"
            else super().convert_field(value, cast("Literal['s', 'a'] | None", conversion))
        )


class RedistillError(Exception):
    """An expected failure; subclasses state their message, with {fields}, as their docstring."""

    exit_code = 1

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(_cut(_Template().format(one_line(self.__doc__ or ""), **fields)))

    def __reduce__(self) -> tuple[Callable[[], RedistillError], tuple[()]]:
        """Let pickle rebuild the error unchanged in another process."""
        return partial(type(self), **self.fields), ()


class LeaseLostError(RedistillError):
    """The lease {name!r} (fencing token {token}) is now held by another process: nothing of this
    attempt was written, and the other process continues.
    """
