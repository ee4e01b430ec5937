"""Environment variables in a configuration: `$NAME` in its values, and REDISTILL__SECTION__KEY."""

import os
from collections.abc import Sequence
from typing import Any, Final, get_args, get_origin

import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from redistill.configuration.errors import Location, fields_at, place, unknown, without_kind
from redistill.configuration.source import ConfigError, Source

PREFIX: Final = "REDISTILL__"
_MARK: Final = "$"
_MISSING: Final = "Field required"  #: of pydantic


def expanded(value: Any, source: Source) -> Any:  # noqa: ANN401 - any TOML value
    """Replace each string '$NAME' with the value of that environment variable, and '$$' with a dollar sign.

    White space around the variable's value is dropped.

    Raises:
        ConfigError: the variable is not set, or empty.
    """
    if isinstance(value, dict):
        return {key: expanded(item, source) for key, item in value.items()}
    if isinstance(value, list):
        return [expanded(item, source) for item in value]
    if not isinstance(value, str) or not value.startswith(_MARK):
        return value
    name = value.removeprefix(_MARK)
    if name.startswith(_MARK):
        return name
    if not name:
        problem = "'$' does not name an environment variable: write '$$' for the text $"
        raise ConfigError(path=source, problem=problem)
    found = os.environ.get(name, "").strip()
    if not found:
        state = "is empty" if name in os.environ else "is not set"
        for_text = f"write '$${name}' for the text ${name}"
        problem = f"the environment variable {name} {state}: export it, or {for_text}"
        raise ConfigError(path=source, problem=problem)
    return found


def escaped(text: str) -> str:
    """Return a text as `expanded` reads it back.

    Example:
        >>> escaped("$id"), escaped("id")
        ('$$id', 'id')
    """
    return f"{_MARK}{text}" if text.startswith(_MARK) else text


def check_overrides(settings: type[BaseModel]) -> None:
    """Check the names and the form of the variables that override keys.

    Raises:
        ConfigError: a section or key is unknown, or a value is empty or not of the key's form.
    """
    for name, value in os.environ.items():
        if name.upper().startswith(PREFIX):
            section, *keys = _path(name)
            problem = _problem(section, keys, value, settings)
            if problem:
                raise ConfigError(path=f"the environment variable {name}", problem=problem)


def sources_of(problems: Sequence[tuple[Location, str]], source: Source, settings: type[BaseModel]) -> str:
    """Return where the values of problems (place, message) come from: variables, the configuration, or both.

    A problem of a whole section is of the configuration, with the variables that set a part of the section.
    """
    names: set[str] = set()
    are_whole = True
    for location, message in problems:
        path = without_kind(location)
        whole, parts = set[str](), set[str]()
        for name, keys in _overrides(settings).items():
            if keys == path[: len(keys)] and (len(keys) > 1 or _is_list(settings.model_fields[keys[0]])):
                whole.add(name)
            elif path and keys[0] == path[0]:
                is_part = keys[: len(path)] == path or len(keys) == 1
                if is_part or keys[1:] == ("kind",) or message == _MISSING:  # which decides on other keys
                    parts.add(name)
            elif not path and f"[{keys[0]}]" in message:
                parts.add(name)
        names |= whole or parts
        are_whole &= bool(whole)
    if not names:
        return str(source)
    variables = f"the environment variable{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}"
    return variables if are_whole else f"{source}, with {variables}"


def _overrides(settings: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Return the section and keys of each variable that overrides a part of the configuration."""
    paths = {name: _path(name) for name in os.environ if name.upper().startswith(PREFIX)}
    return {name: path for name, path in paths.items() if path[0] in settings.model_fields}


def _path(variable: str) -> tuple[str, ...]:
    return tuple(variable[len(PREFIX) :].lower().split("__"))


def _problem(section: str, keys: list[str], value: str, settings: type[BaseModel]) -> str | None:
    if section not in settings.model_fields:
        return unknown("section", section, settings.model_fields)
    if not keys:
        return _not_json(settings.model_fields[section], value, whole=True)
    if _is_list(settings.model_fields[section]):
        return _only_as_a_whole(section)
    known, key = fields_at([section], settings), "__".join(keys)
    if keys[0] in known and len(keys) > 1 and _is_list(known[keys[0]]):
        return _only_as_a_whole(f"{section}__{keys[0]}")
    if key not in known:
        return place([section]) + unknown("key", key, known)
    return _not_json(known[key], value)


def _only_as_a_whole(path: str) -> str:
    example = '[{"kind": "log"}]' if path == "alerts" else "[…]"
    return f"a list is set as a whole: set {PREFIX}{path.upper()} to a JSON list, {example}, or edit the file"


def _not_json(field: FieldInfo, value: str, *, whole: bool = False) -> str | None:
    """Return the problem of a value that is empty, or is not the JSON that a list or a section needs."""
    if not value.strip():
        return "it is empty: give it a value, or unset it"
    if _is_list(field):
        wanted: type = list
        form = 'a JSON list, such as ["a", "b"]'
    elif whole:
        wanted, form = dict, 'a JSON object, such as {"key": "value"}'
    else:
        return None
    try:
        is_right = isinstance(orjson.loads(value), wanted)
    except orjson.JSONDecodeError:
        is_right = False
    return None if is_right else f"expected {form}"


def _is_list(field: FieldInfo) -> bool:
    annotation = field.annotation
    return any(get_origin(each) is tuple for each in (annotation, *get_args(annotation)))
