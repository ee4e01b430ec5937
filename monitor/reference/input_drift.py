"""A classifier two-sample test: do the requests of a window differ from those of an earlier one?

A linear classifier (ridge regression) learns to separate the two windows by the tokens of their texts. Each
text is predicted by a classifier that did not learn from it, nor from a text with the same tokens: a text
that both windows have carries no information about their difference. If the windows do not differ, half of
the predictions are correct. Random permutations of the texts show how many are correct by chance.

Sources: Lopez-Paz, Oquab 2017, "Revisiting classifier two-sample tests", arXiv 1610.06545; Phipson, Smyth
2010, "Permutation p-values should never be zero" (the p-value); Rifkin, Lippert 2007, "Notes on regularized
least squares" (leave-one-out).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from db.errors import RedistillError

PERMUTATIONS = 1_000
_UNDECIDED = 1e-9  #: scores closer to 0 are rounding errors
_BLOCK = 250  #: permutations at a time

Tokens = Sequence[Sequence[int]]


class NoTextsError(RedistillError):
    """A sample of texts to compare is empty: give each at least one text."""


@dataclass(frozen=True, kw_only=True)
class TwoSampleResult:
    """The result of a two-sample test of texts."""

    accuracy: float  #: share of correct predictions in [0, 1], both sides weighted equally; 0.5: by chance
    p_value: float  #: probability of at least this accuracy by chance, in (0, 1]


def two_sample_test(
    then: Tokens, now: Tokens, *, rng: np.random.Generator, permutations: int = PERMUTATIONS
) -> TwoSampleResult:
    """Test whether the texts of a window differ from those of an earlier one.

    A text is represented by the set of its tokens, as a vector of length 1. Texts with the same set are held
    out together, and a text whose score is zero counts as half correct. All predictions of all permutations
    follow from two matrices: f = y - D G y, where G is the inverse of the centred Gram matrix plus the
    penalty (its mean diagonal), and D has the inverses of G's blocks of equal texts. For independent texts
    from one distribution the p-value is exact: P(p <= a) <= a for every a, whatever the distribution.

    If all texts are equal, the result is (0.5, 1.0).

    Args:
        then: token ids of each earlier text.
        now: token ids of each text of the window.
        rng: the generator of the permutations.
        permutations: the number of permutations.

    Raises:
        NoTextsError: a side has no text.

    Example:
        >>> rng = np.random.default_rng(2025)
        >>> usual = rng.integers(0, 50, size=(200, 8)).tolist()
        >>> new = rng.integers(0, 60, size=(200, 8)).tolist()
        >>> two_sample_test(usual, new, rng=rng)
        TwoSampleResult(accuracy=0.825, p_value=0.000999000999000999)
        >>> two_sample_test(usual[:100], usual[100:], rng=rng)
        TwoSampleResult(accuracy=0.52, p_value=0.3596403596403596)
    """
    if not then or not now:
        raise NoTextsError
    gram = _gram([*then, *now])
    penalty = float(np.trace(gram)) / len(gram)
    if penalty < _UNDECIDED:
        return TwoSampleResult(accuracy=0.5, p_value=1.0)
    inverse = np.asarray(np.linalg.inv(gram + penalty * np.eye(len(gram))), dtype=np.float64)
    left_out = _left_out(inverse, [*then, *now])
    is_now = np.arange(len(gram)) >= len(then)
    (found,) = _correct(inverse, left_out, is_now[:, None]).tolist()
    chance = [_correct(inverse, left_out, each) for each in _shuffled(is_now, rng, permutations)]
    as_good = int((np.concatenate(chance) >= found).sum())
    return TwoSampleResult(
        accuracy=found / (4 * len(then) * len(now)), p_value=(1 + as_good) / (1 + permutations)
    )


def _gram(texts: Tokens) -> NDArray[np.float64]:
    """Return the (texts, texts) inner products of the centred vectors."""
    sets = [sorted(set(tokens)) for tokens in texts]
    lengths = np.array([len(tokens) for tokens in sets])
    every = np.fromiter(chain.from_iterable(sets), dtype=np.int64)
    words, columns = np.unique(every, return_inverse=True)
    values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    vectors = sparse.csr_array((values, columns, starts), shape=(len(sets), words.size))
    products = np.asarray((vectors @ vectors.T).toarray())
    means = products.mean(axis=0)
    return np.asarray(products - means - means[:, None] + means.mean())


def _left_out(inverse: NDArray[np.float64], texts: Tokens) -> sparse.csr_array:
    """Return the inverses of the blocks of `inverse` for texts with equal tokens, as (texts, texts)."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for number, tokens in enumerate(texts):
        alike.setdefault(tuple(sorted(set(tokens))), []).append(number)
    blocks = [np.linalg.inv(inverse[np.ix_(group, group)]) for group in alike.values()]
    rows = np.concatenate([np.repeat(group, len(group)) for group in alike.values()])
    columns = np.concatenate([np.tile(group, len(group)) for group in alike.values()])
    values = np.concatenate([block.ravel() for block in blocks])
    return sparse.csr_array((values, (rows, columns)), shape=inverse.shape)


def _correct(
    inverse: NDArray[np.float64], left_out: sparse.csr_array, is_now: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the (permutations,) correct predictions, as integers so that ties are exact.

    If all are correct the value is 4 n_then n_now. `is_now` (texts, permutations) marks the texts that are
    assigned to the window.
    """
    n_now = int(is_now[:, 0].sum())
    n_then = len(is_now) - n_now
    sides = np.where(is_now, 1 / n_now, -1 / n_then) * len(is_now)
    scores = sides - left_out @ (inverse @ sides)
    halves = 1 + np.sign(np.where(abs(scores) < _UNDECIDED, 0.0, scores)).astype(np.int64)
    correct_now = (halves * is_now).sum(axis=0)
    correct_then = ((2 - halves) * ~is_now).sum(axis=0)
    return np.asarray(n_then * correct_now + n_now * correct_then)


def _shuffled(
    is_now: NDArray[np.bool_], rng: np.random.Generator, permutations: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield random permutations of `is_now`, (texts, permutations), in blocks."""
    for start in range(0, permutations, _BLOCK):
        size = min(_BLOCK, permutations - start)
        yield rng.permuted(np.repeat(is_now[:, None], size, axis=1), axis=0)
