"""The share of drifts in the demo's traffic that a test detects, by the features it uses.

    python bench/input_drift.py FOLDER    # the folder of a finished demo

The samples are pairs of 500 and of 1,000 texts, one of them with a share of new texts; a drift is detected if
p <= 0.05. Contenders: `two_sample_test` on tokens, the same ridge regression on the representations that the
teacher gives the texts, and MMD (Gretton et al. 2012, "A kernel two-sample test") with an RBF kernel of the
median distance.
"""

import sys
from pathlib import Path
from time import process_time

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.reference.input_drift import _correct, _gram, _left_out, _shuffled, two_sample_test
from monitor.scoring.batches import _padded, batched
from monitor.scoring.models import Model, load
from redistill.demo.utterances import generate

POOL, PAIRS, PERMUTATIONS, LEVEL = 6_000, 20, 200, 0.05
SHARES = (0.0, 0.1, 0.22, 0.3)
Floats = NDArray[np.float64]


def main() -> None:
    model = load(Path(sys.argv[1]) / "models" / "teacher")
    rng = np.random.default_rng(2025)
    usual = _features(model, [each.text for each in generate(POOL, shift=0.0, rng=rng)])
    began = process_time()
    two_sample_test(usual["tokens"][:1_000], usual["tokens"][1_000:2_000], rng=rng)
    print(f"1,000 texts per sample: {process_time() - began:.2f} core-seconds", flush=True)
    for share in SHARES:
        drifted = _features(model, [each.text for each in generate(POOL, shift=share, rng=rng)])
        for n in (500, 1_000):
            found = [_pair(usual, drifted, n, rng) for _ in range(PAIRS)]
            shown = (
                f"{name} {np.mean([each[name][1] <= LEVEL for each in found]):.2f} "
                f"({np.mean([each[name][0] for each in found]):.3f})"
                for name in found[0]
            )
            print(f"{share:.0%} new, {n} texts: {'; '.join(shown)}", flush=True)


def _features(model: Model, texts: list[str]) -> dict[str, object]:
    """Return the tokens, the mean token embedding and the first token's last state of each text."""
    tokens = model.tokenizer(texts, truncation=True, add_special_tokens=False)["input_ids"]
    words = model.network.get_input_embeddings().weight.detach().numpy()
    states = np.empty((len(texts), model.network.config.hidden_size))
    with torch.inference_mode():
        for batch in batched(model, texts, 1_024):
            hidden = model.network.base_model(**_padded(model, batch)).last_hidden_state
            states[list(batch.rows)] = hidden[:, 0].numpy()
    return {
        "tokens": tokens,
        "embeddings": np.array([words[each].mean(axis=0) for each in tokens], dtype=np.float64),
        "last state": states,
    }


def _pair(
    usual: dict[str, object], drifted: dict[str, object], n: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    rows = [rng.choice(POOL, size=n, replace=False) for _ in range(2)]
    is_now = np.arange(2 * n) >= n
    orders = np.concatenate([is_now[:, None], *_shuffled(is_now, rng, PERMUTATIONS)], axis=1)
    tokens = [
        [side["tokens"][row] for row in chosen] for side, chosen in zip((usual, drifted), rows, strict=True)
    ]
    grams = {"tokens": _gram([*tokens[0], *tokens[1]])}
    for name in ("embeddings", "last state"):
        states = np.concatenate([usual[name][rows[0]], drifted[name][rows[1]]])
        grams[name] = _centred(states @ states.T)
    texts = [*tokens[0], *tokens[1]]
    found = {name: _ridge(gram, texts, orders) for name, gram in grams.items()}
    return {**found, "MMD of the last state": _mmd(_rbf(states), orders)}


def _ridge(gram: Floats, texts: list[list[int]], orders: NDArray[np.bool_]) -> tuple[float, float]:
    inverse = np.linalg.inv(gram + np.trace(gram) / len(gram) * np.eye(len(gram)))
    right = _correct(inverse, _left_out(inverse, texts), orders)
    return right[0] / len(gram) ** 2, _p(right)


def _mmd(kernel: Floats, orders: NDArray[np.bool_]) -> tuple[float, float]:
    sides = np.where(orders, 1.0, -1.0) / (len(kernel) / 2)
    squared = np.einsum("ij,ij->j", sides, kernel @ sides)
    return squared[0], _p(squared)


def _p(values: NDArray[np.generic]) -> float:
    return float(1 + (values[1:] >= values[0]).sum()) / len(values)


def _rbf(states: Floats) -> Floats:
    norms = np.square(states).sum(axis=1)
    distances = np.maximum(norms[:, None] + norms - 2 * states @ states.T, 0)
    return np.exp(-distances / np.median(distances[np.triu_indices(len(distances), 1)]))


def _centred(gram: Floats) -> Floats:
    means = gram.mean(axis=0)
    return gram - means - means[:, None] + gram.mean()


if __name__ == "__main__":
    main()
