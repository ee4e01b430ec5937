"""Messages about a refused configuration: the key, the value and what was expected, in one line."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from db.errors import LONGEST_VALUE, one_line, quoted

Location = Sequence[int | str]

_EXPECTED: Final = {
    "decimal_max_places": "at most {decimal_places} decimals",
    "decimal_parsing": "a number",
    "decimal_type": "a number",
    "enum": "{expected}",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a value above {gt}",
    "greater_than_equal": "a value of at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "less_than": "a value below {lt}",
    "less_than_equal": "a value of at most {le}",
    "literal_error": "{expected}",
    "model_attributes_type": "a table",
    "path_type": "a path",
    "string_too_short": "a string that is not empty",
    "string_type": "a string",
    "time_delta_type": "a duration such as '10m', '1h30m' or '7d'",
    "too_long": "a list of at most {max_length}",
    "too_short": "a list of at least {min_length}",
    "tuple_type": "a list",
    "union_tag_invalid": "one of {expected_tags}",
}
#: The patterns of strings in words, by section and key.
_PATTERNS: Final = {
    ("monitor", "name"): "at most 200 letters, digits, '.', '_' and '-'",
    ("teacher", "accept"): "the first 12 digits, or more, of a teacher's version",
    ("database", "url"): "'sqlite:///redistill.db' or 'postgresql://user@host/name'",
    (
        "database",
        "password_secret",
    ): "the ARN of a secret: 'arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME'",
    ("alerts", "endpoint"): "'https://…' or 'http://…'",
    ("alerts", "topic"): "the ARN of a topic: 'arn:aws:sns:REGION:ACCOUNT:NAME'",
    ("queue", "url"): "the URL of a FIFO queue, 'https://….fifo'",
    ("incidents", "runbook"): "'https://…' or 'http://…'",
    ("incidents", "page"): "'https://…' or 'http://…'",
    ("scoring", "address"): "'auto' or 'HOST:PORT'",
    ("redistill", "link"): "letters, digits, '.', '_' and '-'",
    ("monitor", "archive"): "a folder or 's3://bucket/prefix'",
}
_SECONDS = re.compile(r"datetime\.timedelta\((?:seconds=)?(\d+)\)")
_DAYS = re.compile(r"datetime\.timedelta\(days=(\d+)\)")


def explained(error: ValidationError, settings: type[BaseModel]) -> str:
    """Return all problems that `settings` found in a document, in one line."""
    problems = error.errors()
    return "; ".join(_explain(each, settings) for each in problems if not _repeats_others(each, problems))


def unknown(kind: str, name: str, known: Collection[str]) -> str:
    """Return a message that `name` is unknown, with the closest known name, or else all of them."""
    close = get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(sorted(known))}"
    return f"unknown {kind} {quoted(name)}: {meant}"


def place(location: Location) -> str:
    """Return a place in the file: `[section] key: `, or `[[section]] number 2, key: ` in a list of tables."""
    match without_kind(location):
        case [section]:
            return f"[{section}]: "
        case [section, int(number), *keys]:
            in_list = 2 if keys and isinstance(keys[-1], int) else 1
            key = ".".join(map(str, keys[-in_list:]))
            return f"[[{section}]] number {number + 1}{f', {key}' if key else ''}: "
        case [section, *keys]:
            return f"[{section}] {'.'.join(map(str, keys))}: "
        case _:
            return ""


def without_kind(location: Location) -> tuple[int | str, ...]:
    """Return a location without the kind of a section, which pydantic adds."""
    match location:
        case ["traffic", "files" | "s3" | "sql", *keys]:
            return ("traffic", *keys)
        case _:
            return tuple(location)


def fields_at(location: Location, settings: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the fields of the section at `location`, or none if there is no section."""
    section: type[BaseModel] = settings
    for part in location:
        if isinstance(part, int) or part not in section.model_fields:
            continue  # the number of a table in a list, or the kind that selects its section
        sections = [
            each for each in _types(section.model_fields[part].annotation) if issubclass(each, BaseModel)
        ]
        if not sections:
            return {}
        section = next((each for each in sections if _kind(each) in location), sections[0])
    return section.model_fields


