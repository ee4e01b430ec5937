"""Invariant 3: a decision and its effects are one transaction."""

import re
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from db.connection.session import writing
from db.records import Delivery
from tests.support.records.conclusions import make_drifted_result
from tests.support.records.cycles import Cycles, due_at, make_audience, taken
from tests.support.records.tables import everything
from tests.support.world.installation import MONITOR
from triggers.channels.outbox import HOLD, Outbox
from triggers.channels.port import Receipt, SendResult


@pytest.mark.parametrize(
    "table",
    [
        "class_metrics",
        "teacher_metrics",
        "strata",
        "correctness",
        "input_drift",
        "rejects",
        "rule_outcomes",
        "rule_states",
        "rule_texts",
        "jobs",
        "incidents",
        "deliveries",
        "running_counts",
    ],
)
def test_a_decision_and_its_effects_are_one_transaction(engine: Engine, table: str) -> None:
    """If the database refuses any one write, none is stored; the next attempt stores them all."""
    cycle = Cycles(engine=engine, lease=taken(engine))
    claim = cycle.claim(0)
    before = everything(engine)
    break_inserts(engine, table)
    with pytest.raises(DBAPIError):
        cycle.conclude_claim(claim, make_drifted_result())
    assert everything(engine) == before
    repair_inserts(engine, table)
    cycle.conclude_claim(claim, make_drifted_result())
    assert changed(before, everything(engine)) == {
        "cycles", "class_metrics", "teacher_metrics", "strata", "correctness", "input_drift", "rejects",
        "rule_outcomes", "rule_states", "rule_texts", "jobs", "incidents", "deliveries",
        "running_counts",
    }  # fmt: skip


def changed(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    return {name for name in now if now[name] != before[name]}


def break_inserts(engine: Engine, table: str) -> None:
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION broken()"
        )


def repair_inserts(engine: Engine, table: str) -> None:
    with writing(engine) as connection:
        on = "" if engine.dialect.name == "sqlite" else f" ON {table}"
        connection.exec_driver_sql(f"DROP TRIGGER broken{on}")


def test_delivery_comes_after_and_at_least_once(engine: Engine) -> None:
    """A sender that dies between sending and marking sends again under the same key."""
    sent: list[str] = []

    class Pager:
        pause_seconds: ClassVar[float] = 0.0

        def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
            sent.append(delivery.key)
            if len(sent) == 1:
                raise KeyboardInterrupt
            del now
            return Receipt(result=SendResult.DELIVERED)

    outbox = Outbox(
        engine=engine, channels={"log": Pager()}, audience=make_audience(), rng=np.random.default_rng(1)
    )
    cycle = Cycles(engine=engine, lease=taken(engine))
    claim = cycle.claim(0)
    assert outbox.deliver_due(due_at(0)) == 0
    cycle.conclude_claim(claim, make_drifted_result())
    with pytest.raises(KeyboardInterrupt):
        outbox.deliver_due(due_at(0))
    assert outbox.deliver_due(due_at(0)) == 0
    assert outbox.deliver_due(due_at(0) + HOLD) == 1
    assert outbox.deliver_due(due_at(0) + 2 * HOLD) == 0
    assert len(set(sent)) == 1
    assert len(sent) == 2
    assert re.fullmatch(
        rf"redistill:{MONITOR}:1:{claim.slot.window_end:%Y%m%dT%H%M%SZ}:[0-9a-f]{{12}}:firing:error", sent[0]
    )
