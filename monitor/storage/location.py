"""Locations of artifacts: paths of this machine, and `s3://bucket/key`."""

import re
from pathlib import Path
from typing import Final, TypeAlias

from db.errors import quoted

#: A path, or `s3://bucket/key`.
Location: TypeAlias = Path | str

_S3: Final = "s3://"
_BUCKET: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class NotALocationError(ValueError):
    """A text is not a location; the message says why."""


def location(text: str) -> Location:
    """Return the location that a text names.

    Example:
        >>> location("models/teacher").name, location("s3://models/teacher")
        ('teacher', 's3://models/teacher')

    Raises:
        NotALocationError: the text is a URL of another kind, or names no place in S3.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "s3":
        return s3_location(text)
    if rest.startswith("//"):
        raise NotALocationError(f"expected a path or 's3://bucket/key', not a URL ({scheme}://)")
    return Path(text)


def s3_location(text: str) -> str:
    """Return a location in S3 unchanged; without a key it is a whole bucket.

    Raises:
        NotALocationError: it does not begin with `s3://` and the name of a bucket.
    """
    bucket = text.removeprefix(_S3).partition("/")[0]
    if not text.startswith(_S3):
        problem = "it does not begin with 's3://'"
    elif not bucket:
        problem = "it names no bucket"
    elif _BUCKET.fullmatch(bucket) is None:
        problem = (
            f"the name of a bucket, unlike {quoted(bucket)}, has 3 to 63 lower-case letters, digits, '.' and "
            "'-', with a letter or digit at both ends"
        )
    else:
        return text
    raise NotALocationError(f"expected 's3://bucket/key', not {quoted(text)}: {problem}")


def s3_object(text: str) -> str:
    """Return the location of one object in S3 unchanged.

    Raises:
        NotALocationError: it is not `s3://bucket/key`.
    """
    key = s3_location(text).removeprefix(_S3).partition("/")[2]
    if not key or key.endswith("/"):
        problem = "it lacks the key of an object"
        raise NotALocationError(f"expected 's3://bucket/key', not {quoted(text)}: {problem}")
    return text
