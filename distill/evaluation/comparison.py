"""The metrics that compare a candidate with its incumbent, or with the teacher, on the same rows."""

from typing import Final

from numpy.typing import ArrayLike

from db.records import Metric
from distill.evaluation.paired import paired_difference
from monitor.divergence import top1_agreement
from monitor.strata import Strata

#: The accuracy of the candidate minus the incumbent's.
GAIN: Final = "accuracy_gain"
#: The accuracy of a student minus the teacher's.
OVER_TEACHER: Final = "accuracy_over_teacher"
#: The agreement of the candidate with the teacher minus the incumbent's.
AGREEMENT_GAIN: Final = "agreement_gain"


def agreement_gain(
    teacher: ArrayLike, candidate: ArrayLike, incumbent: ArrayLike, strata: Strata | None
) -> Metric:
    """Return agreement_gain from the logits (n, classes) of the same requests; see `paired_difference`.

    Example:
        >>> teacher, good = [[1.0, 0.0]] * 100, [[1.0, 0.0]] * 95 + [[0.0, 1.0]] * 5
        >>> poor = [[0.0, 1.0]] * 10 + [[1.0, 0.0]] * 90
        >>> gain = agreement_gain(teacher, good, poor, None)
        >>> round(gain.value, 2), round(gain.low, 3), round(gain.high, 3)
        (0.05, -0.03, 0.128)
    """
    first, second = (top1_agreement(teacher, each) for each in (candidate, incumbent))
    strata = Strata.one(first.size) if strata is None else strata
    return Metric.of(AGREEMENT_GAIN, paired_difference(first, second, strata), first.size)
