"""One cycle, from a window of traffic to its numbers: sample, score with both models, archive, measure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from db.accuracy.teacher_calibrations import TeacherCalibration
from db.errors import RedistillError
from db.records import (
    Archive,
    Claim,
    CycleResult,
    EarlierResult,
    Measurement,
    QuietResult,
    ShadowScores,
    Slot,
)
from monitor.archive import erased, files
from monitor.archive.redaction import Redact, redactor
from monitor.archive.sample import ScoredSample, without
from monitor.archive.teacher_cache import known_logits
from monitor.labels.truth import Late, accuracy_of, correctness_of, late_labels
from monitor.measure import measure
from monitor.reference.baseline import Reference
from monitor.scoring.batches import Scorer, ScoringError
from monitor.scoring.models import Model, match_labels
from monitor.scoring.pair import Pair, PairSource
from monitor.scoring.recorded import Served, served_logits
from monitor.settings import MonitorSection, StudentSection, Traffic
from monitor.shadow.scorer import ShadowScorer
from monitor.sources.kinds import open_source
from monitor.sources.objects import Consumed
from monitor.sources.port import TrafficSource, WindowSample
from monitor.sources.reading import ReadAll
from monitor.sources.request import Request
from monitor.stop import Stopped
from triggers.rules.verdict import SampleQuality

#: Shows progress: the name of the work, the number done, the total.
Show = Callable[[str, int, int], None]
#: Returns (uri, SHA-256) of the archived samples of a teacher for windows before a slot's that ended at a
#: time or later, newest first.
Archived = Callable[[Slot, str, datetime], Sequence[tuple[str, str]]]


#: A log that has a smaller share of a window's earlier records has expired in part. Requests that were
#: deleted from the log one by one, as `archive erase` advises, are fewer.
_MIN_SHARE_LEFT: Final = 0.9


class RequestUnscorableError(RedistillError):
    """The {role} {version} {problem} for the request {request_id!r}: {fix}."""


class WindowGoneError(RedistillError):
    """The request log holds {n} of the {before} records of the window that ended at {end:%Y-%m-%d %H:%M} UTC,
    so its cycle stays as it was: restore the log, or check 'uri' in [traffic].
    """


@dataclass(kw_only=True)
class CycleMeasurer:
    """The measurement of claimed slots; models and knowledge of the log are kept from slot to slot."""

    monitor: MonitorSection
    traffic: Traffic
    student: StudentSection
    shadow: ShadowScorer
    consumed: Consumed
    pairs: PairSource
    score: Scorer
    read_all: ReadAll
    engine_session: Callable[
        [], AbstractContextManager[object]
    ]  #: the context in which a cycle reads and scores
    archived: Archived
    earlier_names: Callable[
        [], Sequence[str]
    ]  #: of the monitor; archives from before a change keep their folder
    encryption: Mapping[str, str]  #: parameters of uploads to S3
    cache_bytes: int
    temperature: float
    reference: Reference
    calibration: Callable[[str, str], TeacherCalibration | None]  #: of a monitor's teacher version
    labels_are_random: bool  #: whether true labels are of requests that were drawn at random
    clock: Callable[[], datetime]
    show: Show
    _source: TrafficSource | None = field(default=None, init=False)
    _labels: tuple[str, ...] = field(default=(), init=False)

    def __call__(self, claim: Claim, stopped: Stopped) -> CycleResult | QuietResult:
        """Measure the slot's window; only the archive is written.

        If the window may wait for the next slot, and has too few requests for a verdict, nothing is scored.

        Raises:
            RedistillError: there is no request log, a model is unusable, a logit is not finite, or the
                archive cannot be written; for a window that is judged again, the log has lost its records.
            StoppedError: `stopped` returned True.
        """
        pair = self.pairs.current(self.clock())
        seconds: dict[str, float] = {}
        with self.engine_session():
            with _timed(seconds, "read"):
                window = self._sample(claim, pair, stopped)
            _check_log_is_complete(claim, window.traffic.n_seen + window.traffic.n_rejected)
            if claim.may_wait and self._is_quiet(window):
                self._expire(claim.slot)
                return QuietResult(traffic=window.traffic)
            with _timed(seconds, "score"):
                answered = self._score(claim, pair, window, stopped)
                shadow = self._compare(claim, answered, pair.teacher, stopped)
        scored = self._redacted(answered)
        late = claim.earlier.late if claim.earlier else {}
        with _timed(seconds, "measure"):
            measurement = self._measure(scored, pair.teacher, late) if window.requests else None
        with _timed(seconds, "archive"):
            archive = self._archive(scored, claim.earlier) if window.requests else None
            self._expire(claim.slot)
        return CycleResult(
            traffic=window.traffic,
            measurement=measurement,
            archive=archive,
            teacher_version=pair.teacher.version,
            student_version=pair.student.version,
            alpha=pair.alpha,
            temperature=self.temperature,
            late=tuple(late_labels(scored, late, late)) if late else (),
            shadow=shadow,
            stage_seconds=seconds,
        )

    def _sample(self, claim: Claim, pair: Pair, stopped: Stopped) -> WindowSample:
        if self._source is None or self._labels != pair.teacher.labels:
            self._source = open_source(self.traffic, pair.teacher.labels, self.consumed, self.read_all)
            self._labels = pair.teacher.labels
        return self._source.read_window(
            claim.slot.window_start,
            claim.slot.window_end,
            k=self.monitor.sample_size,
            floor=self.monitor.label_floor,
            stopped=stopped,
        )

    def _is_quiet(self, window: WindowSample) -> bool:
        traffic = window.traffic
        return SampleQuality(
            n_scored=traffic.n_sampled,
            n_seen=traffic.n_seen,
            n_rejected=traffic.n_rejected,
            min_samples=self.monitor.min_samples,
            max_reject_share=self.monitor.max_reject_share,
        ).is_quiet

    def _score(self, claim: Claim, pair: Pair, window: WindowSample, stopped: Stopped) -> ScoredSample:
        student_logits, served = self._student(pair, window, stopped)
        return ScoredSample(
            slot=claim.slot,
            labels=pair.teacher.labels,
            teacher_version=pair.teacher.version,
            student_version=pair.student.version,
            temperature=self.temperature,
            requests=window.requests,
            strata=window.strata,
            stratum_labels=tuple(each.label for each in window.traffic.strata),
            teacher_logits=self._teacher(claim, pair, window.requests, stopped),
            student_logits=student_logits,
            served=served,
        )

    def _teacher(
        self, claim: Claim, pair: Pair, requests: Sequence[Request], stopped: Stopped
    ) -> NDArray[np.float32]:
        texts = [request.text for request in requests]
        archives = self.archived(claim.slot, pair.teacher.version, self._oldest(claim.slot))
        known = known_logits(archives, limit_bytes=self.cache_bytes)
        unknown = [text for text in dict.fromkeys(texts) if text not in known]
        found = dict(
            zip(unknown, self._logits(pair.teacher, "teacher", unknown, requests, stopped), strict=True)
        )
        if known:
            n_known = len(set(texts)) - len(unknown)
            structlog.get_logger().info("teacher asked", n_asked=len(unknown), n_known=n_known)
        logits = [known[text] if text in known else found[text] for text in texts]
        return np.array(logits, dtype=np.float32).reshape(len(texts), len(pair.teacher.labels))

    def _student(
        self, pair: Pair, window: WindowSample, stopped: Stopped
    ) -> tuple[NDArray[np.float32], Served | None]:
        def ask(texts: Sequence[str]) -> NDArray[np.float32]:
            return self._logits(pair.student, "student", texts, window.requests, stopped)

        columns = match_labels(pair.teacher, pair.student)
        if self.student.scores == "recorded":
            return served_logits(
                window.requests, pair.teacher.labels, columns, rescored=self.student.rescored, score=ask
            )
        return ask([request.text for request in window.requests])[:, columns], None

    def _compare(
        self, claim: Claim, sample: ScoredSample, teacher: Model, stopped: Stopped
    ) -> ShadowScores | None:
        def score(model: Model, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
            return self._logits(model, role, texts, sample.requests, stopped)

        return self.shadow.compare(claim, sample, teacher, score)

    def _logits(
        self, model: Model, role: str, texts: Sequence[str], requests: Sequence[Request], stopped: Stopped
    ) -> NDArray[np.float32]:
        try:
            return self.score(
                model, texts, stopped=stopped, progress=lambda done: self.show(role, done, len(texts))
            )
        except ScoringError as error:
            of_text = {request.text: request.id for request in reversed(requests)}
            raise RequestUnscorableError(
                role=role,
                version=error.version,
                problem=error.problem,
                request_id=of_text[texts[error.index]],
                fix=error.fix,
            ) from error

    def _redacted(self, sample: ScoredSample) -> ScoredSample:
        redact = redactor(self.monitor)
        requests = tuple(
            each._replace(text=redact(each.text), label=_kept_label(each.label, sample.labels, redact))
            for each in sample.requests
        )
        redacted = tuple(one.text != other.text for one, other in zip(requests, sample.requests, strict=True))
        return replace(sample, requests=requests, redacted=redacted)

    def _measure(self, sample: ScoredSample, teacher: Model, late: Late) -> Measurement:
        measured = measure(
            sample.teacher_logits,
            sample.student_logits,
            sample.labels,
            temperature=self.temperature,
            strata=sample.strata,
        )
        return replace(
            measured,
            serving=sample.served.skew(sample.strata) if sample.served else None,
            correctness=correctness_of(sample, late),
            input_drift=self.reference.compare(sample, teacher, since=self._oldest(sample.slot)),
            accuracy=accuracy_of(
                sample,
                late,
                calibration=self.calibration(sample.slot.monitor, teacher.version),
                labels_are_random=self.labels_are_random,
            ),
            slices=self.reference.slices(sample, teacher, since=self._oldest(sample.slot)),
        )

    def _archive(self, sample: ScoredSample, earlier: EarlierResult | None) -> Archive:
        if earlier is not None and earlier.n_erasures:
            sample = _without_erased(sample, earlier)
        return erased.write(
            self.monitor.archive,
            sample,
            names=self._names(sample.slot),
            beside=earlier is not None,
            encryption=self.encryption,
        )

    def _expire(self, slot: Slot) -> None:
        """Delete the archives that are too old, also while nobody sends requests."""
        for name in self._names(slot):
            files.expire(self.monitor.archive, name, before=self._oldest(slot))

    def _names(self, slot: Slot) -> tuple[str, ...]:
        return slot.monitor, *self.earlier_names()

    def _oldest(self, slot: Slot) -> datetime:
        """Return the end of the oldest window whose sample is kept."""
        return slot.window_end - timedelta(days=self.monitor.archive_days)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = monotonic()
    yield
    seconds[stage] = monotonic() - began


def _check_log_is_complete(claim: Claim, n: int) -> None:
    """Refuse to judge a window again if part of its records has expired from the log."""
    if claim.earlier is None:
        return
    before = claim.earlier.n_records
    if not n or n < _MIN_SHARE_LEFT * before:
        raise WindowGoneError(n=n, before=before, end=claim.slot.window_end)


def _without_erased(sample: ScoredSample, earlier: EarlierResult) -> ScoredSample:
    """Return the requests of the sample that its earlier archive still has.

    The ids of erased requests are not stored.
    """
    if earlier.archive is None:
        return without(sample, {request.id for request in sample.requests})
    kept = {each.id for each in files.read(earlier.archive.uri, sha256=earlier.archive.sha256).requests}
    return without(sample, {request.id for request in sample.requests} - kept)


def _kept_label(label: str | None, known: Sequence[str], redact: Redact) -> str | None:
    """Redact a label that the models do not know: it may be any text."""
    return label if label is None or label in known else redact(label)
