"""The types of configuration values, which are checked when they are read."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, get_args

import durationpy
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo

from db.errors import quoted

_LONGEST: Final = timedelta(days=36_525)  #: a time that long before or after now still exists
_FORM: Final = "write '10m', '1h30m' or '7d'"


def _duration(value: Any) -> Any:  # noqa: ANN401 - pydantic passes whatever the file contains
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value} is not a duration: {_FORM}")  # noqa: TRY004 - pydantic expects a ValueError
    try:
        found = durationpy.from_str(value)
    except (durationpy.DurationError, OverflowError, ValueError) as error:
        raise ValueError(f"{quoted(value)} is not a duration: {_FORM}") from error
    if found > _LONGEST:
        raise ValueError(f"{quoted(value)} is too long a duration: write at most '{_LONGEST.days}d'")
    return found


def _stripped(value: Any) -> Any:  # noqa: ANN401 - as above
    return value.strip() if isinstance(value, str) else value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"expected printable characters, not {quoted(value)}")
    return value


def none_for(word: str) -> BeforeValidator:
    """Return the validator that reads a word, such as "off", as None; other values stay as they are."""
    return BeforeValidator(lambda value: None if value == word else value)


#: A duration, written as '10m', '1h30m' or '7d'.
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(0))]
#: A string without the white space around it, such as the line feed at the end of a file; not empty.
Word = Annotated[str, Field(min_length=1), BeforeValidator(_stripped)]
#: What people call a rule or a channel, without control characters, which no terminal or database must see.
Name = Annotated[Word, AfterValidator(_printable)]
#: A secret, read as a `Word`.
Secret = Annotated[SecretStr, Field(min_length=1), BeforeValidator(_stripped)]


def refuse_bools(given: object, fields: Mapping[str, FieldInfo]) -> None:
    """Raise ValueError if a value of a section, or an item of it, is a bool and its field has no bools.

    Python's bools are numbers, so that `true` would be read as 1, or as a second.
    """
    for key, value in given.items() if isinstance(given, dict) else ():
        items = value if isinstance(value, list | tuple) else [value]
        bools = [str(each).lower() for each in items if isinstance(each, bool)]
        if bools and key in fields and not _has_bool(fields[key].annotation):
            raise ValueError(f"'{key}' does not take {bools[0]}: write a value of its type")


def _has_bool(annotation: object) -> bool:
    return annotation is bool or any(map(_has_bool, get_args(annotation)))
