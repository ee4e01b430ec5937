"""The named sets of rules: those of the design, and one that orders only where low agreement lasts."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final, Literal

from db.states import Severity
from triggers.settings import DEFAULT_RULES, Rule

RuleSet = Literal["literal", "sustained"]

_THRESHOLD: Final = Decimal("0.95")

#: The literal rules only alert. A job is ordered if 18 of 24 cycles are below 0.95, or the whole interval of
#: three in a row is below 0.93: short drops, bad nights and a level near the threshold order nothing.
SUSTAINED_RULES: Final = (
    *(rule.model_copy(update={"action": "alert", "severity": Severity.WARNING}) for rule in DEFAULT_RULES),
    Rule(
        name="slow-drift",
        metric="agreement",
        below=_THRESHOLD,
        mode="sequential",
        action="alert",
        severity=Severity.WARNING,
    ),
    Rule(name="lasting-low-agreement", metric="agreement", below=_THRESHOLD, for_cycles=18, of_cycles=24),
    Rule(
        name="very-low-agreement",
        metric="agreement",
        below=Decimal("0.93"),
        mode="interval",
        for_cycles=3,
    ),
)

RULE_SETS: Final[Mapping[RuleSet, tuple[Rule, ...]]] = {
    "literal": DEFAULT_RULES,
    "sustained": SUSTAINED_RULES,
}
