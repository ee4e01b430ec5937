"""Offline soft labels: the teacher's logits for a labelled file, computed once and kept in the registry.

They are keyed by teacher, file and text, never by the number of a row. They may be deleted at any time: a job
that needs them asks the teacher again. Archived requests need none, as their samples have the logits.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from uuid import uuid4

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from distill.settings import SoftLabelsMode
from distill.training.dataset import LabelledSet
from monitor.cycle import Show
from monitor.scoring.batches import score
from monitor.scoring.models import Model
from monitor.stop import Stopped
from monitor.storage.local_store import removed
from monitor.storage.store import ArtifactMissingError, Store

#: The time in which runs are counted.
WEEK: Final = timedelta(days=7)

_FOLDER: Final = "soft-labels"

Logits = NDArray[np.float32]


def used_mode(
    mode: SoftLabelsMode, *, n_runs: int, offline_above: int, are_kept: bool
) -> Literal["online", "offline"]:
    """Return how a run gets its soft labels.

    With "auto", offline if they are kept already, or if the week has more than `offline_above` runs, this one
    included: with each run the pass of the teacher that offline needs once is spread over more of them.

    Example:
        >>> [used_mode("auto", n_runs=n, offline_above=4, are_kept=False) for n in (4, 5)]
        ['online', 'offline']
    """
    if mode != "auto":
        return mode
    return "offline" if are_kept or n_runs > offline_above else "online"


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """The kept logits of one teacher."""

    store: Store
    teacher: Model
    tokens_per_batch: int
    show: Show

    def are_kept(self, rows: LabelledSet) -> bool:
        """Return whether the logits for a file of this content are in the registry."""
        return f"{rows.sha256}.safetensors" in self.store.names(f"{_FOLDER}/{self.teacher.version}")

    def of(self, rows: LabelledSet, stopped: Stopped) -> Logits:
        """Return the teacher's logits (n, labels) for the rows, and keep them if they were not kept yet.

        Raises:
            ArtifactReadError, ArtifactWriteError: the registry cannot be used.
            ScoringError, StoppedError: as for `score`.
        """
        known = self._kept(rows) if self.are_kept(rows) else {}
        keys = [_key(text) for text in rows.texts]
        if not all(key in known for key in keys):
            known = self._computed(rows.texts, stopped)
            self._keep(rows, known)
        return np.stack([known[key] for key in keys])

    def _kept(self, rows: LabelledSet) -> dict[bytes, Logits]:
        try:
            found = load_file(self.store.fetch(self._file(rows)))
            return dict(zip(map(bytes, found["keys"]), found["logits"], strict=True))
        except (ArtifactMissingError, OSError, SafetensorError, KeyError, ValueError) as error:
            structlog.get_logger().warning("soft labels not used", file=self._file(rows), reason=str(error))
            return {}

    def _computed(self, texts: Sequence[str], stopped: Stopped) -> dict[bytes, Logits]:
        distinct = tuple(dict.fromkeys(texts))
        logits = score(
            self.teacher,
            distinct,
            tokens_per_batch=self.tokens_per_batch,
            stopped=stopped,
            progress=lambda done: self.show("soft labels", done, len(distinct)),
        )
        return dict(zip(map(_key, distinct), logits, strict=True))

    def _keep(self, rows: LabelledSet, known: dict[bytes, Logits]) -> None:
        self.store.staging.mkdir(parents=True, exist_ok=True)
        staged = self.store.staging / f".tmp-{_FOLDER}-{uuid4().hex}.safetensors"
        with removed(staged):
            save_file({"keys": _stacked(known), "logits": np.stack([*known.values()])}, staged)
            self.store.put(self._file(rows), staged)

    def _file(self, rows: LabelledSet) -> str:
        return f"{_FOLDER}/{self.teacher.version}/{rows.sha256}.safetensors"


def _stacked(known: dict[bytes, Logits]) -> NDArray[np.uint8]:
    return np.stack([np.frombuffer(key, dtype=np.uint8) for key in known])


def _key(text: str) -> bytes:
    """Return the SHA-256 of the text as it is: tokenizers may distinguish case and white space."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
