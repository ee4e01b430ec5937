"""Rules beyond the literal ones: intervals, evidence, M of N, hysteresis, cooldown, labels and groups."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from db.records import CyclePoint, Interval, LabelMeasurement, RuleOutcome, StratumCount
from db.states import CycleStatus
from tests.support.records.factories import make_blind_point, make_interval, make_point
from triggers.rules.evaluation import evaluate, replay
from triggers.rules.sequential import SHARE_BETS, mean_log_increments
from triggers.settings import Rule

HISTORIES = 2_000


def rule(**given: Any) -> Rule:  # noqa: ANN401 - any key of a rule
    is_whole = not {"all", "any", "above", "below"}.isdisjoint(given)
    agreement = {} if {"all", "any"} & given.keys() else {"metric": "agreement"}
    return Rule.model_validate({"name": "r", **agreement, **({} if is_whole else {"below": "0.95"}), **given})


def cycles(percents: Sequence[float | None], *, half_width: float = 0.004) -> list[CyclePoint]:
    """One cycle of 1,000 requests each, by its agreement in percent; None: inconclusive."""
    points = []
    for index, percent in enumerate(percents):
        if percent is None:
            points.append(make_blind_point(index))
            continue
        point = make_point(index, n=1_000, disagreements=round(1_000 - 10 * percent))
        points.append(
            replace(point, intervals={"agreement": make_interval(percent / 100, half_width=half_width)})
        )
    return points


def reasons(of: Rule, points: Sequence[CyclePoint]) -> str:
    """Their first letters: w(ithin), b(reached), f(ired), c(ooldown), n(ot evaluated), s(treak expired)."""
    return "".join(outcome.reason[0] for outcome in replay(of, points))


@pytest.mark.parametrize(
    ("given", "percents", "expected", "sentence"),
    [
        ({"for_cycles": 2, "of_cycles": 3}, [94, 96, 94], "bwf", "two of the last three cycles are enough"),
        ({"for_cycles": 2, "of_cycles": 3}, [94, 96, 96, 94], "bwwb", "two of the last four are not"),
        ({"for_cycles": 2, "of_cycles": 3}, [94, None, 96, None, 94], "bnwnf", "gaps do not count"),
        ({"for_cycles": 2, "of_cycles": 3}, [94, None, None, None, 94], "bnnsb", "three of them end it"),
        ({"clear": "0.97"}, [94, 96, 96.9, 97, 96], "fffww", "it lasts until the clear threshold"),
        ({"clear": "0.97"}, [94, None, 96], "fnf", "also over a gap"),
        ({"clear": "0.97"}, [94, None, None, None, 96], "fnnsw", "but not over three"),
        ({"clear": "0.97", "for_cycles": 2}, [94, 96, 94, 94, 96], "bwbff", "once it has held, not before"),
        ({"cooldown": "4h"}, [94, 96, 94, 96, 94, 94], "fwcwff", "it fires again after its cooldown"),
        ({"cooldown": "2h"}, [94, 94, 94, 94], "ffff", "what lasts does not cool down"),
        ({"cooldown": "9h"}, [94, None, 94, 96, 94], "fnfwc", "nor does a gap interrupt it"),
        ({"mode": "interval"}, [94.7, 94.5, 95.4], "wfw", "the whole interval must be below"),
        ({"mode": "interval", "above": "0.95"}, [95.3, 95.5], "wf", "or above"),
        ({"mode": "interval", "for_cycles": 2}, [94.5, 94.7, 94.5, 94.5], "bwbf", "as often as asked"),
    ],
)  # fmt: skip
def test_each_key_in_a_sentence(
    given: dict[str, Any], percents: list[float | None], expected: str, sentence: str
) -> None:
    assert reasons(rule(**given), cycles(percents)) == expected, sentence


def test_without_its_interval_a_cycle_tells_an_interval_rule_nothing() -> None:
    assert reasons(rule(mode="interval"), [make_point(0, disagreements=5_000)]) == "n"


def test_another_student_ends_hysteresis_and_cooldown() -> None:
    first, *_, last = cycles([94, 96, 94])
    other = replace(last, student_version="another")
    assert reasons(rule(clear="0.97", cooldown="9h"), [first, other]) == "ff"
    assert reasons(rule(clear="0.97"), [first, replace(other, disagreements=40)]) == "fw"


@pytest.mark.parametrize(("n", "expected"), [(100, "f"), (99, "n")])
def test_a_label_is_judged_from_100_requests_on(n: int, expected: str) -> None:
    escalation = LabelMeasurement(label="escalation", n=n, share=0.02, agreement=make_interval(0.9), kl=0.2)
    point = replace(make_point(), labels={"escalation": escalation})
    assert reasons(rule(metric="class_agreement:escalation"), [point]) == expected
    assert reasons(rule(metric="class_kl:escalation", above="0.15"), [point]) == expected
    assert reasons(rule(metric="class_agreement:faq"), [point]) == "n"
    assert reasons(rule(metric="class_agreement:escalation", mode="interval"), [point]) == expected


AGREEMENT, KL = {"metric": "agreement", "below": "0.95"}, {"metric": "kl", "above": "0.15"}
INPUT = {"metric": "input_drift", "above": "0.6"}


@pytest.mark.parametrize(
    ("group", "disagreements", "kl", "expected", "value"),
    [
        ("any", 10, 0.1, "w", 0), ("any", 60, 0.1, "f", 1), ("any", 60, 0.2, "f", 2),
        ("all", 60, 0.1, "w", 1), ("all", 60, 0.2, "f", 2),
        ("any", 60, None, "f", 1), ("any", 10, None, "n", None),
        ("all", 60, None, "n", None), ("all", 10, None, "w", 0),
    ],
)  # fmt: skip
def test_a_group_holds_as_far_as_is_known(
    group: str, disagreements: int, kl: float | None, expected: str, value: float | None
) -> None:
    point = replace(make_point(n=1_000, disagreements=disagreements), kl=kl)
    whole = rule(**{group: [AGREEMENT, KL]})
    assert reasons(whole, [point]) == expected
    outcome = evaluate(whole, [point])
    assert (outcome.metric, outcome.value) == (group, value)
    assert outcome.threshold == (1 if group == "any" else 2)


def test_the_conditions_of_a_group_keep_their_own_count() -> None:
    whole = rule(all=[{**AGREEMENT, "for_cycles": 2}, KL], for_cycles=2)
    points = [replace(point, kl=0.2) for point in cycles([94, 94, 94, 96])]
    assert reasons(whole, points) == "wbfw"


# --- evidence --------------------------------------------------------------------------------------------


def wealth(counts: Sequence[tuple[int, int]], level: float) -> float:
    """Of an unboosted detector, with numbers and not logs."""
    won = np.zeros(7)
    for k, n in counts:
        rates = level * np.array(SHARE_BETS)
        won = (1 + won) * (rates / level) ** k * ((1 - rates) / (1 - level)) ** (n - k)
    return float(won.mean())


def test_evidence_adds_up_over_cycles_and_is_never_less_than_without_the_boost() -> None:
    points = [make_point(index, disagreements=300) for index in range(4)]
    outcomes = list(replay(rule(mode="sequential"), points))
    for index, outcome in enumerate(outcomes):
        plain = math.log(wealth([(300, 5_500)] * (index + 1), 0.05))
        if not outcome.fired or index == 0 or not outcomes[index - 1].fired:
            assert outcome.statistic is not None
            assert plain <= outcome.statistic <= plain + 2
    assert not outcomes[0].fired


def test_more_than_a_tenth_of_the_window_gets_no_boost() -> None:
    for n_seen, boosted in ((100_000, True), (20_000, False)):
        strata = (StratumCount(n_seen=n_seen, n=5_500, disagreements=300),)
        outcome = evaluate(rule(mode="sequential"), [replace(make_point(disagreements=300), strata=strata)])
        assert outcome.statistic is not None
        assert (outcome.statistic > math.log(wealth([(300, 5_500)], 0.05)) + 1e-6) is boosted


def test_after_an_alarm_the_value_says_when_it_is_over_and_the_evidence_starts_anew() -> None:
    points = [make_point(i, disagreements=k) for i, k in enumerate([500, 270, 280, 200, 280, 500])]
    outcomes = list(replay(rule(mode="sequential"), points))
    assert "".join(each.reason[0] for each in outcomes) == "fwwwwf"
    clearing = list(replay(rule(mode="sequential", clear="0.96"), points))
    assert "".join(each.reason[0] for each in clearing) == "fffwwf"
    assert clearing[1].statistic is None
    assert clearing[4].statistic == evaluate(rule(mode="sequential"), [points[4]]).statistic


def test_evidence_of_a_mean_comes_with_the_cycle() -> None:
    values = np.random.default_rng(1).gamma(0.16, 0.25 / 0.16, 5_500)
    point = replace(
        make_point(), kl=0.25, log_increments={"kl>0.15": tuple(mean_log_increments(values, 0.15))}
    )
    kl = rule(metric="kl", above="0.15", mode="sequential")
    assert reasons(kl, [point, replace(point, window_end=point.window_end + timedelta(hours=1))])[-1] == "f"
    assert reasons(kl, [replace(point, log_increments={"kl>0.2": point.log_increments["kl>0.15"]})]) == "n"
    at_hand = replace(point, log_increments={}, kl_values=tuple(values))
    assert evaluate(kl, [at_hand]) == evaluate(kl, [point])


def test_an_agreement_that_is_no_count_is_no_evidence() -> None:
    point = replace(make_point(n=20, disagreements=1), agreement=Fraction(19, 20))
    assert reasons(rule(mode="sequential"), [point]) == "n"


def test_joined_evidence_is_the_mean_of_both() -> None:
    values = np.full(5_500, 0.16)
    points = [
        replace(
            make_point(i, disagreements=290),
            kl=0.16,
            log_increments={"kl>0.15": tuple(mean_log_increments(values, 0.15))},
        )
        for i in range(3)
    ]
    parts = [{**AGREEMENT, "mode": "sequential"}, {**KL, "mode": "sequential"}]
    joined = rule(any=parts, mode="sequential", false_alarm_rate=0.1)
    alone = [rule(**part, false_alarm_rate=0.05) for part in parts]
    whole, one, other = (next(iter(replay(each, points))) for each in (joined, *alone))
    assert None not in (whole.statistic, one.statistic, other.statistic)
    expected = (math.exp(one.statistic or 0) + math.exp(other.statistic or 0)) / 2
    assert math.exp(whole.statistic or 0) == pytest.approx(expected)


# --- an oracle for all of it -----------------------------------------------------------------------------


def expected_reasons(of: Rule, points: Sequence[CyclePoint]) -> list[str]:
    """What the words say, written as one loop with plain variables, for a single condition."""
    said = []
    student, is_open, firing, last, empty = None, False, False, None, 0
    marks: list[bool] = []
    for point in points:
        interval = point.intervals.get("agreement")
        still_open = is_open and point.student_version == student
        known = point.status == "evaluated" and (of.mode == "point" or still_open or interval is not None)
        if not known:
            empty += 1
            if empty >= 3:
                marks, is_open, firing = [], False, False
            said.append("streak_expired" if empty >= 3 else "not_evaluated")
            continue
        empty = 0
        if point.student_version != student:
            student, marks, is_open, firing, last = point.student_version, [], False, False, None
        bound = of.cleared_at if is_open else of.threshold
        agreeing = Decimal((point.n or 0) - (point.disagreements or 0)) / Decimal(point.n or 1)
        if of.mode == "interval" and not is_open:
            assert interval is not None
            wrong = interval.high < float(bound) if of.below else interval.low > float(bound)
        else:
            wrong = agreeing < bound if of.below else agreeing > bound
        marks = [*marks, wrong][-of.window :]
        is_open = wrong and (is_open or marks.count(True) >= of.for_cycles)
        if not is_open:
            firing = False
        elif not firing:
            firing = last is None or point.window_end - last >= of.cooldown
        last = point.window_end if firing else last
        said.append("within" if not wrong else "fired" if firing else "cooldown" if is_open else "breached")
    return said


def random_case(rng: np.random.Generator) -> tuple[Rule, list[CyclePoint]]:
    for_cycles = int(rng.integers(1, 4))
    side = str(rng.choice(["below", "above"]))
    clear = {"below": ["0.95", "0.955"], "above": ["0.95", "0.945"]}[side]
    of = Rule.model_validate(
        {
            "name": "r",
            "metric": "agreement",
            side: "0.95",
            "mode": str(rng.choice(["point", "interval"])),
            "for_cycles": for_cycles,
            "of_cycles": rng.choice(np.array([None, for_cycles, for_cycles + 2])),
            "clear": rng.choice(np.array([None, *clear])),
            "cooldown": timedelta(hours=int(rng.integers(0, 7))),
        }
    )
    points = []
    for index in range(int(rng.integers(1, 30))):
        if rng.random() < 0.2:
            points.append(make_blind_point(index))
            continue
        student = f"s{int(rng.random() < 0.05)}"
        point = make_point(index, n=1_000, disagreements=int(rng.integers(44, 57)), student_version=student)
        share = 1 - (point.disagreements or 0) / 1_000
        bounds = {"agreement": Interval(estimate=share, low=share - 0.002, high=share + 0.002)}
        points.append(point if rng.random() < 0.05 else replace(point, intervals=bounds))
    return of, points


def test_every_mode_says_what_its_words_say() -> None:
    rng = np.random.default_rng(2027)
    seen: dict[str, int] = {}
    for _ in range(HISTORIES):
        of, points = random_case(rng)
        found: list[RuleOutcome] = list(replay(of, points))
        assert [each.reason.value for each in found] == expected_reasons(of, points), (of, points)
        assert evaluate(of, [points[i] for i in rng.permutation(len(points))]) == found[-1]
        for each in found:
            seen[each.reason] = seen.get(each.reason, 0) + 1
    assert len(seen) == 6
    assert min(seen.values()) > 100, seen


def test_a_restart_changes_no_answer_of_any_mode() -> None:
    """What is said at a cycle depends on the cycles up to it alone: each prefix, in any order of arrival."""
    rng = np.random.default_rng(5)
    values = [rng.gamma(0.16, 0.2 / 0.16, 500) for _ in range(12)]
    points = [
        replace(
            make_point(i, disagreements=int(stats.binom.rvs(5_500, 0.052, random_state=i))),
            kl=float(values[i].mean()),
            log_increments={"kl>0.15": tuple(mean_log_increments(values[i], 0.15))},
        )
        for i in range(12)
    ]
    points[4] = make_blind_point(4, status=CycleStatus.FAILED)
    parts = [{**AGREEMENT, "mode": "sequential"}, {**KL, "mode": "sequential"}]
    for of in (*(rule(**part) for part in parts), rule(any=parts, mode="sequential"), rule(clear="0.96")):
        for at, outcome in enumerate(replay(of, points)):
            arrived = [points[i] for i in rng.permutation(at + 1)]
            assert evaluate(of, arrived) == outcome


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": "class_agreement"}, "'metric' must be one of"),
        ({"metric": "kl:faq"}, "'metric' must be one of"),
        ({"clear": "0.94"}, "'clear' 0.94 is on the wrong side: set it to 0.95 or more"),
        ({"for_cycles": 3, "of_cycles": 2}, "'of_cycles' 2 is less than 'for_cycles' 3"),
        ({"metric": "js", "mode": "interval", "below": "0.1"}, "js has no interval"),
        ({"metric": "js", "mode": "sequential"}, "only for agreement with 'below' and kl with 'above'"),
        ({"above": "0.95", "mode": "sequential"}, "only for agreement with 'below' and kl with 'above'"),
        ({"mode": "sequential", "for_cycles": 2}, "accumulates evidence over cycles"),
        ({"mode": "sequential", "below": "0.4"}, r"in \[0.5, 1\)"),
        ({"any": [AGREEMENT, KL], "mode": "sequential"}, "combines only 'any' of sequential conditions"),
        ({"any": [AGREEMENT, KL], "mode": "interval"}, "belongs to a group's conditions"),
        ({"any": [AGREEMENT, KL], "clear": "0.9"}, "thresholds belong to the conditions"),
        ({"any": [AGREEMENT, {"metric": "kl"}]}, "exactly one of 'below' and 'above'"),
        ({"any": [AGREEMENT]}, "at least 2"),
        ({"any": [AGREEMENT, {"metric": "serving_skew", "above": "0.1"}]}, "its own rule"),
        ({"metric": "serving_skew", "above": "0.1"}, "set action = 'alert'"),
        ({"metric": "input_drift", "above": "0.6"}, "hard for the student: set action = 'alert'"),
        ({"metric": "input_drift", "below": "0.4", "action": "alert"}, "set 'above'"),
        ({"metric": "input_drift", "above": "0.6", "action": "alert", "mode": "interval"}, "no interval"),
        ({"metric": "input_drift", "above": "1.1", "action": "alert"}, r"1\.1 is not a share"),
        ({"any": [AGREEMENT, INPUT]}, "input_drift alone says nothing about the student"),
        ({"all": [INPUT, INPUT]}, "input_drift alone says nothing about the student"),
    ],
)
def test_a_rule_that_does_not_fit_together_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rule(**given)
