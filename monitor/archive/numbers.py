"""Numbers in a text: cards, telephone numbers and national ids, and not dates, book numbers and quantities.

A run of digits and separators is read once, from left to right, in time linear in its length.
"""

import re
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Final

_DASHES: Final = "\\-\u2010-\u2015\u2212\uff0d"
_BLANKS: Final = " \u00a0\u2007\u2009\u202f\u3000"
_SEPARATORS: Final = f"[{_DASHES}{_BLANKS}\\n./()\uff08\uff09]"
#: Digits of any script, with up to three separators between two of them.
_RUN: Final = re.compile(rf"(?:[+\uff0b] ?)?[(\uff08]?\d(?:{_SEPARATORS}{{0,3}}+\d)*+")
_GROUP: Final = re.compile(r"\d+")
#: A date, unless the same separator and more digits follow.
_DATE: Final = re.compile(
    rf"(\d{{4}}|\d{{1,2}})([{_DASHES}{_BLANKS}./])(\d{{1,2}})\2(\d{{4}}|\d{{1,2}})(?!\d|\2\d)"
)
_CALLING: Final = re.compile(
    r"(?:tel|phone|fax|mobile?|cell|handy|call|dial|ring|sms|whatsapp|reach me)\w*[^\w\n]{0,4}"
    r"(?:(?:me|us|is|at|on|under|unter|no|nr|number)\b[^\w\n]{0,3}){0,3}$",
    re.IGNORECASE,
)
_BOOK: Final = re.compile(r"isbn(?:-1[03])?\W{0,3}$", re.IGNORECASE)
_CONTEXT_CHARS: Final = 32
_PLUS: Final = ("+", "\uff0b")
_CARD_DIGITS: Final = range(13, 20)
_BOOK_DIGITS: Final = (9, 10, 13)  #: 9 before an X
_FIRST: Final = "234569"  #: with which cards and the prefix of books begin
_PHONE_DIGITS: Final = range(7, 16)
_LONG: Final = 6
_LONG_IN_GROUPS: Final = 9
_LEAST_GROUP: Final = 3  #: digits of the longest group of a long number
_YEAR_DIGITS: Final = 4
_SHORT_YEAR_DIGITS: Final = 2
_YEARS: Final = range(1900, 2101)
_MONTHS: Final = range(1, 13)
_DAYS: Final = range(1, 32)
#: Lengths of the groups of telephone numbers that begin with neither + nor 0, and of what they begin with.
_PHONES: Final = {
    (3, 3, 4): "[1-9]",  # North America, Mexico
    (1, 3, 3, 4): "1",
    (3, 2, 2, 2): "[6-9]",  # Spain
    (5, 5): "[6-9]",  # India
    (3, 4, 4): "1[3-9]",  # China
}
#: Lengths of the groups of national ids, and of what they begin with.
_IDS: Final = {
    (3, 2, 4): ".",  # United States
    (3, 4, 4, 2): "756",  # Switzerland
    (3, 3, 3, 2): ".",  # Brazil, a person
    (2, 3, 3, 4, 2): ".",  # Brazil, a company
    (1, 2, 2, 2, 3, 3, 2): "[12]",  # France
    (4, 4, 4): "[2-9]",  # India; with a check digit
}


def replace_numbers(text: str) -> str:
    """Return the text with [card], [phone], [id] or [number] for numbers that may be of a person."""
    return _RUN.sub(lambda found: _Run(found).replaced(), text)


