"""The state of a rule survives its text: everything that the next cycle looks back at, to the last bit."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from triggers.rules.state import Fold, RuleFold, from_text

FOLD = Fold(streak=2, recent=(True, False, True), is_open=True, gap=2, pair=("t", "s"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gap": 0},
        {"streak": 0},
        {"recent": ()},
        {"is_open": False},
        {"pair": None},
        {"pair": (None, "s")},
    ],
    ids=str,
)
def test_each_field_comes_back(changes: dict[str, object]) -> None:
    fold = replace(FOLD, **changes)  # type: ignore[arg-type]
    rule = RuleFold(
        whole=fold, members=(FOLD, fold), is_firing=True, last_fired=datetime(2026, 11, 24, tzinfo=UTC)
    )
    assert from_text(rule.text) == rule


def test_log_wealth_comes_back_to_the_last_bit() -> None:
    log_wealth = np.array([0.1 + 0.2, -np.inf, 1e-300])
    found = from_text(RuleFold(whole=replace(FOLD, log_wealth=log_wealth)).text).whole.log_wealth
    np.testing.assert_array_equal(found, log_wealth)


def test_a_rule_without_a_past_comes_back() -> None:
    assert from_text(RuleFold().text) == RuleFold()
