"""The end of a cycle: one decision with all its effects, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from db.connection.session import writing
from db.errors import LeaseLostError
from db.states import Verdict
from db.tables import (
    class_metrics,
    correctness,
    deliveries,
    incidents,
    input_drift,
    jobs,
    rejects,
    rule_outcomes,
    rule_states,
    rule_texts,
    strata,
    teacher_metrics,
)
from tests.support.records.conclusions import FAR, HEALTHY, labelled
from tests.support.records.cycles import Cycles, due_at, seized, stored, taken
from tests.support.records.factories import make_input_drift, make_measurement, make_result
from tests.support.records.tables import everything
from triggers.conclude import conclude_failure

REFUSALS = {
    "sqlite": "CREATE TRIGGER refuse BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
        CREATE {kind} TRIGGER refuse {when} {verb} ON {table} {how} FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
}


@contextmanager
def refusing(engine: Engine, verb: str, table: str, *, at_commit: bool = False) -> Iterator[None]:
    """The database refuses this write, or, on PostgreSQL, the commit of a transaction with it."""
    kind, when, how = (
        ("CONSTRAINT", "AFTER", "DEFERRABLE INITIALLY DEFERRED")
        if at_commit
        else (
            "",
            "BEFORE",
            "",
        )
    )
    create = REFUSALS[engine.dialect.name].format(verb=verb, table=table, kind=kind, when=when, how=how)
    drop = "DROP TRIGGER refuse" + (f" ON {table}" if engine.dialect.name == "postgresql" else "")
    with writing(engine) as connection:
        connection.execute(text(create))
    yield
    with writing(engine) as connection:
        connection.execute(text(drop))


def effects(run: Cycles) -> dict[str, int]:
    return {
        table.name: len(stored(run.engine, table))
        for table in (
            *(class_metrics, teacher_metrics, strata, correctness, input_drift, rejects),
            *(rule_outcomes, rule_states, rule_texts, jobs, incidents, deliveries),
        )
    }


@pytest.mark.parametrize(
    ("verb", "table"),
    [
        ("UPDATE", "cycles"),
        ("INSERT", "class_metrics"),
        ("INSERT", "teacher_metrics"),
        ("INSERT", "strata"),
        ("INSERT", "correctness"),
        ("INSERT", "input_drift"),
        ("INSERT", "rejects"),
        ("INSERT", "rule_outcomes"),
        ("INSERT", "rule_states"),
        ("INSERT", "rule_texts"),
        ("INSERT", "jobs"),
        ("INSERT", "incidents"),
        ("INSERT", "deliveries"),
    ],
)
def test_a_decision_and_its_effects_are_there_together_or_not_at_all(
    run: Cycles, verb: str, table: str
) -> None:
    """Invariant 3. Whichever write fails, none is there; and when nothing fails, all are."""
    measurement = replace(
        make_measurement(kl=0.2), correctness=labelled(1, 0), input_drift=make_input_drift()
    )
    result = make_result(measurement=measurement, traffic=HEALTHY.traffic)
    claim = run.claim(0)
    before = everything(run.engine)
    with refusing(run.engine, verb, table):
        with pytest.raises(DBAPIError, match="refused"):
            run.conclude_claim(claim, result)
        assert everything(run.engine) == before
    run.conclude_claim(claim, result)
    assert effects(run) == {
        "class_metrics": 2,
        "teacher_metrics": 1,
        "strata": 1,
        "correctness": 1,
        "input_drift": 1,
        "rejects": 1,
        "rule_outcomes": 2,
        "rule_states": 2,
        "rule_texts": 2,
        "jobs": 1,
        "incidents": 1,
        "deliveries": 1,
    }


def test_a_commit_that_fails_leaves_nothing(postgres_engine: Engine) -> None:
    run = Cycles(engine=postgres_engine, lease=taken(postgres_engine))
    claim = run.claim(0)
    before = everything(run.engine)
    with refusing(run.engine, "INSERT", "jobs", at_commit=True):
        with pytest.raises(DBAPIError, match="refused"):
            run.conclude_claim(claim, FAR)
        assert everything(run.engine) == before


def test_a_failure_and_its_incident_are_there_together_or_not_at_all(run: Cycles) -> None:
    run.fail(0)
    run.fail(1)
    claim = run.claim(2)
    before = everything(run.engine)
    with refusing(run.engine, "INSERT", "deliveries"):
        with pytest.raises(DBAPIError, match="refused"):
            conclude_failure(run.engine, run.lease, claim, "gone", run.policy, now=due_at(2))
        assert everything(run.engine) == before


@pytest.mark.parametrize("end", ["conclude", "fail"])
def test_one_who_lost_the_lease_writes_nothing(run: Cycles, end: str) -> None:
    run.fail(0)
    run.fail(1)
    claim = run.claim(2)
    other = replace(run, lease=seized(run.engine, run.lease))
    before = everything(run.engine)
    ends: dict[str, Callable[[], object]] = {
        "conclude": lambda: run.conclude_claim(claim, FAR),
        "fail": lambda: conclude_failure(run.engine, run.lease, claim, "gone", run.policy, now=due_at(2)),
    }
    with pytest.raises(LeaseLostError):
        ends[end]()
    assert everything(run.engine) == before
    assert other.conclude(2, HEALTHY).judgement.verdict is Verdict.HEALTHY
