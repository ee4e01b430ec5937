"""The incidents that a cycle opens and resolves, and a message about each for those who hear of it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from db import outbox
from db.records import Claim
from triggers import incidents
from triggers.alert_settings import Alert
from triggers.incidents import Situation, Transition
from triggers.message import message


def announce(
    connection: Connection,
    claim: Claim,
    situation: Situation,
    job_id: int | None,
    alerts: Sequence[Alert],
    now: datetime,
) -> None:
    """Write what the situation changes about the incidents, and the messages to the channels."""
    for transition in incidents.plan(situation):
        incident_id = _move(connection, claim, transition, job_id, now)
        dedup_key = f"redistill:{claim.slot.monitor}:{incident_id}"
        payload = message(claim, transition, situation, dedup_key=dedup_key, job_id=job_id, now=now)
        for alert in alerts:
            if alert.hears(transition.kind, transition.severity):
                outbox.add(
                    connection,
                    incident_id=incident_id,
                    channel=alert.name,
                    event=transition.to_state,
                    dedup_key=dedup_key,
                    payload=payload,
                    now=now,
                )


def _move(
    connection: Connection, claim: Claim, transition: Transition, job_id: int | None, now: datetime
) -> int:
    if transition.incident_id is not None:
        outbox.resolve(connection, transition.incident_id, now)
        return transition.incident_id
    return outbox.open_incident(
        connection,
        monitor=claim.slot.monitor,
        kind=transition.kind,
        severity=transition.severity,
        summary=transition.summary,
        cycle_id=claim.cycle_id,
        job_id=job_id,
        now=now,
    )
