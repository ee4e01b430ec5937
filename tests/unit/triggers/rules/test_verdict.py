import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from db.records import CyclePoint, LabelMeasurement, RuleOutcome
from db.states import CycleStatus, Verdict, VerdictReason
from tests.support.records.factories import make_interval, make_point
from triggers.rules.evaluation import evaluate
from triggers.rules.observation import missing_of
from triggers.rules.verdict import SampleQuality, describe, failed, judge
from triggers.settings import DEFAULT_RULES, Rule

ENOUGH = SampleQuality(n_scored=5_500, n_seen=50_000, n_rejected=0, min_samples=1_000, max_reject_share=0.05)


def outcomes_of(*history: CyclePoint) -> list[RuleOutcome]:
    return [evaluate(rule, history) for rule in DEFAULT_RULES]


HEALTHY = outcomes_of(make_point())
BREACHED = outcomes_of(make_point(disagreements=300))
FIRED = outcomes_of(make_point(kl=0.2))


@pytest.mark.parametrize(
    ("changes", "reason", "sentence"),
    [
        ({}, None, "a full sample of clean traffic is enough"),
        ({"n_scored": 1_000}, None, "exactly min_samples is enough"),
        ({"n_scored": 999}, VerdictReason.TOO_FEW_SAMPLES, "one less is not"),
        ({"n_scored": 0, "n_seen": 0}, VerdictReason.TOO_FEW_SAMPLES, "an empty window is no evidence"),
        ({"n_seen": 95, "n_rejected": 5, "min_samples": 1}, None, "exactly max_reject_share is enough"),
        ({"n_seen": 949, "n_rejected": 51}, VerdictReason.TOO_MANY_REJECTS, "a share above it is not"),
        ({"n_scored": 0, "n_seen": 0, "n_rejected": 9}, VerdictReason.TOO_MANY_REJECTS, "rejects go first"),
        ({"n_rejected": 1, "max_reject_share": 0.0}, VerdictReason.TOO_MANY_REJECTS, "0 allows none"),
        ({"n_seen": 0, "n_rejected": 1, "max_reject_share": 1.0}, None, "1 allows all"),
    ],
)
def test_shortfalls(changes: dict[str, Any], reason: VerdictReason | None, sentence: str) -> None:
    """Evidence is enough from min_samples on, and up to max_reject_share."""
    evidence = replace(ENOUGH, **changes)
    assert evidence.shortfall is reason, sentence
    assert evidence.status is (CycleStatus.INCONCLUSIVE if reason else CycleStatus.EVALUATED), sentence


@pytest.mark.parametrize("percent", range(1, 100))
def test_a_reject_share_that_is_a_tie_is_allowed_at_every_percent(percent: int) -> None:
    """The share is compared as the decimal that was written, not as its double."""
    tie = replace(ENOUGH, n_seen=100 - percent, n_rejected=percent, max_reject_share=percent / 100)
    assert tie.shortfall is None
    assert replace(tie, n_rejected=percent + 1).shortfall is VerdictReason.TOO_MANY_REJECTS


@pytest.mark.parametrize(
    ("outcomes", "verdict", "reason", "detail"),
    [
        (
            HEALTHY,
            Verdict.HEALTHY,
            VerdictReason.WITHIN_RULES,
            "agreement 0.974 within 0.95; kl 0.083 within 0.15",
        ),
        (
            BREACHED,
            Verdict.BREACHED,
            VerdictReason.RULE_BREACHED,
            "agreement 0.945455 below 0.95 for 1 cycle",
        ),
        (FIRED, Verdict.BREACHED, VerdictReason.RULE_FIRED, "kl 0.2 above 0.15 for 1 cycle"),
    ],
)
def test_verdicts_with_evidence(
    outcomes: list[RuleOutcome], verdict: Verdict, reason: VerdictReason, detail: str
) -> None:
    """One breached rule is a breach; the reason tells whether one has fired."""
    judgement = judge(ENOUGH, outcomes)
    assert judgement.status is CycleStatus.EVALUATED
    assert (judgement.verdict, judgement.reason, judgement.detail) == (verdict, reason, detail)


RARE = Rule(name="rare", metric="class_agreement:refund", below=Decimal("0.9"))
SERVED = Rule(name="served", metric="serving_skew", above=Decimal("0.01"), action="alert")


def labelled_point(n: int, agreement: float = 0.95) -> CyclePoint:
    """A cycle with so many requests that the teacher calls refund."""
    found = LabelMeasurement(label="refund", n=n, share=0.01, agreement=make_interval(agreement), kl=0.1)
    return replace(make_point(), labels={"refund": found}, serving_skew=0.5)


