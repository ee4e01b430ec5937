"""Sixteen topics of CLINC150 as the intents of a router; the student learns ten of them.

The ten are the first topic of each domain, and the other six the second topic of the first six domains: a
student that was not trained on these confuses them with their neighbours. The teacher is trained on 60 rows
of each of the sixteen. The student has the names of all sixteen, but is distilled on the rows of its ten. The
rest becomes test set, validation set and traffic; no text is in two parts.

Source: Larson et al. 2019, "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction".
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from corpus import Corpus, CorpusMissingError, Utterance, Utterances

from distill.training.dataset import text_hash

_UNTAUGHT: Final = 6
#: The rows of each intent for training, testing and validation; the rest is traffic.
_TRAIN, _TEST, _VALIDATION = 60, 30, 10


def read_intents(folder: Path, rng: np.random.Generator) -> Corpus:
    """Split the utterances of the sixteen intents into the parts of the corpus.

    Raises:
        CorpusMissingError: one of the two files does not exist.
    """
    topics = list(_json(folder / "domains.json").values())
    own, others = [each[0] for each in topics], [each[1] for each in topics[:_UNTAUGHT]]
    intents = (*own, *others)
    rows = _rows(_json(folder / "data_full.json"), intents, rng)
    taught = {name: rows[name] for name in own}
    after = _TRAIN + _TEST + _VALIDATION
    return Corpus(
        labels=tuple(sorted(intents)),
        teacher=_part(rows, 0, _TRAIN),
        train=_part(taught, 0, _TRAIN),
        test=_part(taught, _TRAIN, _TRAIN + _TEST),
        validation=_part(taught, _TRAIN + _TEST, after),
        usual=_shuffled(_part(taught, after, None), rng),
        new_topics=_shuffled(_part({name: rows[name] for name in others}, _TRAIN, None), rng),
        out_of_scope=(),
    )


def _rows(data: Any, intents: Sequence[str], rng: np.random.Generator) -> Mapping[str, Utterances]:  # noqa: ANN401 - JSON
    """Return the distinct texts of each intent, in random order."""
    seen: set[bytes] = set()
    found: dict[str, list[Utterance]] = {name: [] for name in intents}
    for text, topic in (*data["train"], *data["val"], *data["test"]):
        if topic in found and text_hash(text) not in seen:
            seen.add(text_hash(text))
            found[topic].append(Utterance(text=text, label=topic))
    return {name: tuple(each[at] for at in rng.permutation(len(each))) for name, each in found.items()}


def _part(rows: Mapping[str, Utterances], start: int, end: int | None) -> Utterances:
    return tuple(each for utterances in rows.values() for each in utterances[start:end])


def _shuffled(utterances: Utterances, rng: np.random.Generator) -> Utterances:
    return tuple(utterances[at] for at in rng.permutation(len(utterances)))


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CorpusMissingError(path=path) from error
