"""The types of the values in the configuration that the daemon uses."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import jmespath
from jmespath.functions import Functions
from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, SecretStr
from pydantic_core import PydanticCustomError

from db.connection.session import AmbiguousUrlError, DatabaseUrlError, parse_url
from db.errors import quoted
from monitor.archive.own_patterns import check_pattern
from monitor.storage.location import Location, location, s3_location, s3_object

T = TypeVar("T", str, SecretStr)

#: A share, in [0, 1].
Share = Annotated[float, Field(ge=0, le=1)]
_PLAIN_NAME = re.compile(r"[\w@$-]+")


def is_plain_name(name: str) -> bool:
    """Return whether the name of a field is a key, not a JMESPath expression.

    Example:
        >>> [is_plain_name(name) for name in ("request_id", "@timestamp", "body.text", "input[0]")]
        [True, True, False, False]
    """
    return _PLAIN_NAME.fullmatch(name) is not None


def _checked_name(name: str) -> str:
    if not is_plain_name(name):
        try:
            unknown = _functions(jmespath.compile(name).parsed) - Functions.FUNCTION_TABLE.keys()
        except Exception as error:
            # a quoted name may be decoded to half of a surrogate pair, which no output can encode
            problem = str(error).encode(errors="backslashreplace").decode()
            raise ValueError(
                f"{quoted(name)} is neither a field's name nor JMESPath: {problem}".splitlines()[0]
            ) from error
        if unknown:
            raise ValueError(f"{quoted(name)} calls {min(unknown)}(), which is not a function of JMESPath")
    return name


def _functions(parsed: dict[str, Any]) -> set[str]:
    """Return the names of the functions that a JMESPath expression calls."""
    own = {parsed["value"]} if parsed["type"] == "function_expression" else set()
    return own.union(*(_functions(each) for each in parsed["children"] if isinstance(each, dict)))


def readable_url(url: T) -> T:
    """Return the database URL, if it is unambiguous."""
    try:
        parse_url(url.get_secret_value() if isinstance(url, SecretStr) else str(url))
    except DatabaseUrlError as error:
        raise ValueError("expected a URL such as 'postgresql://user@host/name'") from error
    except AmbiguousUrlError as error:
        raise ValueError(str(error)) from error
    return url


def _checked_pattern(pattern: str) -> str:
    check_pattern(pattern)
    return pattern


RegularExpression = Annotated[str, AfterValidator(_checked_pattern)]
FieldName = Annotated[str, AfterValidator(_checked_name)]


def _not_blank(given: object) -> object:
    """Refuse the empty path, which a variable may hold: it would be the folder of the configuration."""
    if isinstance(given, str) and not given.strip():
        raise PydanticCustomError("path_type", "expected a path")
    return given


def _located(given: object) -> Location:
    if isinstance(given, Path):
        return given
    text = _not_blank(given)
    if not isinstance(text, str):
        raise PydanticCustomError("path_type", "expected a path")
    return location(text)


def _object_located(given: object) -> Location:
    found = _located(given)
    return found if isinstance(found, Path) else s3_object(found)


LocalPath = Annotated[Path, BeforeValidator(_not_blank)]
S3Uri = Annotated[str, AfterValidator(s3_location)]
#: The location of a model, a registry or an archive.
ArtifactLocation = Annotated[Location, PlainValidator(_located)]
#: The location of a file.
FileLocation = Annotated[Location, PlainValidator(_object_located)]


#: The format of the objects of a request log.
Format = Literal["jsonl", "parquet", "sagemaker-capture"]


#: The device that models run on; auto: a GPU if torch finds one, otherwise the CPU.
Device = Literal["auto", "cpu", "cuda"]
#: The precision of a model's forward pass.
Precision = Literal["float32", "bfloat16"]
