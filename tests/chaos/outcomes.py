"""What came out of a run, without numbers and times that a run may choose: two outcomes can be compared."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Table
from structlog.testing import capture_logs

from db.states import CycleStatus, PromotionReason
from db.tables import cycles, deliveries, incidents, jobs, promotions, rule_outcomes
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.conclusions import notified_incidents
from tests.support.records.cycles import stored
from tests.support.world.installation import Site
from tests.support.world.reruns import measured, rerun

_OF_JOBS: Final = (
    *("rule", "reason", "teacher_version", "student_version", "alpha_from", "alpha_to", "temperature"),
    *("status", "candidate_version", "decision", "recovery"),
)
_OF_OUTCOMES: Final = ("rule", "value", "breached", "streak", "fired", "reason")
_OF_INCIDENTS: Final = ("kind", "severity", "state", "summary", "since", "clearing_since")
#: PostgreSQL does not give out the number of a job again whose transaction was killed.
_JOB: Final = re.compile(r"\bjob (\d+)")
_BY_CHANCE: Final = {"at", "opened_at", "incident_id", "dedup_key", "cycle_id"}
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Cycles are named by their windows, jobs and incidents by which they are of their kind: 1, 2, …"""

    numbers: dict[Any, Row]  #: of each cycle, to the last bit, and on which student
    verdicts: list[Row]
    outcomes: list[Row]
    jobs: list[Row]
    promotions: list[tuple[str, str]]
    incidents: list[Row]
    messages: list[Row]  #: the outbox

    @classmethod
    def of(cls, engine: Engine) -> "Outcome":
        windows = {row["id"]: row["window_end"] for row in stored(engine, cycles)}
        names = {jobs: _numbered(stored(engine, jobs)), incidents: _numbered(notified_incidents(engine))}
        return cls(
            numbers=measured(engine),
            verdicts=sorted(
                (
                    _part(row, ("window_end", "status", "verdict", "verdict_reason", "alpha"))
                    for row in stored(engine, cycles)
                ),
                key=lambda row: row["window_end"],
            ),
            outcomes=sorted(
                (
                    {"window_end": windows[row["cycle_id"]], **_part(row, _OF_OUTCOMES)}
                    for row in stored(engine, rule_outcomes)
                ),
                key=lambda row: (row["window_end"], row["rule"]),
            ),
            jobs=[
                {"window_end": windows[row["cycle_id"]], **_part(row, _OF_JOBS)}
                for row in stored(engine, jobs)
            ],
            promotions=[(row["version"], row["reason"]) for row in stored(engine, promotions)],
            incidents=[
                {
                    "window_end": windows.get(row["cycle_id"]),
                    "job": names[jobs].get(row["job_id"]),
                    **_part(row, _OF_INCIDENTS),
                }
                for row in notified_incidents(engine)
            ],
            messages=sorted(
                (_message(row, names) for row in stored(engine, deliveries)),
                key=lambda row: (row["incident"], row["channel"], row["event"], row["severity"]),
            ),
        )


def _numbered(rows: list[Row]) -> dict[int, int]:
    return {row["id"]: number for number, row in enumerate(rows, 1)}


def _part(row: Row, names: tuple[str, ...]) -> Row:
    return {name: row[name] for name in names}


def _message(row: Row, names: dict[Table, dict[int, int]]) -> Row:
    document = json.loads(row["payload"])
    assert document["dedup_key"] == row["dedup_key"]
    told = {name: value for name, value in document.items() if name not in _BY_CHANCE}
    for details in (told[name] for name in ("order", "job") if name in told):
        details["job_id"] = names[jobs].get(details["job_id"])
    told["summary"] = _JOB.sub(lambda found: f"job {names[jobs].get(int(found[1]))}", told["summary"])
    return {
        "incident": names[incidents][row["incident_id"]],
        **_part(row, ("channel", "event", "severity")),
        "told": told,
    }


def undisturbed(site: Site, folder: Path, engine: Engine) -> Outcome:
    """The same slots, in the order in which they were judged in `engine`, by one process that nobody kills;
    a worker comes whenever another student had come to serve there.
    """
    slots = {slot.window_end: slot for slot in site.slots}
    judged = sorted(stored(engine, cycles), key=lambda row: row["finished_at"])
    with rerun(site, folder) as (settings, reference), capture_logs():
        runner = assembly.slot_runner(settings, reference, show_nothing)
        worker = assembly.worker(settings, reference, show_nothing)
        student = judged[0]["student_version"]
        for row in judged:
            if row["student_version"] != student:
                worker.run_once(never_stopped)
                student = row["student_version"]
            runner.run([slots[row["window_end"]]], never_stopped)
        return Outcome.of(reference)


def assert_the_same(found: Outcome, expected: Outcome) -> None:
    for field in fields(Outcome):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        assert one == other, f"the {field.name} are not those of an undisturbed run: {_differing(one, other)}"


def _differing(one: Sequence[Any] | Mapping[Any, Any], other: Sequence[Any] | Mapping[Any, Any]) -> list[Any]:
    """What only one of the two has."""
    first, second = ([*each.items()] if isinstance(each, Mapping) else [*each] for each in (one, other))
    return [[each for each in first if each not in second], [each for each in second if each not in first]]


def assert_as_told(found: Outcome, alphas: tuple[Any, ...]) -> None:
    """One job, promotion and incident for each drift, and no more."""
    assert {row["status"] for row in found.verdicts} == {CycleStatus.EVALUATED}
    assert [(row["status"], row["decision"], row["alpha_to"]) for row in found.jobs] == [
        ("succeeded", "promoted", alpha) for alpha in alphas
    ]
    promoted = [version for version, reason in found.promotions if reason == PromotionReason.GATES_PASSED]
    assert promoted == [row["candidate_version"] for row in found.jobs]
    assert [(row["kind"], row["state"], row["job"]) for row in found.incidents] == [
        ("drift", "resolved", number) for number in range(1, len(alphas) + 1)
    ]
    assert [row["window_end"] for row in found.incidents] == [row["window_end"] for row in found.jobs]