@pytest.mark.parametrize(
    ("rules", "point", "reason", "detail"),
    [
        (
            [RARE],
            labelled_point(34),
            VerdictReason.NO_RULE_EVALUATED,
            (
                "no rule could be evaluated: rare (class_agreement:refund: 34 requests with that label, 100 "
                "needed)"
            ),
        ),
        (
            [RARE],
            make_point(),
            VerdictReason.NO_RULE_EVALUATED,
            (
                "no rule could be evaluated: rare (class_agreement:refund: 0 requests with that label, 100 "
                "needed)"
            ),
        ),
        (
            [RARE, DEFAULT_RULES[1]],
            make_point(kl=float("nan")),
            VerdictReason.NO_RULE_EVALUATED,
            (
                "no rule could be evaluated: rare (class_agreement:refund: 0 requests with that label, 100 "
                "needed); high-kl (kl was not measured)"
            ),
        ),
        (
            [],
            make_point(),
            VerdictReason.NO_RULE_EVALUATED,
            "no rule is about the student: add one to [[rules]], such as the defaults of docs/rules.md",
        ),
        (
            [SERVED],
            labelled_point(500),
            VerdictReason.NO_RULE_EVALUATED,
            "no rule is about the student: add one to [[rules]], such as the defaults of docs/rules.md",
        ),
        ([RARE], labelled_point(100), VerdictReason.WITHIN_RULES, "class_agreement:refund 0.95 within 0.9"),
        (
            [RARE, DEFAULT_RULES[1]],
            labelled_point(34),
            VerdictReason.WITHIN_RULES,
            "class_agreement:refund not evaluated; kl 0.083 within 0.15",
        ),
        (
            [RARE],
            labelled_point(100, 0.8),
            VerdictReason.RULE_FIRED,
            "class_agreement:refund 0.8 below 0.9 for 1 cycle",
        ),
    ],
)  # fmt: skip
def test_without_an_evaluated_rule_about_the_student_there_is_no_verdict(
    rules: list[Rule], point: CyclePoint, reason: VerdictReason, detail: str
) -> None:
    """One that looked is enough; the detail names each rule and what the cycle lacks for it."""
    missing = {rule.name: missing_of(rule, point) for rule in rules}
    judgement = judge(ENOUGH, [evaluate(rule, [point]) for rule in rules], missing)
    is_blind = reason is VerdictReason.NO_RULE_EVALUATED
    assert (judgement.reason, judgement.detail) == (reason, detail)
    assert (judgement.status is CycleStatus.INCONCLUSIVE) is is_blind
    assert (judgement.verdict is Verdict.INCONCLUSIVE) is is_blind


def test_what_a_group_lacks_is_said_of_each_of_its_conditions() -> None:
    conditions = [
        {"metric": "class_kl:refund", "above": "0.3"},
        {"metric": "js", "above": "0.1"},
        {"metric": "agreement", "below": "0.9", "mode": "interval"},
    ]
    group = Rule.model_validate({"name": "group", "any": conditions})
    assert missing_of(group, make_point()) == (
        "class_kl:refund: 0 requests with that label, 100 needed, agreement has no interval"
    )


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, "(max_reject_share 0.05)"),
        (1, "(max_reject_share 0.05), 1 object without a usable time modified after the window"),
        (2, "(max_reject_share 0.05), 2 objects without a usable time modified after the window"),
    ],
)
def test_too_few_requests_are_said_with_the_objects_that_may_have_had_them(n: int, said: str) -> None:
    evidence = replace(ENOUGH, n_scored=0, n_seen=0, n_undated=n)
    assert judge(evidence, []).detail.endswith(said)


@pytest.mark.parametrize("outcomes", [HEALTHY, BREACHED, FIRED])
def test_without_evidence_no_outcome_makes_a_verdict(outcomes: list[RuleOutcome]) -> None:
    """Neither healthy nor breached, whatever the rules would say."""
    judgement = judge(replace(ENOUGH, n_scored=999), outcomes)
    assert (judgement.status, judgement.verdict) == (CycleStatus.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert judgement.detail == (
        "999 requests scored (min_samples 1000), 0 of 50000 records unusable (max_reject_share 0.05)"
    )


def test_an_error_is_a_verdict_of_its_own() -> None:
    judgement = failed("the teacher could not be loaded")
    assert (judgement.status, judgement.verdict) == (CycleStatus.FAILED, Verdict.FAILED)
    assert (judgement.reason, judgement.detail) == (VerdictReason.ERROR, "the teacher could not be loaded")


def test_a_description_counts_cycles_and_says_what_has_no_value() -> None:
    history = [make_point(0, disagreements=300), make_point(1, disagreements=300, kl=float("nan"))]
    assert describe(outcomes_of(*history)) == "agreement 0.945455 below 0.95 for 2 cycles; kl not evaluated"


@pytest.mark.parametrize(
    ("rule", "disagreements", "said"),
    [
        ({"clear": "0.97"}, [300, 200], "agreement 0.963636 not recovered from below 0.95 for 2 cycles"),
        ({"mode": "sequential"}, [500], r"agreement 0.909091 shown to be below 0.95 \(log wealth \d+\.\d\)"),
        ({"mode": "sequential"}, [280],
         r"agreement 0.949091 not shown to be below 0.95 \(log wealth -?\d\.\d\)"),
        ({"any": [{"metric": "agreement", "below": "0.95"}, {"metric": "kl", "above": "0.01"}]}, [300],
         "r: 2 conditions hold"),
    ],
)  # fmt: skip
def test_a_description_of_each_mode(rule: dict[str, object], disagreements: list[int], said: str) -> None:
    condition = {} if "any" in rule else {"metric": "agreement", "below": "0.95"}
    whole = Rule.model_validate({"name": "r", **condition, **rule})
    points = [make_point(index, disagreements=k) for index, k in enumerate(disagreements)]
    assert re.fullmatch(said.replace("^", r"\^"), describe([evaluate(whole, points)]))


def test_a_value_at_the_threshold_of_an_open_rule_is_not_beyond_it() -> None:
    rule = Rule.model_validate({"name": "kl", "metric": "kl", "above": "0.15", "clear": "0.1"})
    history = [make_point(0, kl=0.2), make_point(1, kl=0.15)]
    assert describe([evaluate(rule, history)]) == "kl 0.15 not recovered from above 0.15 for 2 cycles"
