"""The message that tests a channel: marked as a test, and about no incident."""

from datetime import datetime

import orjson

from db.records import Delivery
from db.states import IncidentState, Severity
from triggers.channels.text import TEST


def trial(channel: str, monitor: str, now: datetime) -> Delivery:
    """Return a test message with a new key, so that no receiver drops it as a duplicate."""
    dedup_key = f"redistill:{monitor}:test:{now:%Y%m%dT%H%M%S%f}"
    document = {
        "schema": "redistill.incident/1",
        "dedup_key": dedup_key,
        "event": IncidentState.FIRING,
        "kind": TEST,
        "severity": Severity.INFO,
        "summary": f"`redistill alerts test` has reached channel {channel}: it works, and nothing is wrong",
        "monitor": monitor,
        "at": now,
    }
    return Delivery(
        delivery_id=0,
        incident_id=0,
        channel=channel,
        event=IncidentState.FIRING,
        dedup_key=dedup_key,
        payload=orjson.dumps(document, option=orjson.OPT_UTC_Z).decode(),
        attempts=1,
    )
