from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import CyclePoint
from db.states import CycleStatus, OutcomeReason
from tests.support.records.factories import make_blind_point, make_point
from triggers.rules.evaluation import evaluate, replay, unevaluated_in_a_row
from triggers.settings import DEFAULT_RULES, Rule

LOW_AGREEMENT, HIGH_KL = DEFAULT_RULES
GOOD, BAD = 250, 300  # disagreements of 5,500: .9545 and .9455


def make_history(pattern: str) -> list[CyclePoint]:
    """One cycle a letter: g(ood), b(ad), B(ad, of another student), ? (inconclusive), F(ailed), s(kipped)."""
    statuses = {"?": CycleStatus.INCONCLUSIVE, "F": CycleStatus.FAILED, "s": CycleStatus.SKIPPED}
    points = []
    for index, letter in enumerate(pattern):
        if letter in statuses:
            points.append(make_blind_point(index, status=statuses[letter]))
            continue
        point = make_point(index, disagreements=GOOD if letter in "gG" else BAD)
        points.append(replace(point, student_version="student-2") if letter in "GB" else point)
    return points


def streaks(history: Sequence[CyclePoint]) -> str:
    return "".join(str(outcome.streak) for outcome in replay(LOW_AGREEMENT, history))


@pytest.mark.parametrize(
    ("pattern", "expected", "sentence"),
    [
        ("ggg", "000", "healthy cycles make no streak"),
        ("bbbb", "1234", "breached cycles in a row are counted"),
        ("bbgb", "1201", "a healthy cycle sets the streak to 0"),
        ("b?b", "112", "one inconclusive cycle leaves the streak"),
        ("b?Fb", "1112", "an inconclusive and a failed one leave it"),
        ("bs?b", "1112", "a skipped and an inconclusive one leave it"),
        ("b?Fsb", "11101", "the third cycle in a row without evidence sets it to 0"),
        ("bb????b", "1222001", "and so do the later ones"),
        ("b??b??b", "1112223", "two gaps of two do not add up to one of four"),
        ("bbB", "121", "a breached cycle of a new student begins a streak of its own"),
        ("bbG", "120", "a healthy cycle of a new student has none"),
        ("bBb", "111", "the old student's streak does not come back with it"),
        ("bb?B", "1221", "a gap does not hide that the student is a new one"),
        ("?b", "01", "a history may begin without evidence"),
    ],
)
def test_streaks(pattern: str, expected: str, sentence: str) -> None:
    """A streak counts breached evaluated cycles in a row of one version pair."""
    assert streaks(make_history(pattern)) == expected, sentence


def test_a_new_teacher_ends_a_streak_as_a_new_student_does() -> None:
    first, second = make_history("bb")
    assert streaks([first, replace(second, teacher_version="teacher-2")]) == "11"


@pytest.mark.parametrize(
    ("pattern", "reason", "fired", "sentence"),
    [
        ("bb", OutcomeReason.BREACHED, False, "two breached cycles do not fire a rule for three"),
        ("bbb", OutcomeReason.FIRED, True, "three do"),
        ("bbbb", OutcomeReason.FIRED, True, "and it stays fired while the drift lasts"),
        ("bbbg", OutcomeReason.WITHIN, False, "until a healthy cycle"),
        ("bbb?", OutcomeReason.NOT_EVALUATED, False, "without evidence nothing fires, whatever the streak"),
        ("bbb???", OutcomeReason.STREAK_EXPIRED, False, "at the third such cycle the streak has expired"),
        ("bb?b", OutcomeReason.FIRED, True, "a gap of one does not stop the third"),
    ],
)
def test_the_newest_outcome(
    pattern: str,
    reason: OutcomeReason,
    fired: bool,  # noqa: FBT001 - a column of the table
    sentence: str,
) -> None:
    """A rule fires at an evaluated cycle whose streak has reached for_cycles."""
    outcome = evaluate(LOW_AGREEMENT, make_history(pattern))
    assert (outcome.reason, outcome.fired) == (reason, fired), sentence


def test_an_outcome_carries_its_evidence() -> None:
    """Value and threshold are those that were compared, in the metric's unit."""
    point = make_point(disagreements=BAD)
    outcome = evaluate(LOW_AGREEMENT, [point])
    assert outcome.window_end == point.window_end
    assert (outcome.rule, outcome.metric) == ("low-agreement", "agreement")
    assert outcome.value == pytest.approx(5_200 / 5_500)
    assert outcome.threshold == pytest.approx(0.95)
    assert outcome.breached


def test_a_cycle_without_evidence_has_no_value_and_no_breach() -> None:
    """Even if numbers are there, an inconclusive cycle says nothing."""
    point = replace(make_point(disagreements=BAD), status=CycleStatus.INCONCLUSIVE)
    outcome = evaluate(LOW_AGREEMENT, [point])
    assert (outcome.value, outcome.breached, outcome.streak, outcome.fired) == (None, False, 0, False)


@pytest.mark.parametrize("threshold", ["0.95", "0.9", "0.85", "0.35"])
def test_ties_at_every_size_are_not_breaches(threshold: str) -> None:
    """19·m of 20·m agreeing is exactly 0.95; one disagreement more is a breach. So for other thresholds,
    the nearest double of which is above them (0.9), or below (0.85).
    """
    rule = Rule(name="r", metric="agreement", below=Decimal(threshold))
    per_twenty = int(20 * (1 - rule.threshold))
    for m in range(1, 1_001):
        tie = make_point(n=20 * m, disagreements=per_twenty * m)
        assert not evaluate(rule, [tie]).breached, m
        assert evaluate(rule, [replace(tie, disagreements=per_twenty * m + 1)]).breached, m


