"""Simulated requests to MangaAssist, the assistant of a bookshop, with ten intents and in two worlds.

In the usual world customers ask as in the labelled data. In the shifted world they ask for other titles, in
another mix of intents, and in about half of the requests with phrases that the usual world never has. In
both, a share of the requests (`AMBIGUOUS_SHARE`) fits two intents, which keeps every classifier of the text
below 100% (`bayes_accuracy`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from redistill.demo import phrases, slang
from redistill.demo.ambiguity import AMBIGUOUS

FloatArray = npt.NDArray[np.float64]


class World(StrEnum):
    """The world that a request comes from."""

    #: the traffic of the labelled data
    USUAL = "usual"
    #: new titles, new phrases, another mix of intents
    SHIFTED = "shifted"


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One request, the intent of its author, and its world."""

    text: str
    label: str
    world: World


#: intent → share of the usual traffic; sums to 1
MIX: Final[Mapping[str, float]] = {
    "product_discovery": 0.22,
    "recommendation": 0.18,
    "product_question": 0.15,
    "order_tracking": 0.12,
    "faq": 0.08,
    "return_request": 0.07,
    "chitchat": 0.06,
    "promotion": 0.05,
    "checkout_help": 0.04,
    "escalation": 0.03,
}
#: intent → share of the shifted traffic; sums to 1
SHIFTED_MIX: Final[Mapping[str, float]] = {
    "product_discovery": 0.24,
    "recommendation": 0.15,
    "product_question": 0.14,
    "order_tracking": 0.13,
    "faq": 0.07,
    "return_request": 0.07,
    "chitchat": 0.05,
    "promotion": 0.07,
    "checkout_help": 0.05,
    "escalation": 0.03,
}
#: the ten intents, most frequent first: the order of the models' classes
INTENTS: Final[tuple[str, ...]] = tuple(MIX)
#: share of requests, in either world, that fit two intents
AMBIGUOUS_SHARE: Final = 0.25
#: share of the unambiguous shifted requests whose phrases the usual world never has
SLANG_SHARE: Final = 0.6

_TYPO_SHARE = 0.2
_GREETING_SHARE = 0.25
_CLOSING_SHARE = 0.25
_GREETINGS = ("hi, ", "hello, ", "hey, ", "hi there, ", "good morning, ", "ok so ", "um, ")
_CLOSINGS = (" please", " thanks", ", thank you", "?", "??", " pls", "!", " asap", " :)", ".")
_SLOT = re.compile(r"\{(\w+)\}")
_SHORTEST_WORD_WITH_A_TYPO = 4
_FORM_SHARES = np.array([form.weight for form in AMBIGUOUS])
_FORM_SHARES /= _FORM_SHARES.sum()
_CASINGS = (str.lower, str.capitalize, str.upper)
_CASING_SHARES = np.array((0.61, 0.35, 0.04))


def bayes_accuracy() -> float:
    """Return the highest accuracy that a classifier of the text can reach, in [0, 1], in either world."""
    missed = [1 - form.lean for form in AMBIGUOUS]
    return float(1 - AMBIGUOUS_SHARE * (_FORM_SHARES @ missed))


def generate(n: int, *, shift: float, rng: np.random.Generator) -> list[Utterance]:
    """Draw `n` independent requests, each from the shifted world with probability `shift` in [0, 1]."""
    shifted = rng.random(n) < shift
    return [_utterance(World.SHIFTED if drifted else World.USUAL, rng) for drifted in shifted]


def _clear_shares(mix: Mapping[str, float]) -> FloatArray:
    """Return the shares of intents among unambiguous requests that give `mix` over all requests."""
    shares = dict(mix)
    for form, share in zip(AMBIGUOUS, AMBIGUOUS_SHARE * _FORM_SHARES, strict=True):
        shares[form.likelier] -= form.lean * share
        shares[form.other] -= (1 - form.lean) * share
    return np.array([shares[intent] for intent in INTENTS]) / (1 - AMBIGUOUS_SHARE)


def _utterance(world: World, rng: np.random.Generator) -> Utterance:
    if rng.random() < AMBIGUOUS_SHARE:
        label, templates = _ambiguous(rng)
    else:
        label, templates = _clear(world, rng)
    text = _filled(_one(templates, rng), _FILLERS[world], rng)
    return Utterance(text=_as_typed(text, rng), label=label, world=world)


def _ambiguous(rng: np.random.Generator) -> tuple[str, Sequence[str]]:
    form = AMBIGUOUS[_index(_FORM_SHARES, rng)]
    label = form.likelier if rng.random() < form.lean else form.other
    return label, form.templates


def _clear(world: World, rng: np.random.Generator) -> tuple[str, Sequence[str]]:
    label = INTENTS[_index(_CLEAR_SHARES[world], rng)]
    slangy = world is World.SHIFTED and rng.random() < SLANG_SHARE
    return label, (slang.CLEAR if slangy else phrases.CLEAR)[label]


def _filled(template: str, fillers: Mapping[str, Sequence[str]], rng: np.random.Generator) -> str:
    text = _SLOT.sub(lambda slot: _one(fillers[slot[1]], rng), template)
    return re.sub("#", lambda _: str(rng.integers(10)), text)


def _as_typed(text: str, rng: np.random.Generator) -> str:
    greeting = _one(_GREETINGS, rng) if rng.random() < _GREETING_SHARE else ""
    closing = _one(_CLOSINGS, rng) if rng.random() < _CLOSING_SHARE else ""
    typed = _mistyped(text, rng) if rng.random() < _TYPO_SHARE else text
    casing = _CASINGS[_index(_CASING_SHARES, rng)]
    return casing(greeting + typed + closing)


def _mistyped(text: str, rng: np.random.Generator) -> str:
    """Swap, drop or double one inner letter of one word; texts of short words stay as they are."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= _SHORTEST_WORD_WITH_A_TYPO]
    if not long:
        return text
    at = long[rng.integers(len(long))]
    word, cut = words[at], int(rng.integers(1, len(words[at]) - 1))
    a, b = word[cut], word[cut + 1]
    words[at] = word[:cut] + (b + a, b, a + a + b)[rng.integers(3)] + word[cut + 2 :]
    return " ".join(words)


def _one(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _index(shares: FloatArray, rng: np.random.Generator) -> int:
    return int(rng.choice(len(shares), p=shares))


_FILLERS: Final = {
    World.USUAL: phrases.FILLERS,
    World.SHIFTED: phrases.FILLERS | slang.FILLERS,
}
_CLEAR_SHARES: Final = {
    World.USUAL: _clear_shares(MIX),
    World.SHIFTED: _clear_shares(SHIFTED_MIX),
}
