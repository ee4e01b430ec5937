"""The measurements on a first student and its teacher, and the gates."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from db.records import Evaluation, GateOutcome, Metric, TemperatureFit
from distill.calibration.fitting import fitted
from distill.evaluate import Reference, evaluate, latency, refer, teacher_metrics
from distill.evaluation import gates
from distill.first_student.rows import LabelledRows
from distill.settings import GatesSection
from monitor.cycle import Show
from monitor.scoring.latency import processor
from monitor.scoring.models import Model
from monitor.settings import MetricsSection
from monitor.stop import Stopped


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The measurements on one student; the gates are checked as for a candidate without an incumbent."""

    test: Evaluation
    gates: tuple[GateOutcome, ...]
    temperature: TemperatureFit  #: fitted to the validation rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Exam:
    """The test rows with the teacher's answers, on which all students are measured."""

    rows: LabelledRows
    reference: Reference
    metrics: MetricsSection
    tokens_per_batch: int
    show: Show

    @classmethod
    def of(
        cls,
        teacher: Model,
        rows: LabelledRows,
        metrics: MetricsSection,
        *,
        tokens_per_batch: int,
        stopped: Stopped,
        show: Show,
    ) -> "Exam":
        """Score the test rows with the teacher, once for all students. Errors are as for `score`."""
        reference = refer(
            gates.TEST,
            teacher,
            rows.test.texts,
            rows.test.labels,
            tokens_per_batch=tokens_per_batch,
            stopped=stopped,
            progress=_shown(show, "teacher on test", len(rows.test.texts)),
        )
        return cls(
            rows=rows, reference=reference, metrics=metrics, tokens_per_batch=tokens_per_batch, show=show
        )

    def teacher(self) -> tuple[Metric, ...]:
        """Return the teacher's own metrics."""
        return teacher_metrics(self.reference, self.metrics)

    def measure(self, student: Model, stopped: Stopped) -> Measured:
        """Calibrate a student on the validation rows, and evaluate it on the test rows. Errors: `score`."""
        validation = self.rows.validation
        fit = fitted(
            student,
            validation,
            self.reference.teacher.labels,
            tokens_per_batch=self.tokens_per_batch,
            stopped=stopped,
            progress=_shown(self.show, "calibrating", len(validation.texts)),
        )
        found = evaluate(
            student,
            self.reference,
            self.metrics,
            temperature=fit.temperature,
            tokens_per_batch=self.tokens_per_batch,
            stopped=stopped,
            progress=_shown(self.show, "student on test", len(self.reference.texts)),
        )
        found = replace(found, metrics=(*found.metrics, latency(student, self.reference.texts)))
        return Measured(
            test=found,
            gates=gates.check(GatesSection(), [found], processor=processor(student.placement)),
            temperature=fit,
        )


def _shown(show: Show, what: str, total: int) -> Callable[[int], None]:
    return lambda done: show(what, done, total)
