"""Redaction of texts before they are stored: removes what may identify a person, or grants access.

The patterns match too much rather than too little. They do not match names and postal addresses. Each takes
time linear in the text. docs/redaction.md has the figures.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from monitor.archive.numbers import replace_numbers
from monitor.archive.own_patterns import OwnPatterns
from monitor.settings import MonitorSection

_AT: Final = "[@\uff20\ufe6b]"
_DOT: Final = "[.\uff0e\u3002\uff61]"
_LOCAL: Final = r"[\w.!#$%&'*+/=?^`{|}~-]"
_EMAIL: Final = re.compile(rf'(?:(?<!{_LOCAL}){_LOCAL}++|"[^"\n@]{{1,64}}+"){_AT}[\w-]++(?:{_DOT}[\w-]++)++')
_AT_IN_WORDS: Final = r"[(\[{<]\s?(?:at|ät|arroba|chez)\s?[)\]}>]"
_DOT_IN_WORDS: Final = (
    rf"(?:{_DOT}|\s?[(\[{{<]\s?(?:dot|punkt|point|punto)\s?[)\]}}>]\s?|\s(?:dot|punkt|point|punto)\s)"
)
_SPELLED_EMAIL: Final = re.compile(
    rf"(?<![\w.+-])[\w.+-]{{1,64}}+\s?{_AT_IN_WORDS}\s?[\w-]{{1,63}}+(?:{_DOT_IN_WORDS}[\w-]{{1,63}}+){{0,4}}+"
    r"|(?<![\w.+-])[\w.+-]{1,64}+ at (?!the\b|an?\b)[\w-]{1,63}+(?: dot [\w-]{2,63}+){1,3}+",
    re.IGNORECASE,
)
_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----"
    r"(?:\s*+[A-Za-z0-9+/=]{16,}+)*+(?:\s*+-----END [A-Z ]{0,32}KEY-----)?"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|hf_|npm_|xox[abeprs]-|sk-|(?:sk|pk|rk)_(?:live|test)_)[\w-]{10,}+"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w-]{30,}+|\beyJ[\w-]{8,}+\.[\w-]++(?:\.[\w-]*+)?"
    r"|\bBearer\s+[\w.~+/=-]{16,}+"
    r"|\b0x[0-9a-fA-F]{40}\b|\bbc1[a-z0-9]{25,60}+"
)
_PASSWORD: Final = re.compile(
    r"\b((?:pass(?:word|wort|code|phrase)?|passwd|pwd|kennwort|pin|secret|token|api[ _-]?key)"
    r"\s{0,3}[:=]\s{0,3})(?=\S{0,200}?\d)[^\s\[]\S{3,}+",
    re.IGNORECASE,
)
_DIGIT: Final = re.compile(r"[\d:]")
_IBAN: Final = re.compile(r"(?<![^\W_])[A-Za-z]{2}\d{2}(?:[ \u00a0\u202f-]?[A-Za-z0-9]){11,30}+")
_ID: Final = re.compile(
    r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"  # United Kingdom
    r"|\b(?:\d{8}|[XYZ]\d{7})-?[A-HJ-NP-TV-Z]\b"  # Spain
    r"|\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b"  # Italy
    r"|\b[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]\b"  # India
)
_PASSPORT: Final = re.compile(
    r"\b((?:passport|passeport|pasaporte|reisepass|pass)(?: ?-?(?:no|number|num|nr)\b)?\W{1,3})"
    r"(?=\w{0,8}\d)[A-Z0-9]{8,10}\b",
    re.IGNORECASE,
)
_IP_V4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IP_V6: Final = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])")
_MAC: Final = re.compile(r"\b[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}\b")
_LEAST_IBAN: Final = 15  #: characters; Norway's
_LEAST_HEX: Final = 5  #: digits of an address; 12::30 is a time

#: Returns the text that is stored for a text.
Redact = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Redactor:
    r"""The redaction of what may identify a person or grant access, and of matches of `patterns`.

    Example:
        >>> redact = Redactor(patterns=(r"ORD-\w+",))
        >>> redact("I'm ann@example.org, +49 170 1234567; where is ORD-77ab, paid with 4111 1111 1111 1111?")
        "I'm [email], [phone]; where is [redacted], paid with [card]?"
    """

    patterns: Sequence[str] = ()  #: regular expressions

    def __call__(self, text: str) -> str:
        """Return the text with a word in brackets for each match; a redacted text does not change."""
        if self.patterns:
            text = OwnPatterns.of(tuple(self.patterns)).replaced(text)
        text = _KEY.sub("[key]", text)
        text = _PASSWORD.sub(r"\1[password]", text)
        text = _EMAIL.sub("[email]", text)
        text = _SPELLED_EMAIL.sub("[email]", text)
        return _without_numbers(text) if _DIGIT.search(text) else text


def _without_numbers(text: str) -> str:
    text = _IBAN.sub(_without_iban, text)
    text = _PASSPORT.sub(r"\1[id]", text)
    text = _ID.sub("[id]", text)
    text = _MAC.sub("[address]", text)
    text = _IP_V6.sub(_replace_if(_is_v6, "[address]"), text)
    text = _IP_V4.sub(_replace_if(_is_address, "[address]"), text)
    return replace_numbers(text)


def redactor(section: MonitorSection) -> Redact:
    """Return the function that redacts texts before they are archived."""
    return Redactor(patterns=section.redact_patterns) if section.redact else str


def _replace_if(holds: Callable[[str], bool], word: str) -> Callable[[re.Match[str]], str]:
    return lambda found: word if holds(found[0]) else found[0]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_v6(text: str) -> bool:
    return sum(map(str.isalnum, text)) >= _LEAST_HEX and _is_address(text)


def _without_iban(found: re.Match[str]) -> str:
    """Return the text without the longest IBAN with which it begins, by its check digits (ISO 13616)."""
    text = found[0]
    for end in range(len(text), _LEAST_IBAN - 1, -1):
        compact = "".join(filter(str.isalnum, text[:end])).upper()
        is_whole = end == len(text) or not text[end].isalnum()
        if is_whole and text[end - 1].isalnum() and len(compact) >= _LEAST_IBAN and _is_iban(compact):
            return f"[iban]{text[end:]}"
    return text


def _is_iban(compact: str) -> bool:
    return (
        compact.isascii() and int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1
    )
