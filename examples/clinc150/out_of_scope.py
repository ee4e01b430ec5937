"""A drift that re-distillation cannot fix: questions that are in no domain, not even for the teacher.

Their share rises from day to day until the rules fire. Candidates are judged by their agreement on the
sample that condemned the student, and each failed candidate lowers alpha for the next one, until the product
asks for another teacher.
"""

from functools import partial

from stage import Example, play
from tale import tell
from world import Drift

EXAMPLE = Example(
    name="clinc150-out-of-scope",
    strange=lambda corpus: corpus.out_of_scope,
    tell=partial(tell, "Questions that are out of the teacher's scope"),
    drift=Drift(usual_days=2, step=0.05, days_after=1, most_days=20),
    labelled=True,
)

if __name__ == "__main__":
    play(EXAMPLE, __doc__)
