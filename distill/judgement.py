"""The judgement of a candidate: it and the incumbent, measured alike, and what the gates say of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db.records import Calibration, Evaluation, GateOutcome, Metric
from distill.calibrator import Calibrator
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

#: Name, texts, their labels if there are any, and their strata if they have some.
_DataSet = tuple[str, Sequence[str], NDArray[np.int64] | None, Strata | None]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What was measured on a candidate and on its incumbent, and what follows."""

    candidate: tuple[Evaluation, ...]
    incumbent: tuple[Evaluation, ...]
    gates: tuple[GateOutcome, ...]
    calibration: Calibration  #: of the candidate


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judges candidates, by the configuration."""

    gates: GatesSection
    metrics: MetricsSection
    tokens_per_batch: int
    calibrator: Calibrator
    show: Show

    def judge(
        self, candidate: Model, incumbent: Model, teacher: Model, data: JobData, stopped: Stopped
    ) -> Judgement:
        """Calibrate both students, measure both on the job's data sets, and hold the candidate's numbers
        against the gates.

        Each student is judged at the temperature that the validation rows give it; without such rows the
        two halves of the test set judge each other.

        Raises:
            ScoringError, StoppedError: as for `score`.
        """
        calibration = self.calibrator.fit(candidate, data.validation or data.test, teacher.labels, stopped)
        own = None if data.validation is None else calibration.fit.temperature
        references = self._references(teacher, data, stopped)
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
            gates=gates.check(self.gates, measured, measured_before, processor=processor()),
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
        """Return one evaluation for each reference; that of the test set has the latencies too."""
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
