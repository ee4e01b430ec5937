"""What the on-call was told: `incidents`."""

import json

import pytest

from tests.support.records.cycles import Cycles
from tests.support.records.factories import make_measurement, make_result
from tests.support.world.project import run, said

FAR = make_result(measurement=make_measurement(kl=0.21))
LOW = make_result(measurement=make_measurement(disagreements=300))


@pytest.fixture
def drifting(cycles: Cycles) -> Cycles:
    """A monitor with a drift of which the on-call was told."""
    cycles.conclude(0, FAR)
    return cycles


@pytest.mark.usefixtures("cycles")
def test_without_incidents_it_says_so() -> None:
    assert run("incidents", "list").stdout == "No incidents yet.\n"
    assert run("incidents", "list", "--open").stdout == "No incident is open.\n"


def test_what_is_pending_was_told_nobody(cycles: Cycles) -> None:
    cycles.conclude(0, LOW)
    assert run("incidents", "list").stdout == "No incidents yet.\n"


@pytest.mark.usefixtures("drifting")
def test_an_incident_is_listed_with_what_is_wrong() -> None:
    _, line = run("incidents", "list").stdout.splitlines()
    assert line.split()[:4] == ["1", "drift", "error", "firing"]
    (found,) = json.loads(run("incidents", "list", "--json").stdout)
    assert (found["kind"], found["state"], found["since"]) == ("drift", "firing", "2026-11-24T11:00:00Z")
    assert found["summary"].startswith("kl 0.21 above 0.15 for 1 cycle; ordered: re-distillation")


def test_a_person_takes_an_incident(drifting: Cycles) -> None:
    shown = run("incidents", "ack", "1", "--by", "ada").stdout
    assert shown == "Incident 1 is acknowledged. The daemon notifies the channels that received it.\n"
    (found,) = json.loads(run("incidents", "list", "--open", "--json").stdout)
    assert (found["state"], found["acknowledged_by"], found["deliveries_pending"]) == (
        "acknowledged",
        "ada",
        2,
    )
    assert "acknowledged" in run("status").stdout
    drifting.conclude(1)
    assert run("incidents", "list", "--open").stdout == "No incident is open.\n"


@pytest.mark.usefixtures("drifting")
def test_an_incident_is_taken_once() -> None:
    run("incidents", "ack", "1")
    again = run("incidents", "ack", "1")
    assert again.exit_code == 1
    assert said(again) == ("Incident 1 is acknowledged: only a firing incident can be acknowledged.")


@pytest.mark.usefixtures("cycles")
def test_an_unknown_incident_is_refused() -> None:
    missing = run("incidents", "ack", "7")
    assert missing.exit_code == 1
    assert said(missing) == ("There is no incident 7: choose one from `redistill incidents list`.")
