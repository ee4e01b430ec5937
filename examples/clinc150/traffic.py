"""The request log: one file per day, with the given share of strange requests."""

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
from corpus import Utterance, Utterances

from db.errors import RedistillError
from db.records import Slot

#: The share of the utterances that is kept for the days after a promotion; no student is trained on them.
_FRESH_SHARE: Final = 0.4


class DeckTooSmallError(RedistillError):
    """A day needs {wanted} utterances of one kind, but there are only {held}: lower the share or the number
    of requests.
    """


class Deck:
    """Utterances that are dealt in random order; all are shuffled again when too few are left."""

    def __init__(self, utterances: Iterable[Utterance], rng: np.random.Generator) -> None:
        self._utterances = list(utterances)
        self._rng = rng
        self._left: list[int] = []

    def deal(self, n: int) -> list[Utterance]:
        """Return `n` distinct utterances.

        Raises:
            DeckTooSmallError: the deck has fewer than `n`.
        """
        if n > len(self._utterances):
            raise DeckTooSmallError(wanted=n, held=len(self._utterances))
        if n > len(self._left):
            self._left = self._rng.permutation(len(self._utterances)).tolist()
        dealt, self._left = self._left[:n], self._left[n:]
        return [self._utterances[index] for index in dealt]


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """The utterances of one period, before or after a promotion."""

    usual: Deck
    strange: Deck


class RequestLog:
    """A folder of traffic, one file per day; a text occurs at most once a day.

    The days before and after a promotion draw from separate texts, so that the recovery is measured on
    requests that the new student was not trained on. With `labelled`, each line has its true label.
    """

    def __init__(
        self,
        folder: Path,
        usual: Utterances,
        strange: Utterances,
        rng: np.random.Generator,
        *,
        labelled: bool,
    ) -> None:
        self._folder = folder
        self._rng = rng
        self._labelled = labelled
        self._stages = [
            _Stage(usual=Deck(early, rng), strange=Deck(strange_early, rng))
            for early, strange_early in zip(_cut(usual), _cut(strange), strict=True)
        ]

    def write(self, slot: Slot, n: int, *, share: float, fresh: bool) -> Mapping[str, str]:
        """Write a window of `n` requests, of which a `share` in [0, 1], rounded to requests, is strange.

        With `fresh`, the texts are those that are kept for the days after a promotion. Returns the true
        labels by request id; "out_of_scope" is not a label of the models.
        """
        stage = self._stages[fresh]
        n_strange = round(n * share)
        asked = [*stage.usual.deal(n - n_strange), *stage.strange.deal(n_strange)]
        length = (slot.window_end - slot.window_start).total_seconds()
        seconds = np.sort(self._rng.uniform(0, length, n))
        day = f"{slot.window_start:%Y-%m-%d}"
        self._folder.mkdir(parents=True, exist_ok=True)
        truth = {}
        with gzip.open(self._folder / f"{day}.jsonl.gz", "wt", encoding="utf-8") as file:
            order = self._rng.permutation(n).tolist()
            for number, (second, index) in enumerate(zip(seconds, order, strict=True)):
                request_id, label = f"{day}-{number:05}", asked[index].label or "out_of_scope"
                time = slot.window_start + timedelta(seconds=float(second))
                row = {"id": request_id, "time": time.isoformat(), "text": asked[index].text}
                file.write(json.dumps(row | ({"label": label} if self._labelled else {})) + "\n")
                truth[request_id] = label
        return truth


def _cut(utterances: Utterances) -> tuple[Utterances, Utterances]:
    at = round(len(utterances) * (1 - _FRESH_SHARE))
    return utterances[:at], utterances[at:]
