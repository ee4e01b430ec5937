"""Inputs that nobody would write on purpose: valid ones with parts changed, and values of every kind."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

Test = TypeVar("Test", bound=Callable[..., None])

#: Bytes that parsers treat specially.
PIECES: Final = (
    *(b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[2J"),
    *(b"\r", b"\n", b"\r\n", b"\t", b" ", b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b"$", b"%", b"=", b"#"),
    *(b"{", b"}", b"[", b"]", b"[" * 2_000, b'{"a":' * 2_000, b",", b";", b":", b"null", b"true", b"{}"),
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"9" * 400,
        b"0.1",
        b"-1",
        b"2147483648",
        b"9223372036854775808",
    ),
    *(b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"\xff\xff\xff\xff", b"\x80\x80\x80\x80\x01"),
)

_NUMBERS: Final = st.one_of(
    st.integers(-3, 3),
    st.sampled_from((2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30)),
    st.sampled_from((0.0, -0.0, 0.5, 1e-320, 1e300, -1e300, math.inf, -math.inf, math.nan)),
    st.floats(),
)
_ODD: Final = (
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "\u2028",
        "\ufeff",
        "\x1b[2J",
        "$",
        "$$",
        "$PATH",
        "%Y",
        "*",
        "{",
        "[",
        "'",
        "a b",
    ),
    *(
        "~",
        "~nobody/x",
        "..",
        "/",
        "//",
        "s3://",
        "s3://b/k",
        "file:///x",
        "http://[::1",
        "sqlite://",
        "x:y@z",
    ),
    *("1h", "0s", "-1h", "9999999d", "1e9h", "2h 3", "NaN", "true", "1_0", "0x10", "2026-11-24T10:30:60Z"),
)
TEXTS: Final = st.sampled_from(_ODD) | st.text(max_size=12)
SCALARS: Final = st.one_of(st.none(), st.booleans(), _NUMBERS, TEXTS)
VALUES: Final[st.SearchStrategy[Any]] = st.recursive(
    SCALARS, lambda of: st.lists(of, max_size=4) | st.dictionaries(TEXTS, of, max_size=4), max_leaves=6
)


def inputs(n: int) -> Callable[[Test], Test]:
    """Let a test try `n` inputs, and shrink one at which it fails."""
    profile = settings(
        max_examples=n,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    return lambda test: pytest.mark.inputs(n)(profile(test))


@st.composite
def changed(draw: st.DrawFn, valid: Sequence[bytes], pieces: Sequence[bytes] = PIECES) -> bytes:
    """A valid content with one to five changes: bytes inserted, replaced, removed, repeated or cut off."""
    data = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.sampled_from((0, 0, 1, 1, 2, 8, 40)))
        piece = draw(st.sampled_from(pieces) | st.binary(max_size=4) | st.just(data[start:end] * 3))
        data = data[:start] + piece + (b"" if draw(st.integers(0, 19)) == 0 else data[end:])
    return data


def replaced(document: object, path: Sequence[str | int], value: object) -> Any:  # noqa: ANN401 - JSON
    """A copy of a document with the value at a path."""
    if not path:
        return value
    copy: Any = dict(document) if isinstance(document, dict) else list(document)  # type: ignore[call-overload]
    copy[path[0]] = replaced(copy[path[0]], path[1:], value)
    return copy


def paths(document: object) -> list[tuple[str | int, ...]]:
    """The paths of all parts of a document."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    return [(), *((key, *rest) for key, each in items for rest in paths(each))]


@st.composite
def edited(draw: st.DrawFn, documents: Sequence[object], values: st.SearchStrategy[Any] = VALUES) -> Any:  # noqa: ANN401
    """A valid document with one to three values replaced or removed, or added under an odd key."""
    document: Any = draw(st.sampled_from(documents))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(document)[1:] or [()]))
        how = draw(st.integers(0, 9))
        if how == 0 and path and isinstance(path[-1], str):
            document = replaced(document, path[:-1], _without(_at(document, path[:-1]), path[-1]))
        elif how == 1 and isinstance(_at(document, path), dict):
            document = replaced(document, path, {**_at(document, path), draw(TEXTS): draw(values)})
        else:
            document = replaced(document, path, draw(values))
        if not isinstance(document, dict | list):
            break
    return document


def _at(document: object, path: Sequence[str | int]) -> Any:  # noqa: ANN401 - as above
    for key in path:
        document = document[key]  # type: ignore[index]
    return document


def _without(document: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in document.items() if name != key}
