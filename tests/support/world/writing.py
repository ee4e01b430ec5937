"""Ways in which users write: typing errors and chat style."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

Change = Callable[[str], str]

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE: Final = {row[at]: row[at + 1] for row in _ROWS for at in range(len(row) - 1)}
_SHORT: Final = {
    "you": "u", "are": "r", "your": "ur", "please": "pls", "to": "2", "for": "4", "what": "wat",
    "want": "wanna", "with": "w", "and": "n", "account": "acct", "because": "cuz", "would": "wud",
    "i'd": "id", "how": "hw", "don't": "dont", "thanks": "thx", "the": "da", "my": "mi",
}  # fmt: skip
_BEFORE: Final = ("hey ", "yo ", "hi ", "um ", "")
_AFTER: Final = ("", " lol", " thx", "??", "!!", " asap")


def typing_errors(rate: float, rng: np.random.Generator) -> Change:
    """A share of the words of three letters or more has one: two letters exchanged, one left out, doubled or
    replaced by its neighbour on the keyboard.
    """

    def slip(word: str) -> str:
        if len(word) < 3 or rng.random() >= rate:
            return word
        at = int(rng.integers(len(word) - 1))
        before, one, other, after = word[:at], word[at], word[at + 1], word[at + 2 :]
        slips = (other + one, other, one + one + other, _BESIDE.get(one, one) + other)
        return before + slips[int(rng.integers(len(slips)))] + after

    return lambda text: " ".join(map(slip, text.split()))


def chat(rng: np.random.Generator) -> Change:
    """Shortened words, a greeting before and an afterthought."""

    def change(text: str) -> str:
        words = " ".join(_SHORT.get(word, word) for word in text.split())
        return f"{rng.choice(_BEFORE)}{words}{rng.choice(_AFTER)}"

    return change


def chat_with_errors(rng: np.random.Generator) -> Change:
    """Both."""
    shorten, slip = chat(rng), typing_errors(0.2, rng)
    return lambda text: slip(shorten(text))


STYLES: Final[Mapping[str, Callable[[np.random.Generator], Change]]] = {
    "typing errors in 15% of the words": lambda rng: typing_errors(0.15, rng),
    "typing errors in 30%": lambda rng: typing_errors(0.3, rng),
    "chat style": chat,
    "chat style with typing errors in 20%": chat_with_errors,
}
