"""The words of texts in any script, and of texts that are made to do harm."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.slices.words import LONGEST, incidence, vocabulary, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Wire £20 to Ann, wire it NOW", ["wire", "20", "to", "ann", "it", "now"]),
        ("my card is [card], mail [email]", ["my", "card", "is", "[card]", "mail", "[email]"]),
        ("what\u2019s my PIN?", ["what's", "my", "pin"]),
        ("ﬁne Straße Ⅻ", ["fine", "strasse", "xii"]),
        ("कहाँ है ऑर्डर", ["कहाँ", "है", "ऑर्डर"]),
        ("أين طلبي؟", ["أين", "طلبي"]),
        ("返品 したい", ["返品", "した", "たい"]),
        ("👍🏽 thanks 😀", ["👍", "🏽", "thanks", "😀"]),
        ("a_b\u202egnp.exe\u2066", ["a", "b", "gnp", "exe"]),
        ("red\x1b[31m\x00\u200b", ["red", "31m"]),
        ("", []),
    ],
)
def test_the_words_of_a_text(text: str, words: list[str]) -> None:
    assert words_of(text) == [unicodedata.normalize("NFKC", word).casefold() for word in words]


def test_a_long_word_is_cut_and_a_long_text_is_read_in_part() -> None:
    assert words_of("x" * 5_000) == ["x" * LONGEST]
    assert len(words_of(" ".join(f"word{index}" for index in range(5_000)))) == 500


@given(st.text())
def test_words_are_short_and_cannot_steer_a_terminal(text: str) -> None:
    words = words_of(text)
    assert len(set(words)) == len(words)
    for word in words:
        assert 0 < len(word) <= LONGEST
        assert not {unicodedata.category(each) for each in word} & {"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"}


def test_the_vocabulary_has_words_of_some_but_not_of_most_texts() -> None:
    texts = ["my oil change", "my oil", "my order", "my oil oil", "my refund"]
    assert vocabulary(texts, at_least=2, at_most=3) == ("oil",)
    assert vocabulary((), at_least=0, at_most=0) == ()


def test_the_incidence_says_which_texts_have_which_words() -> None:
    found = incidence(["oil change", "", "change oil oil", "new"], ("change", "oil"))
    assert found.toarray().tolist() == [[1, 1], [0, 0], [1, 1], [0, 0]]
    assert incidence((), ("oil",)).shape == (0, 1)
