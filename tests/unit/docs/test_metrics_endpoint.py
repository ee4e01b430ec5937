"""docs/metrics-endpoint.md has every metric, key and alert, with the meaning and the default of the code."""

import re
from pathlib import Path

import yaml

from db.records import Claim
from db.states import Verdict
from db.telemetry.counts import BUCKETS
from monitor.settings import WebSection
from redistill.process.emf import line
from redistill.web.catalogue import METRICS
from redistill.web.collector import LIMIT_SECONDS
from tests.support.records.factories import START, make_input_drift, make_measurement, make_result, make_slot

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "metrics-endpoint.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return re.split(r"\n##+ ", DOC.partition(f"# {heading}\n")[2])[0]


def test_each_metric_is_listed_as_the_endpoint_explains_it() -> None:
    rows = [tuple(row.strip("| ").split(" | ")) for row in section("Metrics").splitlines() if "`redis" in row]
    expected = [
        (f"`{name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels) or "none", each.help[:-1])
        for name, each in METRICS.items()
    ]
    assert [row for row in rows if len(row) == 4] == expected
    assert all(each.help.endswith(".") for each in METRICS.values())


def test_the_keys_are_those_of_the_section_with_their_defaults() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)?) \| (.+?) \|", section("Configuration"), re.MULTILINE)
    documented = dict(
        pair
        for names, values in rows
        for pair in zip(re.findall(r"\w+", names), re.findall(r"[\w.]+", values), strict=True)
    )
    defaults = {name: field.default for name, field in WebSection.model_fields.items()}
    written = {True: "true", False: "false", None: "none"}
    assert documented == {name: written.get(value, str(value)) for name, value in defaults.items()}


def test_the_alerts_are_those_of_the_rules() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \|", section("Alert rules and the board"), re.MULTILINE)
    assert listed == [(each["alert"], each["labels"]["severity"]) for each in rules["groups"][0]["rules"]]


def test_the_metrics_of_emf_are_those_of_a_line() -> None:
    claim = Claim(cycle_id=1, slot=make_slot(), attempt=1, started_at=START)
    measured = make_measurement()
    result = make_result(measurement=type(measured)(**{**vars(measured), "input_drift": make_input_drift()}))
    names = re.findall(r'"Name": "(\w+)"', line(claim, Verdict.HEALTHY, result, now=START))
    rows = [row.split(" | ")[0] for row in section("CloudWatch").splitlines() if row.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(names)


def test_limits_are_those_of_the_code() -> None:
    assert f"together have {LIMIT_SECONDS:g} s" in " ".join(DOC.split())
    assert (BUCKETS[:5], BUCKETS[-1]) == ((0.1, 0.3, 1, 3, 10), 10_000)
    assert "0.1, 0.3, 1, 3, 10, … 10,000 s" in DOC
