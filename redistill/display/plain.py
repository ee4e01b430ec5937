"""Text of others, such as labels, object names and reasons, made safe to show on a terminal."""

import json
import re
import sys
from io import TextIOWrapper
from typing import Final

_REPLACEMENT: Final = "\ufffd"
#: Control characters except tab and line feed, and characters that reorder or break a line.
_UNSAFE: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_CHARACTER: Final = re.compile(f"[{_UNSAFE}]")


def plain(text: str) -> str:
    r"""Return the text with U+FFFD for each control character, so that it cannot steer a terminal.

    Example:
        >>> plain("refund\x1b[2J")
        'refund�[2J'
    """
    return _CHARACTER.sub(_REPLACEMENT, text)


def escaped(document: str) -> str:
    """Return a JSON document with such characters, which can only be part of its strings, as escapes."""
    return _CHARACTER.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def in_encoding(document: str, encoding: str | None) -> str:
    r"""Return a JSON document that the encoding can express: with escapes if it lacks a character.

    Example:
        >>> in_encoding('{"label": "né"}', "ascii"), in_encoding('{"label": "né"}', "utf-8")
        ('{"label": "n\\u00e9"}', '{"label": "né"}')
    """
    try:
        document.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return "".join(each if each.isascii() else json.dumps(each)[1:-1] for each in document)
    return document


def tolerate_any_encoding() -> None:
    """Let this process show characters that the encoding of its output does not have, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
