"""The outcome of each mode of a rule in a slow drift, and the correct model where the two disagree.

As in run.py, topics occur that the student was not trained on, but their share rises slowly and no job is
ordered.
"""

from functools import partial

from modes import tell
from stage import Example, play
from world import Drift

RULES = """\
[[rules]]
name = "three in a row"
metric = "agreement"
below = 0.95
for_cycles = 3
action = "alert"

[[rules]]
name = "interval"
metric = "agreement"
below = 0.95
mode = "interval"
action = "alert"

[[rules]]
name = "sequential"
metric = "agreement"
below = 0.95
mode = "sequential"
action = "alert"

[[rules]]
name = "early warning"
metric = "agreement"
below = 0.97
mode = "sequential"
action = "alert"
severity = "warning"

[[rules]]
name = "KL"
metric = "kl"
above = 0.15
action = "alert"

[[rules]]
name = "KL, sequential"
metric = "kl"
above = 0.03
mode = "sequential"
action = "alert"
severity = "warning"
"""

EXAMPLE = Example(
    name="clinc150-watching",
    strange=lambda corpus: corpus.new_topics,
    tell=partial(tell, "Topics that the student was never taught, without re-distillation"),
    drift=Drift(usual_days=2, step=0.02, days_after=0, most_days=18),
    rules=RULES,
    labelled=True,
)

if __name__ == "__main__":
    play(EXAMPLE, __doc__)
