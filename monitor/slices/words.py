"""The words of a text, normalised, cut, and without characters that could steer a terminal."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from scipy import sparse

#: Longer words are cut; they count as equal if their beginnings are.
LONGEST: Final = 40
_CHARACTERS_READ: Final = 10_000
_WORDS_READ: Final = 500

#: Scripts without blanks between words, whose pairs of neighbouring characters stand for words.
_UNSPACED: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
#: Marks within words that are not letters to Python, such as the vowel signs of Indic scripts.
_MARKS: Final = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u109f\u1780-\u17d3"
_PICTURES: Final = "\u2600-\u27bf\U0001f300-\U0001faff"
_LETTERS: Final = rf"(?:[^\W_{_UNSPACED}]|[{_MARKS}])+"
_WORD: Final = re.compile(
    rf"\[[a-z]{{1,12}}\]|(?P<unspaced>[{_UNSPACED}]+)|{_LETTERS}(?:['\u2019]{_LETTERS})*|[{_PICTURES}]"
)


def words_of(text: str) -> list[str]:
    """Return the distinct words of a text in the order in which they first occur.

    Words are in NFKC and without case. A placeholder of redaction is a word, an emoji is one, and in Chinese
    and Japanese two neighbouring characters are. Only the beginning of a very long text is read.

    Example:
        >>> words_of("Where's MY order? Mail [email]!")
        ["where's", 'my', 'order', 'mail', '[email]']
        >>> words_of("返品したい")
        ['返品', '品し', 'した', 'たい']
    """
    found: dict[str, None] = {}
    normalised = unicodedata.normalize("NFKC", text[:_CHARACTERS_READ]).casefold()
    for match in _WORD.finditer(normalised[:_CHARACTERS_READ]):
        run = match["unspaced"]
        if run is None:
            found[match[0][:LONGEST].replace("\u2019", "'")] = None
        else:
            found.update(dict.fromkeys(_pairs(run)))
        if len(found) >= _WORDS_READ:
            break
    return list(found)


def _pairs(run: str) -> Iterable[str]:
    return (run[at : at + 2] for at in range(max(len(run) - 1, 1)))


def vocabulary(texts: Sequence[str], *, at_least: int, at_most: float) -> tuple[str, ...]:
    """Return the words that at least and at most so many of the texts have, in alphabetical order."""
    counts: dict[str, int] = {}
    for text in texts:
        for word in words_of(text):
            counts[word] = counts.get(word, 0) + 1
    return tuple(sorted(word for word, n in counts.items() if at_least <= n <= at_most))


def incidence(texts: Sequence[str], words: Sequence[str]) -> sparse.csr_array:
    """Return which texts have which words, (texts, words), as 0 and 1."""
    columns = {word: column for column, word in enumerate(words)}
    rows = [[columns[word] for word in words_of(text) if word in columns] for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.intp)])
    indices = np.array([column for row in rows for column in row], dtype=np.intp)
    return sparse.csr_array((np.ones(indices.size), indices, starts), shape=(len(texts), len(words)))
