"""The judgement of a candidate: its metrics beside those of its incumbent, and the outcomes of the gates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db.records import Calibration, Evaluation, GateOutcome, Metric
from distill.calibration.calibrator import Calibrator
from distill.evaluate import Reference, evaluate, latencies, refer
from distill.evaluation import gates
from distill.job_data import JobData
from distill.settings import GatesSection
from monitor.cycle import Show
from monitor.scoring.latency import processor
from monitor.scoring.models import Model
from monitor.settings import MetricsSection
from monitor.stop import Stopped
from monitor.strata import Strata

#: Name, texts, and the labels and the strata of the texts, if any.
_DataSet = tuple[str, Sequence[str], NDArray[np.int64] | None, Strata | None]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The measurements on a candidate and its incumbent, the outcomes of the gates, and the calibration."""

    candidate: tuple[Evaluation, ...]
    incumbent: tuple[Evaluation, ...]
    gates: tuple[GateOutcome, ...]
    calibration: Calibration  #: of the candidate


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The configured judge of candidates."""

    gates: GatesSection
    metrics: MetricsSection
    tokens_per_batch: int
    calibrator: Calibrator
    show: Show

    def judge(
        self, candidate: Model, incumbent: Model, teacher: Model, data: JobData, stopped: Stopped
    ) -> Judgement:
        """Calibrate both students, evaluate both on the job's data sets, and check the candidate's gates.

        Each student is evaluated at the temperature that is fitted to the validation rows; without such
        rows each half of the test set is evaluated at the temperature of the other half.

        Raises:
            ScoringError, StoppedError: as for `score`.
        """
        calibration = self.calibrator.fit(candidate, data.validation or data.test, teacher.labels, stopped)
        own = None if data.validation is None else calibration.fit.temperature
        references = self._references(teacher, data, stopped)
        timed_on = processor(candidate.placement)
        timed = latencies(
            candidate,
            incumbent,
            data.test.texts,
            rng=np.random.default_rng(self.metrics.seeds[0]),
            stopped=stopped,
        )
        before = self._temperature(incumbent, teacher, data, stopped)
        measured = self._evaluate(
            "candidate", candidate, references, temperature=own, timed=timed.candidate, stopped=stopped
        )
        measured_before = self._evaluate(
            "incumbent", incumbent, references, temperature=before, timed=timed.incumbent, stopped=stopped
        )
        return Judgement(
            candidate=measured,
            incumbent=measured_before,
            gates=gates.check(self.gates, measured, measured_before, processor=timed_on),
            calibration=calibration,
        )

    def _temperature(self, student: Model, teacher: Model, data: JobData, stopped: Stopped) -> float | None:
        if data.validation is None:
            return None
        return self.calibrator.fit(student, data.validation, teacher.labels, stopped).fit.temperature

    def _references(self, teacher: Model, data: JobData, stopped: Stopped) -> tuple[Reference, ...]:
        sets: list[_DataSet] = [(gates.TEST, data.test.texts, data.test.labels, None)]
        if data.condemned is not None:
            sets.append((gates.CONDEMNED, data.condemned.texts, None, data.condemned.strata))
        return tuple(
            refer(
                name,
                teacher,
                texts,
                labels,
                strata=strata,
                tokens_per_batch=self.tokens_per_batch,
                stopped=stopped,
                progress=self._progress(f"teacher on {name}", len(texts)),
            )
            for name, texts, labels, strata in sets
        )

    def _evaluate(
        self,
        name: str,
        student: Model,
        references: tuple[Reference, ...],
        *,
        temperature: float | None,
        timed: tuple[Metric, ...],
        stopped: Stopped,
    ) -> tuple[Evaluation, ...]:
        """Return one evaluation per reference; the one of the test set includes the latencies."""
        test, *others = (
            evaluate(
                student,
                reference,
                self.metrics,
                temperature=temperature,
                tokens_per_batch=self.tokens_per_batch,
                stopped=stopped,
                progress=self._progress(f"{name} on {reference.dataset}", len(reference.texts)),
            )
            for reference in references
        )
        return (replace(test, metrics=test.metrics + timed), *others)

    def _progress(self, what: str, total: int) -> Callable[[int], None]:
        return lambda done: self.show(what, done, total)
