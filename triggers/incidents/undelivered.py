"""The incident about a channel that gave up a message, which the other channels deliver."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from db import incidents, outbox
from db.records import Delivery
from db.states import IncidentKind, Severity
from triggers.incidents.announce import Audience, Occasion, announce
from triggers.incidents.lifecycle import Signal, SignalState

_KIND: Final = IncidentKind.ALERTS_UNDELIVERED


def report_undelivered(
    connection: Connection, audience: Audience, delivery: Delivery, error: str, now: datetime
) -> None:
    """Raise the incident in the transaction that gives up the message; skip the channel itself."""
    failing = outbox.failing_channels(connection, audience.monitor, [alert.name for alert in audience.alerts])
    others = tuple(alert for alert in audience.alerts if alert.name not in failing)
    summary = (
        f"channel {delivery.channel} gave up a message about incident {delivery.incident_id} "
        f"({delivery.event}) after {delivery.attempts} attempts: {error}; fix the channel, then run "
        "`redistill alerts test`"
    )
    signal = Signal(kind=_KIND, state=SignalState.RAISED, severity=Severity.ERROR, summary=summary)
    occasion = Occasion(at=now, now=now, details={"channel": delivery.channel})
    announce(connection, replace(audience, alerts=others), [signal], occasion)


def report_delivered(connection: Connection, audience: Audience, now: datetime) -> None:
    """Clear the incident if it is open and no channel's newest settled message is dead."""
    if all(each.kind is not _KIND for each in incidents.firing(connection, audience.monitor)):
        return
    if not outbox.failing_channels(connection, audience.monitor, [alert.name for alert in audience.alerts]):
        signal = Signal(kind=_KIND, state=SignalState.CLEARED, summary="every channel accepts messages again")
        announce(connection, audience, [signal], Occasion(at=now, now=now, details={}))
