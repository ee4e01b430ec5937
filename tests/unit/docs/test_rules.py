"""docs/rules.md: what it shows of the cycles ahead is what recomputing gives."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from monitor.intervals import wilson
from tests.support.records.factories import make_point
from triggers.rules.operating_characteristic import delay, false_alarm
from triggers.settings import DEFAULT_RULES, Rule

DOC = (Path(__file__).parents[3] / "docs" / "rules.md").read_text(encoding="utf-8")
OF_INTERVALS = Rule(
    name="interval", metric="agreement", below=Decimal("0.95"), mode="interval", for_cycles=2, of_cycles=3
)


@pytest.mark.parametrize("rule", [DEFAULT_RULES[0], OF_INTERVALS], ids=lambda rule: rule.name)
def test_false_alarms_and_delays_are_recomputed(rule: Rule) -> None:
    """Of the rules without a simulation, at the demo's 1,500 requests a cycle."""
    _, _, ahead = DOC.partition("with a precision of 1,500 independent requests per cycle and")
    (row,) = [line.split() for line in ahead.splitlines() if line.split()[:2] == [rule.name, rule.mode]]
    typical, rng = make_point(n=1_500), np.random.default_rng(2025)
    delays = [f"{delay(rule, typical, drift, wilson, rng).mean:.2f}" for drift in (0.94, 0.93, 0.9)]
    assert row[2:] == [f"{false_alarm(rule, typical, 0.96, wilson, rng=rng).probability:.3g}", *delays]
