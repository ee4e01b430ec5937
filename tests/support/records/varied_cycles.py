"""Rules of every kind, and cycles of every kind to judge by them."""

from dataclasses import replace
from decimal import Decimal
from typing import Final

import numpy as np

from db.records import CycleResult
from tests.support.records.factories import HOUR, LABELS, make_input_drift, make_measurement, make_result
from triggers.settings import DEFAULT_RULES, Condition, Rule

RULES: Final = (
    *DEFAULT_RULES,
    Rule(name="any-agreement", metric="agreement", below=Decimal("0.97"), for_cycles=2),
    Rule(name="js", metric="js", above=Decimal("0.03"), for_cycles=4),
    Rule(name="interval", metric="kl", above=Decimal("0.15"), mode="interval", clear=Decimal("0.1")),
    Rule(
        name="label", metric=f"class_agreement:{LABELS[0]}", below=Decimal("0.95"), of_cycles=3, for_cycles=2
    ),
    Rule(name="evidence", metric="agreement", below=Decimal("0.95"), mode="sequential"),
    Rule(name="new", metric="input_drift", above=Decimal("0.6"), for_cycles=2, action="alert"),
    Rule(
        name="joined",
        any=(
            Condition(metric="agreement", below=Decimal("0.95"), mode="sequential"),
            Condition(metric="kl", above=Decimal("0.15"), mode="sequential"),
        ),
        mode="sequential",
        cooldown=3 * HOUR,
    ),
)


def random_result(rng: np.random.Generator) -> CycleResult:
    """Often on the wrong side, or just not; now and then of another pair."""
    disagreements, kl = int(rng.choice([100, 275, 276, 300, 300])), float(rng.choice([0.08, 0.15, 0.2, 0.2]))
    measurement = replace(
        make_measurement(disagreements=disagreements, kl=kl),
        kl_values=tuple(rng.gamma(1.0, kl, 500).tolist()),
        weights=(1.0,) * 500,
        input_drift=None if rng.random() < 0.2 else make_input_drift(accuracy=float(rng.choice([0.6, 0.65]))),
    )
    return make_result(
        measurement=measurement,
        teacher_version="t1" if rng.random() < 0.95 else "t2",
        student_version="s1" if rng.random() < 0.9 else "s2",
    )
