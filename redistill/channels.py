"""The configured notification channels."""

from collections.abc import Mapping, Sequence

from triggers.alert_settings import Alert, PagerDutyAlert, SlackAlert, SnsAlert, WebhookAlert
from triggers.channels.log import LogChannel
from triggers.channels.pagerduty import PagerDutyChannel
from triggers.channels.port import Channel
from triggers.channels.slack import SlackChannel
from triggers.channels.webhook import WebhookChannel


def channels(alerts: Sequence[Alert]) -> Mapping[str, Channel]:
    """Return the channels by name."""
    return {alert.name: _channel(alert) for alert in alerts}


def _channel(alert: Alert) -> Channel:
    match alert:
        case WebhookAlert():
            return WebhookChannel(settings=alert)
        case PagerDutyAlert():
            return PagerDutyChannel(settings=alert)
        case SlackAlert():
            return SlackChannel(settings=alert)
        case SnsAlert():
            from triggers.channels.sns import SnsChannel  # noqa: PLC0415 - boto3 takes long to load

            return SnsChannel(settings=alert)
        case _:
            return LogChannel()
