"""The reference: the oldest healthy window whose sample is still archived, with which requests are compared.

It changes as archives expire and with each new student, and its texts are kept only in the archive. Texts are
compared as archived, so redaction does not appear as drift.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import structlog
from numpy.typing import NDArray

from db.records import ArchivedCycle, InputDrift, Slice, Slot
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, Places
from monitor.archive.sample import ScoredSample
from monitor.reference.input_drift import Tokens, two_sample_test
from monitor.reference.label_mix import compare_mixes
from monitor.scoring.models import Model
from monitor.slices.samples import ranked, texts_of
from monitor.slices.texts import Texts

#: With fewer texts on either side, nothing is compared.
MIN_TEXTS = 20
#: Returns the healthy cycles of a (teacher, student) pair before a slot, since a time, oldest first.
Healthy = Callable[[Slot, tuple[str, str], datetime], Sequence[ArchivedCycle]]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Requests:
    """The parts of a sample that are compared."""

    tokens: Tokens
    label_shares: NDArray[np.float64]
    n_effective: float
    texts: Texts  #: without the texts themselves


@dataclass(kw_only=True)
class Reference:
    """The comparison of samples with their references; the last reference stays in memory."""

    healthy: Healthy
    n_texts: int  #: per side, at most; 0: nothing is compared
    seeds: Sequence[int]
    _known: tuple[str, _Requests] | None = field(default=None, init=False)  #: by the archive's SHA-256

    def compare(self, sample: ScoredSample, teacher: Model, *, since: datetime) -> InputDrift | None:
        """Compare the redacted sample with the oldest healthy one that ended at `since` or later.

        The choice of the reference depends only on stored data. Return None if there is no reference, or too
        few requests (`MIN_TEXTS`).

        Raises:
            ArchiveReadError: S3 is unavailable.
        """
        now = self._requests_of(sample, teacher)
        found = None if now is None else self._found(sample, teacher, since)
        return None if now is None or found is None else self._compare(*found, now)

    def slices(self, sample: ScoredSample, teacher: Model, *, since: datetime) -> tuple[Slice, ...]:
        """Return the slices of a sample that disagree most, beside their numbers in the same reference.

        Words are not among them (see `monitor.slices.samples`). Without a reference the slices are compared
        with the rest of the sample only.

        Raises:
            ArchiveReadError: S3 is unavailable.
        """
        found = self._found(sample, teacher, since) if self._n_texts(sample) >= MIN_TEXTS else None
        return ranked(texts_of(sample), sample.labels, found[1].texts if found else None)

    def _found(
        self, sample: ScoredSample, teacher: Model, since: datetime
    ) -> tuple[ArchivedCycle, _Requests] | None:
        """Return the reference of a sample, or None. Errors as for `compare`."""
        pair = (sample.teacher_version, sample.student_version)
        for cycle in self.healthy(sample.slot, pair, since):
            then = self._requests_at(cycle, teacher)
            if then is not None:
                return cycle, then
        return None

    def _requests_at(self, cycle: ArchivedCycle, teacher: Model) -> _Requests | None:
        if self._known is None or self._known[0] != cycle.sha256:
            requests = self._read_archive(cycle, teacher)
            self._known = None if requests is None else (cycle.sha256, requests)
        return None if self._known is None else self._known[1]

    def _read_archive(self, cycle: ArchivedCycle, teacher: Model) -> _Requests | None:
        content = Places().of(cycle.uri).get(cycle.uri)
        if content is None:
            return None
        try:
            return self._requests_of(files.sample_in(content, cycle.uri, sha256=cycle.sha256), teacher)
        except ArchiveReadError as error:
            structlog.get_logger().warning("archive passed over", error=str(error))
            return None

    def _requests_of(self, sample: ScoredSample, teacher: Model) -> _Requests | None:
        texts = [request.text for request in sample.requests[: self._n_texts(sample)]]
        if len(texts) < MIN_TEXTS:
            return None
        first, weights = sample.teacher_logits.argmax(axis=1), sample.strata.weights
        return _Requests(
            tokens=_tokens(teacher, texts),
            label_shares=np.bincount(first, weights, minlength=len(sample.labels)) / weights.sum(),
            n_effective=sample.strata.n_effective,
            texts=texts_of(sample).without_words(),
        )

    def _n_texts(self, sample: ScoredSample) -> int:
        """Return the number of the sample's first requests that are compared.

        They have the smallest hashes of the window, whatever their labels: the floors of a stratified sample
        take at most half of it.
        """
        n_uniform = len(sample.requests) // (1 if len(sample.strata.sizes) == 1 else 2)
        return min(self.n_texts, n_uniform)

    def _compare(self, cycle: ArchivedCycle, then: _Requests, now: _Requests) -> InputDrift:
        found = two_sample_test(then.tokens, now.tokens, rng=np.random.default_rng(self.seeds))
        mix = compare_mixes(
            then.label_shares, now.label_shares, n_then=then.n_effective, n_now=now.n_effective
        )
        return InputDrift(
            reference_cycle_id=cycle.cycle_id,
            n=len(now.tokens),
            n_reference=len(then.tokens),
            accuracy=found.accuracy,
            p_value=found.p_value,
            psi=mix.psi,
            js=mix.js,
        )


def _tokens(model: Model, texts: Sequence[str]) -> Tokens:
    encoding = model.tokenizer(texts, truncation=True, max_length=model.max_length, add_special_tokens=False)
    tokens: Tokens = encoding["input_ids"]
    return tokens
