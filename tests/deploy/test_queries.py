"""The board and the alert rules name series, labels and values that /metrics has, and sections that exist."""

import re
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pytest
import yaml

from db.queue import OPEN
from db.states import DeliveryState, IncidentKind, JobStatus, RejectReason, Verdict
from db.telemetry.state import LEASES
from redistill.web.catalogue import METRICS, Definition
from tests.support.deployment.queries import RULE_TESTS, board_queries, grouped, rules, selectors
from tests.support.deployment.stack import ROOT

QUERIES = [*board_queries(), *((rule["alert"], rule["expr"]) for rule in rules())]
NAMES = {name for name, each in METRICS.items() if each.kind != "histogram"} | {
    f"{name}{end}"
    for name, each in METRICS.items()
    if each.kind == "histogram"
    for end in ("_bucket", "_count", "_sum")
}
VALUES: Mapping[str, AbstractSet[str]] = {
    "kind": set(IncidentKind),
    "verdict": set(Verdict),
    "state": set(DeliveryState),
    "lease": set(LEASES),
    "reason": set(RejectReason),
    "metric": {"agreement", "kl"},
}
ALWAYS = {"monitor", "instance"}


def definition(name: str) -> Definition:
    return METRICS.get(name) or METRICS[re.sub("_(bucket|count|sum)$", "", name)]


@pytest.mark.parametrize(("title", "query"), QUERIES, ids=[title for title, _ in QUERIES])
def test_a_query_names_what_there_is(title: str, query: str) -> None:
    named = selectors(query)
    assert named or re.search(r"\bup\{|process_resident_memory_bytes", query), title
    labels = {*ALWAYS, "le"}
    for name, matchers in named:
        assert name in NAMES
        labels |= set(definition(name).labels)
        assert matchers.keys() <= {*definition(name).labels, "monitor"}
        for label, value in matchers.items():
            if label in VALUES:
                assert set(value.split("|")) <= VALUES[label]
            if label == "status":
                known = set(OPEN) if name.endswith("_open") else set(JobStatus) - set(OPEN)
                assert set(value.split("|")) <= known
    assert grouped(query) <= labels


def test_every_metric_is_on_the_board_or_in_an_alert() -> None:
    used = {definition(name).name for _, query in QUERIES for name, _ in selectors(query)}
    assert METRICS.keys() == used


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_a_section_that_exists(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    kinds = list(IncidentKind) if "$labels.kind" in anchor else [anchor]
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(kinds) <= {heading.lower().replace(" ", "-") for heading in headings}
    assert rule["labels"]["severity"] in {"warning", "error", "critical"}


def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    tested = defaultdict(set)
    for each in yaml.safe_load(RULE_TESTS.read_text(encoding="utf-8"))["tests"]:
        for case in each["alert_rule_test"]:
            tested[case["alertname"]].add(bool(case["exp_alerts"]))
    assert tested == {rule["alert"]: {True, False} for rule in rules()}
