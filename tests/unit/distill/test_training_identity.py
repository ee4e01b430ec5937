from distill.training_identity import _SAME_BITS_AS, digest_of_step

CHANGED = """
The code of a training step has changed: its digest is now {today}.
- If the new step computes the same bits, prove that: begin a training with the previous code, kill it,
  resume it with the new code, and compare the weights with those of an undisturbed training. Then make
  {today}
  the key of _SAME_BITS_AS in distill/training_identity.py and keep the value, so that open trainings are
  resumed.
- If it does not, make the digest both key and value, and say in CHANGELOG.md that open trainings restart.
"""


def test_the_step_that_is_declared_to_resume_open_trainings_is_todays() -> None:
    """A change to the code of a step is either proven to compute the same bits, or announced."""
    today = digest_of_step()
    assert [*_SAME_BITS_AS] == [today], CHANGED.format(today=today)
