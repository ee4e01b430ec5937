"""The judgement of a candidate: its metrics beside those of its incumbent, and the outcomes of the gates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from db.records import Calibration, Evaluation, GateOutcome, Metric
from distill.calibration.calibrator import Calibrator
from distill.evaluate import Logits, Reference, answers, evaluation, latencies, refer
from distill.evaluation import gates
from distill.evaluation.churn import churn_metrics
from distill.evaluation.comparison import agreement_gain, labelled_comparison
from distill.evaluation.traffic_labels import LabelledRequests, accuracy_gain, labelled_requests
from distill.job_data import JobData
from distill.settings import GatesSection
from distill.training.archived import KnownLogits
from monitor.cycle import Show
from monitor.scoring.latency import processor
from monitor.scoring.models import Model
from monitor.settings import MetricsSection
from monitor.stop import Stopped
from monitor.strata import Strata


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The measurements on a candidate and its incumbent, the outcomes of the gates, and the calibration."""

    candidate: tuple[Evaluation, ...]
    incumbent: tuple[Evaluation, ...]
    gates: tuple[GateOutcome, ...]
    undecided: tuple[GateOutcome, ...]  #: see `gates.undecided`
    calibration: Calibration  #: of the candidate


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A student's answers on one data set, and its evaluation."""

    reference: Reference
    logits: Logits
    evaluation: Evaluation

    def with_metrics(self, more: tuple[Metric, ...]) -> "_Measured":
        evaluated = replace(self.evaluation, metrics=self.evaluation.metrics + more)
        return replace(self, evaluation=evaluated)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The configured judge of candidates."""

    gates: GatesSection
    #: `min_accuracy` of [teacher]; None if labelled requests were not drawn at random: see `gates.check`.
    teacher_min_accuracy: float | None = None
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
        candidates = tuple(map(self._compared, measured, measured_before))
        incumbents = tuple(each.evaluation for each in measured_before)
        outcomes = gates.check(
            self.gates,
            candidates,
            incumbents,
            processor=timed_on,
            misroute_cost=self.metrics.misroute_cost,
            teacher_min_accuracy=self.teacher_min_accuracy,
        )
        return Judgement(
            candidate=candidates,
            incumbent=incumbents,
            gates=outcomes,
            undecided=gates.undecided(outcomes, self.gates.on_inconclusive),
            calibration=calibration,
        )

    def _temperature(self, student: Model, teacher: Model, data: JobData, stopped: Stopped) -> float | None:
        if data.validation is None:
            return None
        return self.calibrator.fit(student, data.validation, teacher.labels, stopped).fit.temperature

    def _references(self, teacher: Model, data: JobData, stopped: Stopped) -> tuple[Reference, ...]:
        def reference(
            name: str,
            texts: Sequence[str],
            labels: NDArray[np.int64] | None,
            *,
            strata: Strata | None = None,
            known: LabelledRequests | None = None,
            known_logits: KnownLogits | None = None,
        ) -> Reference:
            return refer(
                name,
                teacher,
                texts,
                labels,
                strata=strata,
                known=known,
                known_logits=known_logits,
                tokens_per_batch=self.tokens_per_batch,
                stopped=stopped,
                progress=self._progress(f"teacher on {name}", len(texts)),
            )

        test = reference(gates.TEST, data.test.texts, data.test.labels)
        if data.condemned is None:
            return (test,)
        rows, strata = data.condemned.rows, data.condemned.strata
        known = labelled_requests([row.label for row in rows], strata)
        condemned = reference(
            gates.CONDEMNED,
            data.condemned.texts,
            None,
            strata=strata,
            known=known,
            known_logits=KnownLogits.of(rows),
        )
        return test, condemned

    def _evaluate(
        self,
        name: str,
        student: Model,
        references: tuple[Reference, ...],
        *,
        temperature: float | None,
        timed: tuple[Metric, ...],
        stopped: Stopped,
    ) -> tuple[_Measured, ...]:
        """Measure a student on each reference; the evaluation of the test set includes the latencies."""
        found = []
        for reference in references:
            logits = answers(
                student,
                reference,
                tokens_per_batch=self.tokens_per_batch,
                stopped=stopped,
                progress=self._progress(f"{name} on {reference.dataset}", len(reference.texts)),
            )
            measured = evaluation(logits, reference, self.metrics, temperature=temperature)
            found.append(_Measured(reference=reference, logits=logits, evaluation=measured))
        test, *others = found
        return test.with_metrics(timed), *others

    def _compared(self, candidate: _Measured, incumbent: _Measured) -> Evaluation:
        """Return the candidate's evaluation, with the metrics that compare it with its incumbent."""
        reference, logits = candidate.reference, (candidate.logits, incumbent.logits)
        metrics: tuple[Metric, ...] = ()
        if reference.labels is not None:
            names = reference.teacher.labels
            metrics += labelled_comparison(*logits, reference.labels, names, self.metrics)
            metrics += churn_metrics(*logits, reference.labels, names)
        if reference.dataset == gates.CONDEMNED:
            metrics += (agreement_gain(reference.teacher_logits, *logits, reference.strata),)
        if reference.known is not None:
            metrics += (accuracy_gain(*logits, reference.known),)
        return candidate.with_metrics(metrics).evaluation

    def _progress(self, what: str, total: int) -> Callable[[int], None]:
        return lambda done: self.show(what, done, total)
