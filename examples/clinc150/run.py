"""The loop on real utterances: topics occur that the teacher was trained on and the student was not.

The student is distilled on 10 of the 15 topics of each domain. The share of the other five rises from day to
day until the rules fire; the worker re-distills on the labelled rows and the archived requests.
"""

from functools import partial

from stage import Example, play
from tale import tell
from world import Drift

EXAMPLE = Example(
    name="clinc150",
    strange=lambda corpus: corpus.new_topics,
    tell=partial(tell, "Topics that only the teacher knows"),
    drift=Drift(usual_days=2, step=0.05, days_after=3, most_days=20),
)

if __name__ == "__main__":
    play(EXAMPLE, __doc__)
