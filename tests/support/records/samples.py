"""Scored samples, as a cycle archives them."""

from datetime import UTC, datetime, timedelta

import numpy as np

from db.records import Slot
from monitor.archive.sample import ScoredSample
from monitor.sources.request import Request
from monitor.strata import Strata

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make_sample(n: int = 3, *, end: datetime = TEN, monitor: str = "prod", seed: int = 1) -> ScoredSample:
    rng = np.random.default_rng(seed)
    return ScoredSample(
        slot=Slot(monitor=monitor, window_start=end - HOUR, window_end=end),
        labels=("faq", "promotion"),
        teacher_version="t" * 64,
        student_version="s" * 64,
        temperature=3.0,
        requests=tuple(
            Request(
                id=f"r-{seed}-{row}", time=end - timedelta(minutes=row, microseconds=1), text=f"où? ☕\n{row}"
            )
            for row in range(n)
        ),
        strata=Strata.one(n),
        stratum_labels=(None,),
        teacher_logits=rng.normal(size=(n, 2)).astype(np.float32),
        student_logits=rng.normal(size=(n, 2)).astype(np.float32),
    )


def same(one: ScoredSample, other: ScoredSample) -> bool:
    logits = ("teacher_logits", "student_logits")
    strata = [(tuple(each.strata.sizes), each.strata.of.tolist()) for each in (one, other)]
    plain = [
        {name: value for name, value in vars(each).items() if name not in {*logits, "strata"}}
        for each in (one, other)
    ]
    return (
        plain[0] == plain[1]
        and strata[0] == strata[1]
        and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in logits)
    )
