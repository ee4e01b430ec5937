"""The texts of errors: one line, of bounded length."""

from db.errors import LONGEST_TEXT, LONGEST_VALUE, RedistillError, one_line, quoted


class UnreadableError(RedistillError):
    """The file cannot be read:
    {cause}.
    """


class UnknownError(RedistillError):
    """The label {label!r} of {n!s} is unknown: correct it."""


def test_a_text_is_one_line() -> None:
    assert one_line(" no\n such\t file ") == "no such file"


def test_a_huge_text_is_cut_wherever_it_comes_from() -> None:
    """It is stored in SQL, and sent to the on-call."""
    huge = "x" * 5_000_000
    for text in (one_line(ValueError(huge)), str(UnreadableError(cause=huge))):
        assert len(text) == LONGEST_TEXT
        assert text.endswith("x…")


def test_a_long_value_is_cut_and_the_fix_after_it_is_kept() -> None:
    huge = "x" * 100_000
    assert str(UnknownError(label="refund", n=2)) == "The label 'refund' of 2 is unknown: correct it."
    message = str(UnknownError(label=huge, n=2))
    assert message.endswith("x…' of 2 is unknown: correct it.")
    assert len(message) < LONGEST_VALUE + 50
    assert len(quoted([huge])) == LONGEST_VALUE
    assert quoted({"a": huge}).endswith("x…}")