class _Run:
    """A run of groups of digits, of which some consecutive ones are one number."""

    def __init__(self, found: re.Match[str]) -> None:
        self._text = found.string
        self._start, self._end = found.span()
        self._spans = [each.span() for each in _GROUP.finditer(self._text, self._start, self._end)]
        self._lengths = [end - start for start, end in self._spans]
        self._offsets = [0, *accumulate(self._lengths)]
        groups = "".join(self._text[start:end] for start, end in self._spans)
        self._digits = groups if groups.isascii() else "".join(str(int(each)) for each in groups)
        self._lead = self._text[self._start : self._spans[0][0]]  #: a plus sign, a bracket

    def replaced(self) -> str:
        out, at = [], self._start
        for first, end, word in self._parts():
            begin = self._start if first == 0 and word else self._spans[first][0]
            stop = self._spans[end - 1][1]
            out += [self._text[at:begin], word or self._text[begin:stop]]
            at = stop
        return "".join([*out, self._text[at : self._end]])

    def _parts(self) -> Iterator[tuple[int, int, str | None]]:
        """Yield the parts, as the index of the first group and that after the last, and the word of each."""
        index = rest = 0
        while index < len(self._spans):
            n, word = self._known(index)
            if n == 0:
                index += 1
                continue
            if rest < index:
                yield rest, index, self._word(rest, index)
            yield index, index + n, word
            index = rest = index + n
        if rest < len(self._spans):
            yield rest, len(self._spans), self._word(rest, len(self._spans))

    def _known(self, index: int) -> tuple[int, str | None]:
        """Return the number of groups of a date, a book number or a card that begins here, and its word."""
        if self._lead[:1] in _PLUS and self._offsets[index] < _PHONE_DIGITS.start:
            return 0, None  # it is a part of the telephone number
        if self._is_date(index):
            return 3, None
        first, is_called_book = self._offsets[index], index == 0 and bool(_BOOK.search(self._before(0)))
        if self._digits[first] not in _FIRST and not is_called_book:
            return 0, None
        for end in range(index + 1, len(self._spans) + 1):
            n_digits = self._offsets[end] - first
            if n_digits >= _CARD_DIGITS.stop:
                break
            if n_digits < _BOOK_DIGITS[0]:
                continue
            number = self._digits[first : self._offsets[end]]
            if n_digits in _BOOK_DIGITS and (is_called_book or (end > index + 1 and _is_ean(number))):
                return end - index, None
            if n_digits in _CARD_DIGITS and number[0] != "9" and _is_luhn(number):
                return end - index, "[card]"
        return 0, None

    def _is_date(self, index: int) -> bool:
        found = _DATE.match(self._text, self._spans[index][0])
        if found is None:
            return False
        first, separator, middle, last = found.groups()
        if len(first) == _YEAR_DIGITS:
            return _is_year(first) and _is_day(last, middle)
        is_short_year = len(last) == _SHORT_YEAR_DIGITS and separator in ".-/"
        is_year = _is_year(last) if len(last) == _YEAR_DIGITS else is_short_year
        return is_year and (_is_day(first, middle) or _is_day(middle, first))

    def _word(self, index: int, end: int) -> str | None:
        before = self._before(index)
        is_free = not (before[-1:].isalnum() or self._text[self._spans[end - 1][1] :][:1].isalnum())
        lengths, digits = tuple(self._lengths[index:end]), self._number(index, end)
        if is_free and _is_id(lengths, digits):
            return "[id]"
        if is_free and self._is_phone(index, end, before):
            return "[phone]"
        return "[number]" if max(lengths) >= _LONG or self._is_grouped_number(index, end) else None

    def _is_grouped_number(self, index: int, end: int) -> bool:
        """Return whether groups are one long number, such as that of an account, and not volumes 7 8 9."""
        groups = [self._number(each, each + 1) for each in range(index, end)]
        gaps = "".join(self._separator(each) for each in range(index, end - 1))
        is_short = sum(map(len, groups)) < _LONG_IN_GROUPS or max(map(len, groups)) < _LEAST_GROUP
        if is_short or "\n" in gaps:
            return False
        values = [int(each) for each in groups]
        is_list = not gaps.strip() and all(one < other for one, other in pairwise(values))
        return not is_list and not all(len(each) == _YEAR_DIGITS and _is_year(each) for each in groups)

    def _is_phone(self, index: int, end: int, before: str) -> bool:
        digits, lead = self._number(index, end), self._lead if index == 0 else ""
        gaps = [self._separator(each) for each in range(index, end - 1)]
        if len(digits) not in _PHONE_DIGITS or any("\n" in gap for gap in gaps):
            return False
        if lead[:1] in _PLUS:
            return True
        if not gaps:
            return False  # it may be any number
        if lead or _CALLING.search(before):
            return True
        lengths = tuple(self._lengths[index:end])
        if digits[0] == "0":  # but not 0.5 and 09.00-17.30
            is_span = lengths == (2, 2, 2, 2) and gaps[0] == gaps[2] == "."
            return lengths[0] > 1 and not is_span
        begin = _PHONES.get(lengths)
        return begin is not None and re.match(begin, digits) is not None

    def _number(self, index: int, end: int) -> str:
        return self._digits[self._offsets[index] : self._offsets[end]]

    def _separator(self, index: int) -> str:
        """Return the text between a group and the next; empty after the last."""
        following = self._spans[index + 1][0] if index + 1 < len(self._spans) else self._spans[index][1]
        return self._text[self._spans[index][1] : following]

    def _before(self, index: int) -> str:
        start = self._start if index == 0 else self._spans[index][0]
        return self._text[max(0, start - _CONTEXT_CHARS) : start]


def _is_id(lengths: tuple[int, ...], digits: str) -> bool:
    begin = _IDS.get(lengths)
    if begin is None or not re.match(begin, digits):
        return False
    return lengths != (4, 4, 4) or _is_verhoeff(digits)


def _is_year(digits: str) -> bool:
    return int(digits) in _YEARS


def _is_day(day: str, month: str) -> bool:
    return max(len(day), len(month)) < _YEAR_DIGITS and int(day) in _DAYS and int(month) in _MONTHS


def _is_ean(digits: str) -> bool:
    """Return whether the digits are an ISBN of 13 digits, by its prefix and check digit."""
    if len(digits) != _BOOK_DIGITS[-1] or not digits.startswith(("978", "979")):
        return False
    return sum(int(each) * (3 if place % 2 else 1) for place, each in enumerate(digits)) % 10 == 0


def _is_luhn(digits: str) -> bool:
    """Return whether the last digit is a valid check digit. Source: ISO/IEC 7812-1 annex B."""
    return sum(map(int, digits[-1::-2] + digits[-2::-2].translate(_DOUBLED))) % 10 == 0


#: The sum of the digits of twice a digit.
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")
_DIHEDRAL: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTED: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _is_verhoeff(digits: str) -> bool:
    """Return whether the last digit is a valid check digit. Source: J. Verhoeff, 1969; used by Aadhaar."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][int(digit)])])
    return check == 0
