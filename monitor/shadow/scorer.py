"""The candidate in shadow: scored on a cycle's sample beside the student in service, and compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Engine

from db import versions
from db.connection.session import reading
from db.connection.unavailable import UNAVAILABLE
from db.errors import RedistillError, one_line
from db.records import Claim, ModelVersion, Shadow, ShadowNumbers, ShadowScores
from db.shadows import comparisons, runs
from db.states import Role
from monitor.archive.sample import ScoredSample
from monitor.scoring.model import Model
from monitor.scoring.models import match_labels
from monitor.scoring.placement import Placement
from monitor.shadow.comparison import compared
from monitor.stop import StoppedError
from monitor.storage.store import ArtifactUnavailableError
from monitor.storage.student_places import StudentPlaces

_ATTEMPTS_DIED: Final = "earlier attempts at the cycle died, perhaps because memory ran out"


#: Scores texts with a model, in a role that is shown: returns its logits (n, labels).
ScoreTexts = Callable[[Model, str, Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ShadowScorer:
    """The comparison of the monitor's candidate in shadow, if there is one, with its incumbent.

    The candidate is in memory only while it is scored.
    """

    engine: Engine
    places: StudentPlaces
    placement: Placement

    def compare(
        self, claim: Claim, sample: ScoredSample, teacher: Model, score: ScoreTexts
    ) -> ShadowScores | None:
        """Score the texts of a sample, which are not redacted, with the candidate; None without a shadow.

        A candidate that cannot be scored is reported and does not end the cycle. While S3 is unavailable, the
        cycle does not count for the shadow.

        Raises:
            StoppedError: the process is stopped; errors of the database.
        """
        with reading(self.engine) as connection:
            shadow = runs.running(connection, claim.slot.monitor)
            if shadow is None or shadow.incumbent_version != sample.student_version or not sample.requests:
                return None
            monitor, version = shadow.monitor, shadow.candidate_version
            candidate = versions.find(connection, monitor, Role.STUDENT, version)
            error = _ATTEMPTS_DIED if comparisons.attempts_died(connection, claim) else None
        log = structlog.get_logger().bind(shadow_id=shadow.shadow_id, candidate=version[:12])
        try:
            numbers = None if error else self._numbers(candidate, shadow, sample, teacher, score)
        except (StoppedError, *UNAVAILABLE):
            raise
        except ArtifactUnavailableError as unavailable:
            log.warning("shadow not scored", error=str(unavailable), counts=False)
            return None
        except RedistillError as failure:
            numbers, error = None, one_line(failure)
        if error is not None:
            log.warning("shadow not scored", error=error, counts=True)
        return ShadowScores(shadow_id=shadow.shadow_id, numbers=numbers, error=error)

    def _numbers(
        self,
        candidate: ModelVersion | None,
        shadow: Shadow,
        sample: ScoredSample,
        teacher: Model,
        score: ScoreTexts,
    ) -> ShadowNumbers:
        if candidate is None:
            raise versions.NoSuchModelError(version=shadow.candidate_version)
        model = self.places.load(candidate, self.placement)
        columns = match_labels(teacher, model)
        row_of: dict[str, int] = {}
        for row, request in enumerate(sample.requests):
            row_of.setdefault(request.text, row)
        logits = score(model, "candidate", list(row_of))[:, columns]
        at = {text: number for number, text in enumerate(row_of)}
        return compared(
            sample,
            logits[[at[request.text] for request in sample.requests]],
            first_rows=np.array(list(row_of.values()), dtype=np.intp),
        )
