"""What happens in a run of chaos: drifts one after the other, each with words that only the teacher knows.

The windows are hours that have ended long ago. Which of them are due is up to `lateness`, which the test
lowers from act to act: an act ends in a drift, and the next one begins when the student against it serves. So
there is one expected course of things, however fast the processes are, and however often they die.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from tests.support.world.installation import LONG_TRAINING, Site, Timeline, hours, make_site, now
from tests.support.world.tiny_world import NEW, Words, World

DRIFTS: Final = 4
#: With which alpha each drift's student is distilled: each recovery holds, so each drift is an episode of its
#: own.
ALPHAS: Final = (Decimal("0.6"),) * DRIFTS
FIRST: Final = 1  #: the very first window
_USUAL: Final = 3  #: windows before a drift, beside that
_DRIFTED: Final = 6  #: windows of a drift in its act
_AFTER: Final = 3  #: windows of a drift in the act after it, which its student is asked about
_SPARE: Final = timedelta(minutes=30)  #: half a window, so that none falls due by the clock


def words_of(drift: int) -> Words:
    return {label: tuple(f"{word}{drift}" for word in words) for label, words in NEW.items()}


def all_words() -> Words:
    every = [words_of(drift) for drift in range(DRIFTS)]
    return {label: tuple(word for words in every for word in words[label]) for label in NEW}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """So many drifts, and one act more, which is over when the last is."""

    drifts: int = DRIFTS

    @property
    def acts(self) -> range:
        return range(self.drifts + 1)

    @property
    def windows(self) -> list[Words | None]:
        """The new words of each window, oldest first."""
        found: list[Words | None] = [None]
        for drift in range(self.drifts):
            found += [None] * _USUAL + [words_of(drift)] * (_DRIFTED + _AFTER)
        return found

    def due_in(self, act: int) -> int:
        """How many windows are due in an act, those of the acts before it among them."""
        before = FIRST + act * (_USUAL + _DRIFTED + _AFTER)
        return before + _USUAL + _DRIFTED if act < self.drifts else before

    def steps_of(self, act: int) -> list[int]:
        """How many windows are due: one more with each step, and at last those of the drift, all at once: the
        first of them orders a job.
        """
        known = self.due_in(act - 1) if act else FIRST
        singly = self.due_in(act) - (_DRIFTED if act < self.drifts else 0)
        return [*range(known + 1, singly + 1), self.due_in(act)]

    def site(
        self,
        folder: Path,
        world: World,
        url: str,
        *,
        redistill: Mapping[str, str],
        **sections: Any,  # noqa: ANN401 - as make_site
    ) -> Site:
        """An installation in which the first window is due."""
        timeline = hours(healthy=0, drifted=len(self.windows), ago=1)  # no window is due by the clock alone
        return make_site(
            folder,
            world,
            timeline,
            url=url,
            new_words=self.windows,
            monitor={"lateness": _lateness(timeline, FIRST), "catch_up": "1000h"},
            redistill={**LONG_TRAINING, "cooldown": "0s", "checkpoint_every": "0s", **redistill},
            **sections,
        )

    def open(self, site: Site, n_due: int) -> None:
        """Processes that start from now on see so many windows."""
        line = f'lateness = "{_lateness(site.timeline, n_due)}"'
        draft = site.config.with_suffix(".draft")
        draft.write_text(re.sub('^lateness = ".*"$', line, site.config.read_text(), flags=re.MULTILINE))
        draft.replace(site.config)


def _lateness(timeline: Timeline, n_due: int) -> str:
    newest = timeline.start + n_due * timeline.every
    return f"{(now() - newest - _SPARE).total_seconds():.0f}s"
