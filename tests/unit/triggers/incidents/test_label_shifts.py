"""What moved, in words."""

import pytest

from tests.support.records.factories import make_input_drift
from triggers.incidents.label_shifts import largest_moves, what_moved

DRIFT = make_input_drift(reference_cycle_id=3)


def test_the_labels_that_moved_most_come_first() -> None:
    then = {"order_tracking": 0.12, "faq": 0.4, "checkout": 0.28, "returns": 0.2}
    now = {"order_tracking": 0.25, "faq": 0.3, "checkout": 0.27, "escalation": 0.18}
    moves = largest_moves(then, now)
    assert [move.label for move in moves] == ["returns", "escalation", "order_tracking"]
    assert what_moved(DRIFT, moves) == (
        "returns 20% -> 0%, escalation 0% -> 18%, order_tracking 12% -> 25%; label mix PSI 0.120 "
        "[0.100, 0.140]; texts distinguished from those of cycle 3 with accuracy 0.63 (0.5: alike), p = 0.001"
    )


@pytest.mark.parametrize("now", [{"faq": 1.0}, {"faq": 0.991, "returns": 0.009}, {}])
def test_labels_that_hardly_moved_are_not_told(now: dict[str, float]) -> None:
    then = {"faq": 1.0} if now else {}
    assert largest_moves(then, now) == ()
    assert what_moved(DRIFT, ()).startswith("no label by 1 percentage point or more; label mix PSI 0.120")
