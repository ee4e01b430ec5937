"""The regular expressions of a user, which must not stop a cycle, whatever they are.

Python's own engine may take exponential time, and lets no other thread run meanwhile. The engine here stops
after a time; a text on which it was stopped is redacted as a whole.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, Self

import regex

from db.errors import quoted

#: The time for one pattern on one text. A text of 10,000 characters takes a simple pattern a millisecond.
LIMIT_SECONDS: Final = 0.25
WORD: Final = "[redacted]"


@dataclass(frozen=True)
class OwnPatterns:
    """Compiled patterns, in the order in which they are applied."""

    compiled: tuple["regex.Pattern[str]", ...]

    @classmethod
    @cache
    def of(cls, patterns: tuple[str, ...]) -> Self:
        """Return the patterns."""
        return cls(tuple(map(regex.compile, patterns)))

    def replaced(self, text: str) -> str:
        """Return the text with a word for each match; the word alone if a pattern takes too long."""
        for pattern in self.compiled:
            try:
                text = pattern.sub(_word, text, timeout=LIMIT_SECONDS)
            except TimeoutError:
                return WORD
        return text


def _word(found: "regex.Match[str]") -> str:
    return WORD if found[0] else ""  # `[A-Z]*` also matches the empty text between any two characters


#: Texts on which patterns with nested repetitions take exponential time.
_PROBES: Final = tuple(
    f"{run * 40}{end}" for run in ("a", "1", "a1", " ", "a ", "-", "a.", "@") for end in ("", "!", "\n", "a")
)


def check_pattern(pattern: str) -> None:
    """Check a pattern when it is read.

    Raises:
        ValueError: it is not a regular expression, or takes too long on a short text.
    """
    try:
        compiled = regex.compile(pattern)
    except Exception as error:
        raise ValueError(f"{quoted(pattern)} is not a regular expression: {error}") from error
    for probe in _PROBES:
        try:
            compiled.sub("", probe, timeout=LIMIT_SECONDS)
        except TimeoutError as error:
            slow = f"takes over {LIMIT_SECONDS:g} s on {len(probe)} characters"
            raise ValueError(f"{quoted(pattern)} {slow}: write it without nested repetitions") from error
