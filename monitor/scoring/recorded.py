"""The student's recorded answers, compared with the answers that the student gives now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from db.records import Serving
from monitor.sources.request import Request
from monitor.strata import Strata
from triggers.wilson import score_interval

#: Returns the student's logits (n, labels) for texts.
Score = Callable[[Sequence[str]], NDArray[np.float32]]
NONE = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """The labels that were served, and those that the student gives now, as indices; -1: not known."""

    recorded: NDArray[np.intp]  #: (n,) from the log, for requests with recorded logits
    rescored: NDArray[np.intp]  #: (n,) from the student, for some of these requests

    def skew(self, strata: Strata) -> Serving:
        """Return the share of the window to which the student now gives another label than was served.

        The share, in [0, 1] and ideally 0, is estimated from the requests that were scored again, weighted by
        what they represent. It is None without such requests.
        """
        asked = self.rescored != NONE
        sampled = strata.at(asked)
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
    """Return the student's logits (n, labels): as recorded in the log, else scored by the student.

    Args:
        requests: the requests, in the order of their hashes.
        labels: the labels in the teacher's order, which is that of the result.
        columns: the column of each label in the student's logits (see `match_labels`).
        rescored: the number of requests with recorded logits that the student scores, too, from the first on.
        score: scores texts with the student.
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
