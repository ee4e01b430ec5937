"""The simulated MangaAssist: what its customers say, in two worlds."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest

from redistill.demo import phrases, slang
from redistill.demo.ambiguity import AMBIGUOUS
from redistill.demo.utterances import (
    AMBIGUOUS_SHARE,
    INTENTS,
    MIX,
    SHIFTED_MIX,
    Utterance,
    World,
    bayes_accuracy,
    generate,
)

N = 5_000


@cache
def drawn(*, shift: float) -> tuple[Utterance, ...]:
    return tuple(generate(N, shift=shift, rng=np.random.default_rng(7)))


def words(utterances: Iterable[Utterance]) -> set[str]:
    return {word for utterance in utterances for word in re.findall(r"[a-z]{3,}", utterance.text.lower())}


def pattern(template: str, world: World) -> re.Pattern[str]:
    """What a template becomes without a typo, whatever fills it and stands around it."""
    fillers = phrases.FILLERS | (slang.FILLERS if world is World.SHIFTED else {})
    parts = re.split(r"\{(\w+)\}", template)
    for place in range(1, len(parts), 2):
        parts[place] = "(?:" + "|".join(map(re.escape, fillers[parts[place]])) + ")"
    parts[::2] = map(re.escape, parts[::2])
    return re.compile("".join(parts).replace(r"\#", r"\d"), re.IGNORECASE)


def test_the_same_generator_state_gives_the_same_requests() -> None:
    first, again, other = (generate(500, shift=0.3, rng=np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize(("shift", "mix"), [(0.0, MIX), (1.0, SHIFTED_MIX)])
def test_each_world_has_its_intents_in_its_mix(shift: float, mix: dict[str, float]) -> None:
    counts = Counter(utterance.label for utterance in drawn(shift=shift))
    for intent in INTENTS:
        deviation = (mix[intent] * (1 - mix[intent]) / N) ** 0.5
        assert abs(counts[intent] / N - mix[intent]) < 4 * deviation, intent


@pytest.mark.parametrize("mix", [MIX, SHIFTED_MIX])
def test_a_mix_is_a_distribution_over_all_intents(mix: dict[str, float]) -> None:
    assert tuple(mix) == INTENTS
    assert sum(mix.values()) == pytest.approx(1)


def test_the_intents_of_mangaassist_come_in_the_shares_of_its_design() -> None:
    assert [*MIX.values()] == [0.22, 0.18, 0.15, 0.12, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03]
    assert SHIFTED_MIX != MIX


@pytest.mark.parametrize("shift", [0.0, 0.25, 1.0])
def test_the_shift_is_the_share_of_requests_from_the_shifted_world(shift: float) -> None:
    share = np.mean([utterance.world is World.SHIFTED for utterance in drawn(shift=shift)])
    assert share == pytest.approx(shift, abs=0.025)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_nine_requests_in_ten_are_distinct(shift: float) -> None:
    assert len({utterance.text for utterance in drawn(shift=shift)}) >= 0.9 * N


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_no_request_is_blank_or_has_an_unfilled_slot(shift: float) -> None:
    for utterance in drawn(shift=shift):
        assert utterance.text.strip()
        assert not set("{}#") & set(utterance.text)


@pytest.mark.parametrize(("shift", "world"), [(0.0, World.USUAL), (1.0, World.SHIFTED)])
def test_ambiguous_requests_are_meant_in_two_ways_in_the_proportion_of_their_form(
    shift: float, world: World
) -> None:
    """A typo hides a form from this test in at most a fifth of the requests."""
    meant: defaultdict[int, Counter[str]] = defaultdict(Counter)
    utterances = drawn(shift=shift)
    for number, form in enumerate(AMBIGUOUS):
        forms = [pattern(template, world) for template in form.templates]
        for utterance in utterances:
            if any(form.search(utterance.text) for form in forms):
                meant[number][utterance.label] += 1
    assert 0.75 * AMBIGUOUS_SHARE < sum(c.total() for c in meant.values()) / N < 1.05 * AMBIGUOUS_SHARE
    for number, form in enumerate(AMBIGUOUS):
        assert set(meant[number]) == {form.likelier, form.other}
    likelier = sum(meant[number][form.likelier] for number, form in enumerate(AMBIGUOUS))
    right = likelier / sum(c.total() for c in meant.values())
    assert right == pytest.approx(1 - (1 - bayes_accuracy()) / AMBIGUOUS_SHARE, abs=0.045)


def test_no_clear_template_is_shared_by_two_intents() -> None:
    clear = [template for world in (phrases.CLEAR, slang.CLEAR) for t in world.values() for template in t]
    ambiguous = [template for form in AMBIGUOUS for template in form.templates]
    assert len({*clear, *ambiguous}) == len(clear) + len(ambiguous)


def test_ambiguity_alone_holds_the_best_classifier_near_the_designs_92_percent() -> None:
    assert 0.92 <= bayes_accuracy() <= 0.935
    assert all(0.5 < form.lean < 1 for form in AMBIGUOUS)


def test_the_shifted_world_has_words_that_the_usual_one_never_uses() -> None:
    usual, shifted = words(drawn(shift=0.0)), words(drawn(shift=1.0))
    titles = {"dandadan", "kagurabachi", "lookism", "gachiakuta", "frieren"}
    assert titles <= shifted - usual
    assert {"isekai", "imma", "venmo", "yeet"} <= shifted - usual
    assert not set(phrases.FILLERS["title"]) & set(slang.FILLERS["title"])
    strange = [bool(words([utterance]) - usual) for utterance in drawn(shift=1.0)]
    assert np.mean(strange) > 0.7


def test_every_intent_can_be_asked_for_in_both_worlds() -> None:
    assert set(phrases.CLEAR) == set(slang.CLEAR) == set(INTENTS)
