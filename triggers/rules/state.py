"""What a rule remembers from cycle to cycle, and the text in which it is stored with the newest one."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from triggers.rules.observation import Value
from triggers.rules.sequential import Floats


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What one condition remembers; a gap is a run of cycles without evidence."""

    value: Value | None = (
        None  #: of this cycle, as are breached and statistic: the next one does not look back
    )
    breached: bool = False
    statistic: float | None = None
    streak: int = 0
    recent: tuple[bool, ...] = ()  #: whether breached, of the evaluated cycles that count
    is_open: bool = False  #: it held at the last evaluated cycle
    log_wealth: Floats | None = None
    gap: int = 0
    pair: tuple[str | None, str | None] | None = None

    @property
    def holds(self) -> bool | None:
        """At this cycle; None without evidence."""
        return None if self.value is None else self.is_open


@dataclass(frozen=True, kw_only=True)
class RuleFold:
    """A rule's conditions and what is made of them."""

    whole: Fold = Fold()
    members: tuple[Fold, ...] = ()
    is_firing: bool = False  #: it fired at the last evaluated cycle
    last_fired: datetime | None = None

    @property
    def text(self) -> str:
        """All that the next cycle looks back at, as JSON; numbers come back to the last bit."""
        return json.dumps(
            {
                "whole": _packed(self.whole),
                "members": [_packed(each) for each in self.members],
                "is_firing": self.is_firing,
                "last_fired": self.last_fired and self.last_fired.isoformat(),
            }
        )


def from_text(text: str) -> RuleFold:
    """The fold of a `RuleFold.text`."""
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
