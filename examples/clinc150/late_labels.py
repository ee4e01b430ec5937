"""The loop with people who label 5% of the requests, two days late, and a teacher that knows the new topics.

Their labels show whether low agreement is harmful, and what a lower alpha could do; a job trains on them, and
the student's accuracy on the traffic is known with an interval.
"""

from functools import partial

from accuracy import tell
from stage import Example, play
from world import Drift

EXAMPLE = Example(
    name="clinc150-late-labels",
    strange=lambda corpus: corpus.new_topics,
    tell=partial(tell, "True labels of 5% of the requests, two days late"),
    drift=Drift(usual_days=3, step=0.05, days_after=6, most_days=24),
    late_share=0.05,
)

if __name__ == "__main__":
    play(EXAMPLE, __doc__)