def test_the_agreement_of_a_stratified_sample_is_what_it_stands_for() -> None:
    """Counted as it lies, 50 of 200 disagree; weighted it is a tie, or a breach by one part in 10^12."""
    point = make_point(n=200, disagreements=50)
    assert not evaluate(LOW_AGREEMENT, [replace(point, agreement=Fraction(19, 20))]).breached
    below = Fraction(19, 20) - Fraction(1, 10**12)
    assert evaluate(LOW_AGREEMENT, [replace(point, agreement=below)]).breached


def test_a_float32_mean_would_get_those_ties_wrong() -> None:
    """The trap is real: this is why counts are compared and not means."""
    agrees = np.ones(5_500, dtype=np.float32)
    agrees[:275] = 0
    assert float(agrees.mean(dtype=np.float32)) < 0.95


@pytest.mark.parametrize("bound", ["0.15", "0.1", "0.3", "0.083", "1E-7"])
@pytest.mark.parametrize("metric", ["kl", "kl_t1", "js"])
def test_a_value_that_is_written_as_the_threshold_is_a_tie(metric: str, bound: str) -> None:
    """Doubles are compared with the threshold's double: neither below nor above."""
    point = replace(make_point(), kl=float(bound), kl_t1=float(bound), js=float(bound))
    assert not evaluate(Rule(name="r", metric=metric, above=Decimal(bound)), [point]).breached
    assert not evaluate(Rule(name="r", metric=metric, below=Decimal(bound)), [point]).breached


@pytest.mark.parametrize(("kl", "breached"), [(0.15, False), (0.1500001, True), (0.083, False)])
def test_the_kl_rule_fires_in_one_cycle(kl: float, breached: bool) -> None:  # noqa: FBT001 - a column
    outcome = evaluate(HIGH_KL, [make_point(kl=kl)])
    assert (outcome.breached, outcome.fired, outcome.streak) == (breached, breached, int(breached))


def test_each_metric_is_read_from_its_own_field() -> None:
    point = replace(make_point(), kl=0.1, kl_t1=0.2, js=0.3)
    metrics: tuple[str, ...] = ("kl", "kl_t1", "js")
    values = [evaluate(Rule(name=m, metric=m, above=Decimal(1)), [point]).value for m in metrics]
    assert values == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("kl", [None, float("nan"), float("inf")])
def test_a_metric_that_is_not_a_number_is_no_evidence(kl: float | None) -> None:
    """A rule whose metric is missing is not evaluated, and its streak stands."""
    history = [make_point(0, kl=0.2), replace(make_point(1), kl=kl), make_point(2, kl=0.2)]
    assert [outcome.streak for outcome in replay(HIGH_KL, history)] == [1, 1, 2]
    assert evaluate(HIGH_KL, history[:2]).reason is OutcomeReason.NOT_EVALUATED


def test_no_history_is_an_error() -> None:
    with pytest.raises(ValueError, match="no cycle"):
        evaluate(LOW_AGREEMENT, [])
    assert list(replay(LOW_AGREEMENT, [])) == []


@given(st.text("gbB?Fs", min_size=1, max_size=20), st.data())
def test_the_order_of_arrival_plays_no_part(pattern: str, data: st.DataObject) -> None:
    """A late cycle is ordered by its window, and asking twice gives the same answer."""
    history = make_history(pattern)
    in_order = list(replay(LOW_AGREEMENT, history))
    shuffled = data.draw(st.permutations(history))
    assert list(replay(LOW_AGREEMENT, shuffled)) == in_order
    assert evaluate(LOW_AGREEMENT, shuffled) == evaluate(LOW_AGREEMENT, shuffled) == in_order[-1]


@given(st.text("gbB?Fs", min_size=1, max_size=20))
def test_the_past_does_not_change(pattern: str) -> None:
    """What was said at a cycle is what the history up to it says: the daemon and replay agree."""
    history = make_history(pattern)
    said_then = [evaluate(LOW_AGREEMENT, history[: end + 1]) for end in range(len(history))]
    assert said_then == list(replay(LOW_AGREEMENT, history))


@given(st.integers(1, 10**6), st.data())
def test_agreement_is_compared_as_a_rational(n: int, data: st.DataObject) -> None:
    disagreements = data.draw(st.integers(0, n))
    threshold = data.draw(st.decimals(0, 1, places=4))
    rule = Rule(name="r", metric="agreement", below=threshold)
    outcome = evaluate(rule, [make_point(n=n, disagreements=disagreements)])
    assert outcome.breached == (Fraction(n - disagreements, n) < Fraction(threshold))


@pytest.mark.parametrize(
    ("pattern", "count"), [("", 0), ("g", 0), ("?", 1), ("g?F", 2), ("??sg", 0), ("b?g?s?", 3)]
)
def test_cycles_without_evidence_are_counted_from_the_newest(pattern: str, count: int) -> None:
    newest_first = [point.status for point in make_history(pattern)[::-1]]
    assert unevaluated_in_a_row(newest_first) == count
