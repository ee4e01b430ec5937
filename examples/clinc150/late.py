"""True labels that people give to a random part of the requests, and that arrive days later."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from sqlalchemy import Engine

from monitor.clock import utc_now
from monitor.labels.files import GivenLabel
from monitor.labels.join import import_labels
from redistill.configuration.settings import Settings


@dataclass(kw_only=True)
class LateLabels:
    """The people who label."""

    share: float  #: of the requests, drawn at random, in [0, 1]
    days: int  #: until the labels of a day arrive
    rng: np.random.Generator
    _waiting: deque[Mapping[str, str]] = field(default_factory=deque, init=False)

    def arrive(self, settings: Settings, engine: Engine, truth: Mapping[str, str]) -> None:
        """Let a day end: its labels by request id are drawn, and those of an earlier day imported."""
        ids = [*truth]
        drawn = self.rng.choice(len(ids), size=round(self.share * len(ids)), replace=False).tolist()
        self._waiting.append({ids[index]: truth[ids[index]] for index in drawn})
        if len(self._waiting) <= self.days:
            return
        rows = [
            GivenLabel(request_id=request_id, label=label)
            for request_id, label in self._waiting.popleft().items()
        ]
        import_labels(
            engine,
            settings.monitor.name,
            rows,
            kept=timedelta(days=settings.monitor.archive_days),
            now=utc_now(),
            progress=lambda _done, _total: None,
        )
