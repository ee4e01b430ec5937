"""The outcomes of 10,000 requests from rows that both models answered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.records import Interval
from distill.evaluation import confusion
from distill.evaluation.label_metrics import LabelsError
from distill.evaluation.paired import adjusted_wald
from monitor.intervals import percentile_interval
from monitor.settings import MetricsSection
from monitor.strata import effective
from redistill.economics.outcomes import (
    COST,
    CRITICAL,
    DRAWS,
    LATE,
    LOW_COST,
    RIGHT,
    UNIT,
    Floats,
    Outcome,
    Source,
    Z,
    scaled,
)
from triggers.teacher.correctness import OUT_OF_SCOPE
from triggers.wilson import score_interval

Ints = NDArray[np.int64]

#: With fewer rows on which the two models differ, a bootstrap interval of the difference is too short.
_FEW: Final = 40
_BLOCK: Final = 2**22  #: numbers drawn at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedRows:
    """Labelled requests with the answers of both models; arrays are (n,) indices of labels."""

    texts: Sequence[str]  #: equal texts are resampled together
    truth: Ints  #: OUT_OF_SCOPE: both models are wrong
    teacher: Ints
    student: Ints
    weights: Floats  #: the requests that each row stands for, in any unit
    labels: tuple[str, ...]
    source: Source


def measured(rows: PairedRows, metrics: MetricsSection, rng: np.random.Generator) -> Mapping[str, Outcome]:
    """Return the outcomes that the labels give, by name: right, misroutes, and their cost.

    Critical misroutes, and so the low-cost ones, are those of `misroutes`; without a critical one only
    `right` is known. `misroute_cost` is by the cost matrix, where there are `misroutes`.

    Raises:
        LabelsError: a misroute names a label that the models do not have.
    """
    unknown = confusion.unknown_label(metrics.misroutes, rows.labels)
    if unknown is not None:
        known = list(rows.labels)
        raise LabelsError(problem=f"the label {unknown!r} of a misroute is not one of {known}")
    tables = {RIGHT: np.eye(len(rows.labels))}
    if any(each.critical for each in metrics.misroutes):
        critical = confusion.critical_misroutes(metrics.misroutes, rows.labels).astype(np.float64)
        tables |= {LOW_COST: 1 - critical - tables[RIGHT], CRITICAL: critical}
    if metrics.misroutes:
        tables[COST] = confusion.misroute_costs(metrics.misroutes, rows.labels, metrics.misroute_cost)
    out_of_scope = {RIGHT: 0.0, LOW_COST: 1.0, CRITICAL: 0.0, COST: metrics.misroute_cost}
    is_known = rows.truth != OUT_OF_SCOPE
    answers = {
        name: np.column_stack(
            [
                np.where(is_known, table[rows.truth, predicted], out_of_scope[name])
                for predicted in (rows.teacher, rows.student)
            ]
        )
        for name, table in tables.items()
    }
    return _Resampling(answers=answers, texts=rows.texts, weights=rows.weights, source=rows.source).of(rng)


def timed(times: Floats, budget_ms: float, rng: np.random.Generator) -> Outcome:
    """Return the answers over the latency budget, from the times (n, 2) of both models on the same texts."""
    return _Resampling(
        answers={LATE: (times > budget_ms).astype(np.float64)},
        texts=[str(number) for number in range(len(times))],
        weights=np.ones(len(times)),
        source=Source.TEST,
    ).of(rng)[LATE]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resampling:
    """Values of the answers of both models, (n, 2) by outcome, of which whole texts are drawn again."""

    answers: Mapping[str, Floats]
    texts: Sequence[str]
    weights: Floats  #: (n,)
    source: Source

    def of(self, rng: np.random.Generator) -> Mapping[str, Outcome]:
        """Return the outcomes."""
        sums = self._sums()
        means = sums[:, :-1].sum(axis=0) / sums[:, -1].sum()
        drawn = np.concatenate([*_draws(sums, rng)])
        n_effective = effective(sums[:, -1])
        return {
            name: self._outcome(name, means[first : first + 2], drawn[:, first : first + 2], n_effective, rng)
            for first, name in zip(range(0, means.size, 2), self.answers, strict=True)
        }

    def _sums(self) -> Floats:
        """Return what each text contributes: weighted values by column, and in the last one its weight."""
        _, text_of = np.unique(np.array(self.texts), return_inverse=True)
        values = np.column_stack([*self.answers.values(), np.ones(len(self.texts))])
        sums = np.zeros((text_of.max() + 1, values.shape[1]))
        np.add.at(sums, text_of, values * self.weights[:, None])
        return sums

    def _outcome(
        self, name: str, means: Floats, drawn: Floats, n_effective: float, rng: np.random.Generator
    ) -> Outcome:
        teacher, student = (
            percentile_interval(float(mean), draws)
            if name == COST
            else score_interval(min(float(mean), 1.0), n_effective)
            for mean, draws in zip(means, drawn.T, strict=True)
        )
        extra = float(means[1] - means[0])
        draws = drawn[:, 1] - drawn[:, 0]
        interval = percentile_interval(extra, draws)
        few = None if name == COST else self._if_few(name, n_effective)
        if few is not None:
            interval = few
            draws = rng.normal((few.low + few.high) / 2, (few.high - few.low) / (2 * Z), DRAWS)
        apart = percentile_interval(extra, drawn[:, 1] - rng.permutation(drawn[:, 0]))
        return Outcome(
            name=name,
            teacher=scaled(teacher, UNIT),
            student=scaled(student, UNIT),
            extra=scaled(interval, UNIT),
            extra_unpaired=scaled(apart, UNIT),
            paired=True,
            source=self.source,
            rows=len(self.texts),
            draws=UNIT * draws,
        )

    def _if_few(self, name: str, n_effective: float) -> Interval | None:
        """Return the adjusted Wald interval of the difference, if few rows distinguish the two models."""
        teacher, student = self.answers[name].T
        gained, lost = (
            float(np.average(each, weights=self.weights)) for each in (student > teacher, student < teacher)
        )
        is_few = (gained + lost) * n_effective < _FEW
        return adjusted_wald(gained, lost, n_effective) if is_few else None


def _draws(sums: Floats, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield blocks of weighted means, (b, columns), of the texts drawn again.

    Resampling the texts is one multinomial draw over the different sums that a text contributes, as in
    `monitor.intervals.multinomial_bootstrap`. The last column of `sums` has the weights.
    """
    patterns, counts = np.unique(sums, axis=0, return_counts=True)
    block = max(1, _BLOCK // len(patterns))
    for start in range(0, DRAWS, block):
        size = min(block, DRAWS - start)
        resampled = rng.multinomial(len(sums), counts / len(sums), size=size) @ patterns
        yield resampled[:, :-1] / resampled[:, -1:]
