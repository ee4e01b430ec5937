"""The student's answers as the request log recorded them, and whether the student still gives them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db.records import Serving
from monitor.sources.request import Request
from monitor.strata import Strata
from triggers.wilson import score_interval

#: From texts to the student's logits (n, labels).
Score = Callable[[Sequence[str]], NDArray[np.float32]]
NONE = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """Which labels were served, and which the student gives now, as indices of labels; -1: not known."""

    recorded: NDArray[np.intp]  #: (n,) by the log, for requests whose logits it has
    rescored: NDArray[np.intp]  #: (n,) by the student itself, for some of these

    def skew(self, strata: Strata) -> Serving:
        """How much of the window was answered otherwise than the student answers it now.

        The share is estimated from the requests that were scored again, weighted by what they stand for,
        in [0, 1]; 0 is right. None when there are none.
        """
        asked = self.rescored != NONE
        sampled = Strata(sizes=strata.sizes, of=strata.of[asked])
        differs = (self.recorded != self.rescored)[asked]
        skew = score_interval(float(sampled.share(differs)), sampled.n_effective) if asked.any() else None
        return Serving(n_recorded=int((self.recorded != NONE).sum()), n_rescored=int(asked.sum()), skew=skew)


def served_logits(
    requests: Sequence[Request],
    labels: Sequence[str],
    columns: NDArray[np.intp],
    *,
    rescored: int,
    score: Score,
) -> tuple[NDArray[np.float32], Served]:
    """The student's logits (n, labels): recorded where the log has them, else by the student.

    Args:
        requests: in the order of their hashes.
        labels: in the teacher's order, which is that of the result.
        columns: where each of them is in the student's logits (see `match_labels`).
        rescored: so many of the recorded ones, the first, are scored by the student too.
        score: asks the student.
    """
    recorded = [index for index, request in enumerate(requests) if request.student_logits is not None]
    missing = [index for index, request in enumerate(requests) if request.student_logits is None]
    again = recorded[:rescored]
    scored = score([requests[index].text for index in (*missing, *again)])[:, columns]
    logits = np.empty((len(requests), len(labels)), dtype=np.float32)
    logits[missing] = scored[: len(missing)]
    for index in recorded:
        logits[index] = np.array(requests[index].student_logits, dtype=np.float32)[columns]
    served = Served(recorded=_all_unknown(requests), rescored=_all_unknown(requests))
    served.recorded[recorded] = logits[recorded].argmax(axis=1)
    for index in recorded:
        if (label := requests[index].student_label) is not None:
            served.recorded[index] = labels.index(label)
    served.rescored[again] = scored[len(missing) :].argmax(axis=1)
    return logits, served


def _all_unknown(requests: Sequence[Request]) -> NDArray[np.intp]:
    return np.full(len(requests), NONE, dtype=np.intp)
