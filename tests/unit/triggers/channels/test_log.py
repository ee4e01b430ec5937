from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from db.records import Delivery
from db.states import IncidentState
from triggers.channels.log import LogChannel
from triggers.channels.port import Channel, SendResult

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "level"), [(IncidentState.FIRING, "warning"), (IncidentState.RESOLVED, "info")]
)
def test_a_message_is_one_log_line(event: IncidentState, level: str) -> None:
    """A warning when an incident opens, information when it ends; always accepted."""
    channel: Channel = LogChannel()
    delivery = Delivery(
        delivery_id=1,
        incident_id=7,
        channel="log",
        event=event,
        dedup_key="redistill:mangaassist:7",
        payload='{"schema": "redistill.incident/1", "summary": "kl 0.2 above 0.15"}',
        attempts=1,
    )
    with capture_logs() as lines:
        receipt = channel.send(delivery, now=NOW)
    assert receipt.result is SendResult.DELIVERED
    assert lines == [
        {
            "event": f"incident {event}",
            "log_level": level,
            "dedup_key": "redistill:mangaassist:7",
            "incident": {"schema": "redistill.incident/1", "summary": "kl 0.2 above 0.15"},
        }
    ]
