"""The share of samples whose interval of the additional misroutes covers the truth, where texts repeat."""

import numpy as np
import pytest

from monitor.intervals import bootstrap_mean
from monitor.settings import MetricsSection
from redistill.economics.outcomes import RIGHT, Source
from redistill.economics.paired_rows import PairedRows, measured

_SAMPLES, _TEXTS = 200, 800
_ONLY_TEACHER, _ONLY_STUDENT = 0.09, 0.03


def make_rows(rng: np.random.Generator, exponent: float | None) -> PairedRows:
    """Texts that come as often as a Zipf law says, at most 40 times; each has its own answers."""
    often = np.ones(_TEXTS, dtype=np.int64)
    if exponent is not None:
        often = np.minimum(rng.zipf(exponent, size=_TEXTS), 40)
    text = np.repeat(np.arange(_TEXTS), often)
    drawn = rng.random(_TEXTS)
    student_errs = drawn < _ONLY_TEACHER
    teacher_errs = (drawn >= _ONLY_TEACHER) & (drawn < _ONLY_TEACHER + _ONLY_STUDENT)
    return PairedRows(
        texts=[str(each) for each in text],
        truth=np.zeros(text.size, dtype=np.int64),
        teacher=teacher_errs.astype(np.int64)[text],
        student=student_errs.astype(np.int64)[text],
        weights=np.ones(text.size),
        labels=("faq", "returns"),
        source=Source.TEST,
    )


@pytest.mark.parametrize("exponent", [None, 2.0])
def test_the_paired_interval_covers_where_texts_repeat(exponent: float | None) -> None:
    """200 samples leave three standard errors, .05, open; by rows, coverage falls with the repetition."""
    rng, truth = np.random.default_rng(2025), -10_000 * (_ONLY_TEACHER - _ONLY_STUDENT)
    covered = by_rows = 0
    for _ in range(_SAMPLES):
        rows = make_rows(rng, exponent)
        extra = measured(rows, MetricsSection(), rng)[RIGHT].extra
        covered += extra.low <= truth <= extra.high
        plain = bootstrap_mean(10_000.0 * ((rows.student == 0) * 1.0 - (rows.teacher == 0)))
        by_rows += plain.low <= truth <= plain.high
    assert covered / _SAMPLES >= 0.90
    if exponent is not None:
        assert by_rows / _SAMPLES < 0.85
