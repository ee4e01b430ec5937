"""Lines of CloudWatch's embedded metric format: valid by its specification, with the numbers of the cycle."""

import io
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from db.records import Claim, CycleResult
from db.states import Verdict
from redistill.process import emf
from tests.support.records.factories import (
    make_empty_result,
    make_input_drift,
    make_interval,
    make_measurement,
    make_result,
    make_slot,
)

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "emf.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 24, 11, 12, tzinfo=UTC)
CLAIM = Claim(cycle_id=41, slot=make_slot(), attempt=1, started_at=NOW)
MEASURED = replace(make_result(), stage_seconds={"read": 1.5, "score": 2.0})


def written(verdict: Verdict, result: CycleResult | None) -> dict[str, Any]:
    """The line, once it is valid by the specification."""
    line = emf.line(CLAIM, verdict, result, now=NOW)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    Draft202012Validator(SCHEMA).validate(found)
    (directive,) = found["_aws"]["CloudWatchMetrics"]
    for metric in directive["Metrics"]:
        assert type(found[metric["Name"]]) in {int, float}, "a target must be a number on the root node"
    for dimension in directive["Dimensions"][0]:
        assert isinstance(found[dimension], str)
        assert found[dimension]
    return found


def test_a_judged_cycle_has_its_numbers() -> None:
    drifted = replace(make_measurement(), input_drift=make_input_drift())
    found = written(Verdict.BREACHED, replace(MEASURED, measurement=drifted))
    assert found["_aws"]["Timestamp"] == 1_795_518_720_000
    assert (found["monitor"], found["cycle_id"], found["verdict"]) == ("mangaassist", 41, "breached")
    assert found["window_end"] == "2026-11-24T11:00:00+00:00"
    assert [found[each] for each in Verdict] == [0, 1, 0, 0]
    assert (found["requests_scored"], found["records_rejected"], found["cycle_seconds"]) == (5_500, 0, 3.5)
    assert found["agreement_ratio"] == drifted.agreement.estimate
    assert (found["kl_low_nats"], found["kl_high_nats"]) == (drifted.kl.low, drifted.kl.high)
    assert found["input_drift_ratio"] == 0.634


@pytest.mark.parametrize(
    ("verdict", "result"),
    [(Verdict.INCONCLUSIVE, MEASURED), (Verdict.INCONCLUSIVE, make_empty_result()), (Verdict.FAILED, None)],
)
def test_a_cycle_without_a_judgement_has_no_agreement(verdict: Verdict, result: CycleResult | None) -> None:
    found = written(verdict, result)
    assert found[verdict] == 1
    assert not {"agreement_ratio", "kl_nats"} & found.keys()


def test_a_number_that_is_not_finite_is_left_out() -> None:
    odd = replace(make_measurement(), kl=make_interval(float("inf"), half_width=1))
    found = written(Verdict.HEALTHY, replace(MEASURED, measurement=odd))
    assert "kl_nats" not in found
    assert "agreement_ratio" in found


def test_a_line_goes_to_standard_output_which_may_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    emf.write(CLAIM, Verdict.HEALTHY, MEASURED)
    assert json.loads(output.getvalue())["healthy"] == 1
    output.close()
    emf.write(CLAIM, Verdict.HEALTHY, MEASURED)
