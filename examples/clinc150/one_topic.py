"""One new topic: users start to rent cars, which the teacher knows and the student was never taught.

Nothing is ordered: the example shows which requests moved, with the commands of an on-call.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from corpus import Corpus, Utterances
from sqlalchemy import Engine
from stage import Example, play
from world import Day, Drift

from redistill.configuration.settings import Settings

TOPIC: Final = "car_rental"
#: The topic has 50 utterances; a day's log repeats them, as users ask the same questions.
REPEATED: Final = 12
RULES: Final = """\
[[rules]]
name = "low-agreement"
metric = "agreement"
below = 0.95
for_cycles = 3
action = "alert"
"""


def _one_topic(corpus: Corpus) -> Utterances:
    return REPEATED * tuple(each for each in corpus.new_topics if each.topic == TOPIC)


def _tell(picture: Path, settings: Settings, engine: Engine, days: list[Day]) -> None:
    del engine
    print(f"Share of the new topic by day: {', '.join(f'{day.share:.0%}' for day in days)}")
    config = picture.parent / "redistill.toml"
    for command in (["history"], ["status"], ["archive", "slices"]):
        print(f"\n$ redistill {' '.join(command)}", flush=True)
        subprocess.run(  # noqa: S603 - the product's own command
            [sys.executable, "-m", "redistill", "--config", str(config), *command],
            env={**os.environ, "NO_COLOR": "1"},
            cwd=settings.folder,
            check=True,
        )


EXAMPLE = Example(
    name="clinc150-one-topic",
    strange=_one_topic,
    tell=_tell,
    drift=Drift(usual_days=2, step=0.03, days_after=0, most_days=5),
    rules=RULES,
)

if __name__ == "__main__":
    play(EXAMPLE, __doc__)
