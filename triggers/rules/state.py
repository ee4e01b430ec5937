"""The state of a rule between cycles, and the text in which it is stored."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from triggers.rules.observation import Value
from triggers.rules.sequential import Floats


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The state of one condition."""

    # These three describe the present cycle alone, and are not stored.
    value: Value | None = None
    breached: bool = False
    statistic: float | None = None

    streak: int = 0
    recent: tuple[bool, ...] = ()  #: whether each of the last evaluated cycles was breached
    is_open: bool = False  #: the condition held at the last evaluated cycle
    log_wealth: Floats | None = None
    gap: int = 0  #: unevaluated cycles since the last evaluated one
    pair: tuple[str | None, str | None] | None = None

    @property
    def holds(self) -> bool | None:
        """Return whether the condition holds at this cycle; None without evidence."""
        return None if self.value is None else self.is_open


@dataclass(frozen=True, kw_only=True)
class RuleFold:
    """The state of a rule and of its conditions."""

    whole: Fold = Fold()
    members: tuple[Fold, ...] = ()
    is_firing: bool = False  #: the rule fired at the last evaluated cycle
    last_fired: datetime | None = None

    @property
    def text(self) -> str:
        """The state that the next cycle needs, as JSON; numbers are restored to the last bit."""
        return json.dumps(
            {
                "whole": _packed(self.whole),
                "members": [_packed(each) for each in self.members],
                "is_firing": self.is_firing,
                "last_fired": self.last_fired and self.last_fired.isoformat(),
            }
        )


def from_text(text: str) -> RuleFold:
    """Return the state from a `RuleFold.text`."""
    found = json.loads(text)
    return RuleFold(
        whole=_unpacked(found["whole"]),
        members=tuple(_unpacked(each) for each in found["members"]),
        is_firing=found["is_firing"],
        last_fired=found["last_fired"] and datetime.fromisoformat(found["last_fired"]),
    )


def _packed(fold: Fold) -> dict[str, Any]:
    return {
        "streak": fold.streak,
        "recent": fold.recent,
        "is_open": fold.is_open,
        "wins": None if fold.log_wealth is None else fold.log_wealth.tolist(),
        "gap": fold.gap,
        "pair": fold.pair,
    }


def _unpacked(found: dict[str, Any]) -> Fold:
    return Fold(
        streak=found["streak"],
        recent=tuple(found["recent"]),
        is_open=found["is_open"],
        log_wealth=None if found["wins"] is None else np.array(found["wins"]),
        gap=found["gap"],
        pair=found["pair"] and tuple(found["pair"]),
    )
