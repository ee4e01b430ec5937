"""CLINC150, split into parts that share no text.

Its 10 domains are the intents here, and its 15 intents of a domain are the topics. The train split trains
the teacher on all topics and the student on the first 10 of each domain. Neither model is trained on the
splits `val` and `test`: their rows on the student's topics become test set, validation set and traffic, and
the other rows are the traffic that drifts.

Source: Larson et al. 2019, "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction".
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from db.errors import RedistillError
from distill.training.dataset import text_hash

TOPICS_OF_STUDENT: Final = 10
TEST_ROWS: Final = 1_500
VALIDATION_ROWS: Final = 500

_FILES = ("data_full.json", "domains.json")
_OUT_OF_SCOPE = ("oos_test", "oos_val", "oos_train")


class CorpusMissingError(RedistillError):
    """The file {path} does not exist: give with --data the folder of CLINC150's data_full.json and
    domains.json, from https://github.com/clinc/oos-eval.
    """


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A request, its domain, and its topic in CLINC150; both are empty for an out-of-scope request."""

    text: str
    label: str
    topic: str = ""


Utterances = tuple[Utterance, ...]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Parts that share no text, except `train`, which is a part of `teacher`."""

    labels: tuple[str, ...]
    teacher: Utterances  #: labelled, all topics
    train: Utterances  #: labelled, the student's topics
    validation: Utterances  #: labelled, the student's topics
    test: Utterances  #: labelled, the student's topics
    usual: Utterances  #: traffic, the student's topics
    new_topics: Utterances  #: traffic, the topics that only the teacher knows
    out_of_scope: Utterances  #: traffic that belongs to no domain


@dataclass(frozen=True, kw_only=True)
class _Topics:
    """The domain of each topic, and the topics that the student learns."""

    domain: Mapping[str, str]
    usual: frozenset[str]


Rows = Sequence[tuple[str, str]]


def read_corpus(folder: Path, rng: np.random.Generator) -> Corpus:
    """Split the utterances into the parts of the corpus.

    Raises:
        CorpusMissingError: one of the two files does not exist.
    """
    data, domains = (_json(folder / name) for name in _FILES)
    topics = _topics(domains)
    train, held_out, out_of_scope = _without_repeats(
        data["train"],
        _shuffled([*data["val"], *data["test"]], rng),
        _shuffled([row for name in _OUT_OF_SCOPE for row in data[name]], rng),
    )
    usual = _of(held_out, topics, usual=True)
    return Corpus(
        labels=tuple(domains),
        teacher=(*_of(train, topics, usual=True), *_of(train, topics, usual=False)),
        train=_of(train, topics, usual=True),
        test=usual[:TEST_ROWS],
        validation=usual[TEST_ROWS : TEST_ROWS + VALIDATION_ROWS],
        usual=usual[TEST_ROWS + VALIDATION_ROWS :],
        new_topics=_of(held_out, topics, usual=False),
        out_of_scope=tuple(Utterance(text=text, label="") for text, _ in out_of_scope),
    )


def write_labelled(path: Path, utterances: Iterable[Utterance]) -> Path:
    """Write the rows {"text", "label"} in the format that the worker reads."""
    lines = (json.dumps({"text": each.text, "label": each.label}) for each in utterances)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def _json(path: Path) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CorpusMissingError(path=path) from error


def _topics(domains: Mapping[str, Sequence[str]]) -> _Topics:
    return _Topics(
        domain={topic: domain for domain, topics in domains.items() for topic in topics},
        usual=frozenset(topic for topics in domains.values() for topic in topics[:TOPICS_OF_STUDENT]),
    )


def _shuffled(rows: Rows, rng: np.random.Generator) -> Rows:
    return [rows[index] for index in rng.permutation(len(rows))]


def _without_repeats(*parts: Rows) -> Iterator[Rows]:
    """Leave out texts that count as the same as an earlier one, in the same part or in another."""
    seen: set[bytes] = set()
    for part in parts:
        kept: list[tuple[str, str]] = []
        for text, topic in part:
            digest = text_hash(text)
            if digest not in seen:
                kept.append((text, topic))
            seen.add(digest)
        yield kept


def _of(rows: Rows, topics: _Topics, *, usual: bool) -> Utterances:
    return tuple(
        Utterance(text=text, label=topics.domain[topic], topic=topic)
        for text, topic in rows
        if (topic in topics.usual) is usual
    )
