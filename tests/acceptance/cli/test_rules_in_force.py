"""`doctor` lists the rules in force, and finds those that cannot do what they say."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.world.project import LOGGED, findings, run, write_config

AT = f"{LOGGED:%Y-%m-%dT%H:%M:%SZ}"
AGREEMENT = {"name": "low", "metric": "agreement", "below": 0.95}
KL = {"name": "far", "metric": "kl", "above": 0.15}


def rule_text(rule: Mapping[str, object]) -> str:
    """A rule as the configuration has it."""
    conditions = rule.get("any") or rule.get("all")
    keys = {key: value for key, value in rule.items() if key not in {"any", "all"}}
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    if isinstance(conditions, list):
        tables = ", ".join(
            "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in each.items()) + " }"
            for each in conditions
        )
        lines.append(f"{'any' if 'any' in rule else 'all'} = [{tables}]")
    return "\n".join(["[[rules]]", *lines, ""])


@pytest.mark.usefixtures("sound")
def test_the_default_rules_are_listed_in_words() -> None:
    found = {name: (each["level"], each["found"]) for name, each in findings().items() if "rule" in name}
    assert found == {
        "rule low-agreement": (
            "ok",
            "agreement below 0.95 for 3 cycles in a row: orders a re-distillation (error)",
        ),
        "rule high-kl": ("ok", "kl above 0.15 for 1 cycle: orders a re-distillation (error)"),
    }


WRONG: dict[str, tuple[dict[str, object], str, str]] = {
    "agreement above": (
        {"name": "r", "metric": "agreement", "above": 0.95, "for_cycles": 3},
        "agreement above 0.95 holds in every healthy cycle",
        "set 'below' instead of 'above'",
    ),
    "agreement below 0": (
        {"name": "r", "metric": "agreement", "below": 0},
        "agreement below 0 never happens",
        "raise 'below' above 0",
    ),
    "agreement below 1": (
        {"name": "r", "metric": "agreement", "below": 1},
        "agreement below 1 holds as soon as there is one disagreement",
        "lower 'below' below 1",
    ),
    "agreement above 1": (
        {"name": "r", "metric": "agreement", "above": 1},
        "agreement above 1 never happens, because the metric is at most 1",
        "lower 'above' below 1",
    ),
    "a label's agreement above": (
        {"name": "r", "metric": "class_agreement:escalation", "above": 0.9, "action": "alert"},
        "class_agreement:escalation above 0.9 holds in every healthy cycle",
        "set 'below' instead of 'above'",
    ),
    "kl below": (
        {"name": "r", "metric": "kl", "below": 0.15},
        "kl below 0.15 holds in every healthy cycle",
        "set 'above' instead of 'below'",
    ),
    "kl above 0": (
        {"name": "r", "metric": "kl", "above": 0},
        "kl above 0 holds for any two models that differ",
        "raise 'above' above 0",
    ),
    "js above its bound": (
        {"name": "r", "metric": "js", "above": 0.7},
        "js above 0.7 never happens, because the metric is at most 0.693147",
        "lower 'above' below 0.693147",
    ),
    "input drift at chance": (
        {"name": "r", "metric": "input_drift", "above": 0.4, "action": "alert"},
        "input_drift above 0.4 holds in every healthy cycle",
        "raise 'above' above 0.5, the value of unchanged requests",
    ),
    "one of any": (
        {"name": "r", "any": [AGREEMENT | {"name": None}, {"metric": "kl", "above": 0}]},
        "kl above 0 holds for any two models that differ",
        "raise 'above' above 0",
    ),
    "a misspelt label": (
        {"name": "r", "metric": "class_agreement:escalatoin", "below": 0.9},
        "the label 'escalatoin' is unknown to the models",
        "write 'class_agreement:escalation'",
    ),
    "a label that is like none": (
        {"name": "r", "metric": "class_kl:zzz", "above": 0.9},
        "the label 'zzz' is unknown to the models",
        "name one of order_tracking, return_request, recommendation, escalation",
    ),
}


@pytest.mark.parametrize(("rule", "found", "fix"), WRONG.values(), ids=WRONG)
def test_a_rule_that_cannot_do_what_it_says_is_a_problem(
    rule: dict[str, object], found: str, fix: str, sound: Path, models: Path
) -> None:
    conditions = rule.get("any")
    if isinstance(conditions, list):
        rule = rule | {"any": [{k: v for k, v in each.items() if v is not None} for each in conditions]}
    write_config(sound, models, "".join(map(rule_text, (rule, AGREEMENT, KL))))
    result = run("doctor", "--json")
    assert result.exit_code == 1
    (said,) = [each for each in json.loads(result.stdout) if each["check"] == "rule r"]
    assert said["level"] == "problem"
    assert found in str(said["found"])
    assert fix in str(said["fix"])


def test_of_all_conditions_one_may_hold_at_healthy_cycles(sound: Path, models: Path) -> None:
    both: Any = [{"metric": "agreement", "above": 0.9}, {"metric": "kl", "above": 0.15}]
    write_config(sound, models, "".join(map(rule_text, ({"name": "r", "all": both}, AGREEMENT, KL))))
    assert findings()["rule r"]["level"] == "ok"


@pytest.mark.parametrize(
    ("rules", "level"),
    [
        ([AGREEMENT], None),
        ([KL], None),
        ([{"name": "r", "any": [{"metric": "js", "above": 0.1}, {"metric": "kl", "above": 0.2}]}], None),
        ([AGREEMENT | {"action": "alert"}, KL | {"action": "alert"}], "warning"),
        ([{"name": "r", "metric": "js", "above": 0.1}], "warning"),
        ([{"name": "r", "metric": "serving_skew", "above": 0.01, "action": "alert"}], "problem"),
    ],
)
def test_rules_that_replace_the_defaults_are_noticed(
    rules: list[dict[str, object]], level: str | None, sound: Path, models: Path
) -> None:
    write_config(sound, models, "".join(map(rule_text, rules)))
    found = findings().get("rules")
    assert (found and found["level"]) == level


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("REDISTILL__REDISTILL__ALPHA_FLOOR", "0.9", "alpha = 0.7 is not above alpha_floor = 0.9, so no job"),
        ("REDISTILL__MONITOR__SAMPLE_SIZE", "40", "min_samples = 50 is above sample_size = 40, so no cycle"),
    ],
    ids=["case 59", "case 11"],
)
def test_settings_by_which_no_rule_can_act_are_refused(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert said in str(findings()["configuration"]["found"])
    result = run("cycle", "--at", AT)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_label_that_is_too_rare_is_a_warning_by_the_log_or_by_the_test_rows(
    sound: Path, models: Path
) -> None:
    rule = {"name": "r", "metric": "class_agreement:escalation", "below": 0.9, "action": "alert"}
    write_config(sound, models, "".join(map(rule_text, (rule, AGREEMENT))))
    said = findings()["rule r"]
    assert said["level"] == "warning"
    assert "about 25 requests of 'escalation' (by the labelled test rows)" in str(said["found"])
    for path in (sound / "logs").rglob("*.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        named = [
            row | {"student_label": "recommendation" if n % 10 else "escalation"}
            for n, row in enumerate(rows)
        ]
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in named).encode()))
    said = findings()["rule r"]
    assert said["level"] == "warning"
    assert "about 10 requests of 'escalation' (by the student's answers in the newest window)" in str(
        said["found"]
    )


@pytest.mark.usefixtures("migrated")
def test_a_misspelt_label_gives_no_verdict_from_end_to_end(project: Path, models: Path) -> None:
    """Case 62."""
    rule = {"name": "r", "metric": "class_agreement:escalatoin", "below": 0.9}
    write_config(project, models, rule_text(rule))
    (cycle,) = json.loads(run("cycle", "--at", AT, "--json").stdout)
    assert (cycle["status"], cycle["verdict"]) == ("inconclusive", "inconclusive")
    assert cycle["verdict_reason"] == "no_rule_evaluated"
    assert cycle["agreement"] is not None
    assert "inconclusive  no_rule_evaluated" in run("history").stdout
    assert "inconclusive (no_rule_evaluated: `redistill doctor` names the rules)" in run("status").stdout
    said = findings()["rule r"]
    assert (said["level"], said["fix"]) == ("problem", "write 'class_agreement:escalation'")
    outcomes = [json.loads(line) for line in run("replay", "--json").stdout.splitlines()]
    assert [(each["value"], each["reason"]) for each in outcomes] == [(None, "not_evaluated")]