def _repeats_others(problem: ErrorDetails, problems: Sequence[ErrorDetails]) -> bool:
    """Return whether a problem only repeats others: a list whose every item is refused is also too short."""
    depth = len(problem["loc"])
    return problem["type"] == "too_short" and any(
        len(each["loc"]) > depth and each["loc"][:depth] == problem["loc"] for each in problems
    )


def _explain(problem: ErrorDetails, settings: type[BaseModel]) -> str:
    location = problem["loc"]
    if problem["type"] == "extra_forbidden":
        *above, name = location
        kind = "key" if above else "section"
        return place(above) + unknown(kind, str(name), fields_at(above, settings))
    if problem["type"] == "missing":
        return f"{place(location)}missing{_needs(location, settings)}"
    return place(location) + _mismatch(problem, settings)


def _needs(location: Location, settings: type[BaseModel]) -> str:
    if len(location) > 1:
        return ""
    needed = [name for name, field in fields_at(location, settings).items() if field.is_required()]
    return f": it needs {' and '.join(map(repr, needed))}"


def _mismatch(problem: ErrorDetails, settings: type[BaseModel]) -> str:
    location, kind, found = problem["loc"], problem["type"], problem["input"]
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if kind == "union_tag_not_found":
        return "it needs a 'kind'"
    if kind == "model_type":
        shown = "" if _is_secret(location, settings) else f", not {quoted(found)}"
        line = (
            f"[[{location[0]}]]" if len(location) > 1 and isinstance(location[1], int) else f"[{location[0]}]"
        )
        return f"expected a table, a line {line} with keys below it{shown}"
    if kind == "tuple_type" and isinstance(found, dict):
        return f"expected a list of tables: write [[{location[0]}]], in double brackets"
    is_secret = _is_secret(location, settings)
    is_empty = is_secret and kind in {"too_short", "string_too_short"}
    expected = "expected a value that is not empty" if is_empty else _expected(problem)
    is_shown = kind == "union_tag_invalid" or not is_secret
    return f"{expected}, not {_shown(problem)}" if is_shown else expected


def _expected(problem: ErrorDetails) -> str:
    location = problem["loc"]
    if problem["type"] == "string_pattern_mismatch":
        of_any = f"text of the form {problem['ctx']['pattern']}"
        return f"expected {_PATTERNS.get((str(location[0]), str(location[-1])), of_any)}"
    if problem["type"] not in _EXPECTED:
        return problem["msg"]
    bounds = {
        name: _DAYS.sub(r"\1d", _SECONDS.sub(r"\1s", str(bound)))
        for name, bound in problem.get("ctx", {}).items()
    }
    return f"expected {_EXPECTED[problem['type']].format(**bounds)}"


def _shown(problem: ErrorDetails) -> str:
    """Return the refused value in TOML notation."""
    if problem["type"] == "union_tag_invalid":
        return quoted(problem["ctx"]["tag"])
    found = problem["input"]
    if isinstance(found, bool):
        return str(found).lower()
    return quoted(found) if isinstance(found, str) else one_line(found, longest=LONGEST_VALUE)


def _is_secret(location: Location, settings: type[BaseModel]) -> bool:
    """Return whether a value must not be shown: a secret, a URL that may have a password, or a channel."""
    if location[0] == "database" or (location[0] == "alerts" and len(location) <= len(("alerts", 0))):
        return True
    field = fields_at(location[:-1], settings).get(str(location[-1]))
    return field is not None and SecretStr in _types(field.annotation)


def _kind(section: type[BaseModel]) -> object:
    """Return the value of the field that distinguishes a section from its alternatives."""
    field = section.model_fields.get("kind")
    return get_args(field.annotation)[0] if field else None


def _types(annotation: object) -> list[type]:
    """Return the classes in an annotation."""
    arguments = get_args(annotation)
    if not arguments:
        return [annotation] if isinstance(annotation, type) else []
    return [each for argument in arguments for each in _types(argument)]
