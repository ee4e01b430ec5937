"""Redaction of texts before they are stored: removes what may identify a person.

The patterns match too much rather than too little: a date in digits looks like a telephone number. They do
not match names and addresses.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.settings import MonitorSection

_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_PHONE = re.compile(r"(?<![\w+])(?:\+ ?)?\(?\d(?:[ ./()-]{0,2}\d){6,14}(?!\w)")
_NUMBER = re.compile(r"\d{6,}")


#: Returns the text that is stored for a text.
Redact = Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class Redactor:
    r"""The redaction of e-mail addresses, card, telephone and other long numbers, and matches of `patterns`.

    Example:
        >>> redact = Redactor(patterns=(r"ORD-\w+",))
        >>> redact("I'm ann@example.org, +49 170 1234567; where is ORD-77ab, paid with 4111 1111 1111 1111?")
        "I'm [email], [phone]; where is [redacted], paid with [card]?"
    """

    patterns: Sequence[str] = ()  #: regular expressions

    def __call__(self, text: str) -> str:
        """Return the text with a word in brackets for each match; a redacted text does not change."""
        for pattern in self.patterns:
            text = re.sub(pattern, "[redacted]", text)
        text = _EMAIL.sub("[email]", text)
        text = _CARD.sub(_replace_if(_has_check_digit, "[card]"), text)
        text = _PHONE.sub(_replace_if(_is_grouped, "[phone]"), text)
        return _NUMBER.sub("[number]", text)


def redactor(section: MonitorSection) -> Redact:
    """Return the function that redacts texts before they are archived."""
    return Redactor(patterns=section.redact_patterns) if section.redact else str


def _replace_if(holds: Callable[[str], bool], word: str) -> Callable[[re.Match[str]], str]:
    return lambda found: word if holds(found[0]) else found[0]


def _has_check_digit(number: str) -> bool:
    """Return whether the last digit is a valid check digit. Source: Luhn, ISO/IEC 7812-1 annex B."""
    digits = [int(each) for each in number if each.isdecimal()][::-1]
    doubled = (sum(divmod(2 * each, 10)) for each in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_grouped(number: str) -> bool:
    """Return whether the digits are grouped; digits alone may be any number."""
    return not number.isdecimal()
