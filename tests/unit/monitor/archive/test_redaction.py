"""What is taken out of texts before they are kept."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.archive.redaction import Redactor

redact = Redactor()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail ann.lee+manga@mail.example.co.uk now", "mail [email] now"),
        ("größe@exämple.de", "[email]"),
        ("ann@example.org,bob@example.org", "[email],[email]"),
        ("4111111111111111", "[card]"),
        ("4111 1111 1111 1111 and 3782-822463-10005", "[card] and [card]"),
        ("+49 170 1234567", "[phone]"),
        ("call (030) 901820-12!", "call [phone]!"),
        ("0170/123 45 67", "[phone]"),
        ("555-867-5309", "[phone]"),
        ("order 123456", "order [number]"),
        ("4111111111111112", "[number]"),
        ("١٢٣٤٥٦٧", "[number]"),
        ("volume 12 of 2026", "volume 12 of 2026"),
        ("one piece 105, 2 copies at 12.99", "one piece 105, 2 copies at 12.99"),
        ("where is my order?", "where is my order?"),
        ("a@b", "a@b"),
        ("", ""),
    ],
)
def test_what_may_name_a_person_is_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_patterns_of_ones_own_come_first() -> None:
    own = Redactor(patterns=(r"\bORD-\d+", r"(?i)customer \w+"))
    assert (
        own("Customer Ann asks for ORD-1234567 and 1234567") == "[redacted] asks for [redacted] and [number]"
    )


TEXTS = st.text(st.sampled_from("ab @.+-()/ 0123456789é[]"), max_size=40)


@given(TEXTS | st.text())
def test_what_is_redacted_stays_as_it_is(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(TEXTS | st.text())
def test_no_long_number_and_no_address_is_left(text: str) -> None:
    left = redact(text)
    assert not re.search(r"\d{6}", left)
    assert not re.search(r"\w@\w+\.\w", left)
