"""The texts of errors: one line, of bounded length."""

from db.errors import LONGEST_TEXT, RedistillError, one_line


class UnreadableError(RedistillError):
    """The file cannot be read:
    {cause}.
    """


def test_a_text_is_one_line() -> None:
    assert one_line(" no\n such\t file ") == "no such file"


def test_a_huge_text_is_cut_wherever_it_comes_from() -> None:
    """It is stored in SQL, and sent to the on-call."""
    huge = "x" * 5_000_000
    for text in (one_line(ValueError(huge)), str(UnreadableError(cause=huge))):
        assert len(text) == LONGEST_TEXT
        assert text.endswith("x…")
