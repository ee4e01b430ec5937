"""How often slices are found where nothing is: in at most 5% of the windows, whatever the design.

The two models disagree on a text by chance, whatever its label, its length and its words.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pytest

from monitor.slices.samples import ranked, ranked_words
from monitor.slices.texts import Texts, distinct_texts
from monitor.strata import Strata

WINDOWS: Final = 200
REQUESTS: Final = 1_500
MIX: Final = np.array([0.25, 0.2, 0.15, 0.1, 0.1, 0.08, 0.05, 0.04, 0.02, 0.01])
LABELS: Final = tuple(f"label{index}" for index in range(MIX.size))
POPULARITY: Final = 1 / np.arange(1, 501)

Draw = Callable[["Service", np.random.Generator], Texts]


class Service:
    """20,000 texts of five words, with the answers of both models."""

    def __init__(self, rng: np.random.Generator, n: int = 20_000) -> None:
        words = rng.choice(500, (n, 5), p=POPULARITY / POPULARITY.sum())
        self.texts = [" ".join(f"word{word}" for word in row) for row in words.tolist()]
        self.teacher, wrong = rng.choice(MIX.size, n, p=MIX), rng.choice(MIX.size, n, p=MIX)
        wrong = np.where(wrong == self.teacher, (wrong + 1) % MIX.size, wrong)
        self.student = np.where(rng.random(n) < 0.05, wrong, self.teacher)

    def requests(self, rows: np.ndarray, weights: np.ndarray) -> Texts:
        texts = [self.texts[row] for row in rows.tolist()]
        return distinct_texts(texts, self.teacher[rows], self.student[rows], weights)


def uniform(service: Service, rng: np.random.Generator) -> Texts:
    rows = rng.choice(len(service.texts), REQUESTS, replace=False)
    return service.requests(rows, np.ones(REQUESTS))


def repeated(service: Service, rng: np.random.Generator, n: int = REQUESTS) -> Texts:
    """A few texts are asked again and again."""
    popularity = 1 / np.arange(1, len(service.texts) + 1)
    rows = rng.choice(len(service.texts), n, p=popularity / popularity.sum())
    return service.requests(rows, np.ones(n))


def stratified(service: Service, rng: np.random.Generator) -> Texts:
    """At least 50 requests of each label of the student, as `label_floor` draws them."""
    order = rng.permutation(len(service.texts))
    floors = [order[service.student[order] == label][:50] for label in range(MIX.size)]
    floor = np.concatenate(floors)
    rest = order[~np.isin(order, floor)][: REQUESTS - floor.size]
    rows = np.concatenate([floor, rest])
    sizes = tuple(np.bincount(service.student, minlength=MIX.size).tolist())
    return service.requests(rows, Strata(sizes=sizes, of=service.student[rows]).weights)


def fewer(service: Service, rng: np.random.Generator) -> Texts:
    """A smaller window has fewer of the rare texts."""
    return repeated(service, rng, n=400)


@pytest.mark.parametrize(
    ("now", "then"),
    [(uniform, uniform), (repeated, repeated), (stratified, stratified), (repeated, fewer)],
    ids=["uniform", "repeated texts", "stratified", "a smaller reference"],
)
def test_chance_is_seldom_taken_for_a_slice(now: Draw, then: Draw) -> None:
    rng = np.random.default_rng(2025)
    by_answer = by_word = moved = 0
    for _ in range(WINDOWS):
        service = Service(rng)
        window, reference = now(service, rng), then(service, rng)
        found, words = ranked(window, LABELS, reference), ranked_words(window, reference)
        by_answer, by_word = by_answer + bool(found), by_word + bool(words)
        moved += any((each.q_moved or 0) <= 0.05 for each in (*found, *words))
    assert max(by_answer, by_word) <= 0.05 * WINDOWS
    assert moved <= 0.02 * WINDOWS


def test_a_topic_of_2_percent_is_found_in_most_windows() -> None:
    """Of 1,500 requests 30 are new and mostly disagree; everything else is chance."""
    rng = np.random.default_rng(2025)
    n_first = 0
    for _ in range(50):
        service = Service(rng)
        new = rng.choice(len(service.texts), len(service.texts) // 50, replace=False)
        for row in new.tolist():
            service.texts[row] += " voucher"
        service.student[new] = np.where(rng.random(new.size) < 0.8, 9, service.student[new])
        service.teacher[new] = 3
        words = ranked_words(uniform(service, rng), uniform(Service(rng), rng))
        n_first += bool(words) and words[0].name == "voucher" and (words[0].q_moved or 0) <= 0.05
    assert n_first >= 45
