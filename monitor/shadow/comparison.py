"""The numbers of a candidate beside those of the student in service, from the logits of one sample."""

import numpy as np
from numpy.typing import NDArray

from db.records import ShadowNumbers
from monitor.archive.sample import ScoredSample
from monitor.divergence import kl_divergence, top1_agreement


def compared(
    sample: ScoredSample, candidate_logits: NDArray[np.float32], *, first_rows: NDArray[np.intp]
) -> ShadowNumbers:
    """Return the comparison of a candidate's logits (n, labels) with those of the sample's student.

    Texts are counted once, by `first_rows`, the first row of each distinct text; agreement and KL are those
    of the window's requests. Teacher and student are compared as the cycle does it.
    """
    candidate = top1_agreement(sample.teacher_logits, candidate_logits)
    incumbent = top1_agreement(sample.teacher_logits, sample.student_logits)
    kl = kl_divergence(sample.teacher_logits, candidate_logits, sample.temperature)
    return ShadowNumbers(
        n=first_rows.size,
        n_candidate_only=int((candidate & ~incumbent)[first_rows].sum()),
        n_incumbent_only=int((incumbent & ~candidate)[first_rows].sum()),
        agreement=float(sample.strata.share(candidate)),
        kl=float((kl * sample.strata.weights).mean()),
    )
