"""`redistill alerts`: how the on-call is told."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.text import Text

from db.errors import RedistillError
from monitor.clock import utc_now
from redistill.channels import channels
from redistill.commands.options import Config, Json, configured, examples, group
from redistill.display import show
from redistill.process import logs
from triggers.alert_settings import Alert
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.channels.trial_message import trial

app = group("alerts")

_Channel = Annotated[
    str | None,
    typer.Option("--channel", metavar="NAME", help="Only the one of this name.", show_default="all"),
]
_COLUMNS = (
    show.Column(title="channel"),
    show.Column(title="kind"),
    show.Column(title="result"),
    show.Column(title="what to do"),
)
_REFUSED = {
    "webhook": "see whether url and secret are the receiver's",
    "pagerduty": "see whether routing_key is an Events API v2 integration's, and endpoint its region's",
    "slack": "see whether url or token is still valid, and whether the bot is in the channel",
    "sns": "see whether the topic exists and this role may sns:Publish to it",
}
_DELIVERED = {"pagerduty": "see that it paged, and resolve the test incident there"}


class NoChannelError(RedistillError):
    """--channel: there is no channel {name!r}; there are {known}."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of the test message to one channel."""

    channel: str
    kind: str
    result: SendResult
    error: str | None
    mend: str


@app.callback()
def alerts() -> None:
    """Try the channels by which the on-call is told."""


@app.command("test", epilog=examples("redistill alerts test", "redistill alerts test --channel pagerduty"))
def try_channels(
    ctx: typer.Context,
    *,
    channel: _Channel = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send a message that is marked as a test to each channel; exit 1 if one does not accept it.

    It is sent as the messages of incidents are, also to channels that hear only of some. Nothing is written
    to the database.
    """
    settings = configured(ctx, config)
    chosen = _chosen(settings.alerts, channel)
    logs.configure()
    found = _try(chosen, monitor=settings.monitor.name)
    if as_json:
        show.print_json(found)
    elif found:
        show.listing(_COLUMNS, [_cells(each) for each in found])
    else:
        show.say("There are no [[alerts]] in the configuration: nobody is told of anything.")
    if not found or any(each.result is not SendResult.DELIVERED for each in found):
        raise typer.Exit(1)


def _chosen(configured_alerts: Sequence[Alert], name: str | None) -> Sequence[Alert]:
    chosen = [alert for alert in configured_alerts if name in {None, alert.name}]
    if name is not None and not chosen:
        raise NoChannelError(name=name, known=", ".join(alert.name for alert in configured_alerts) or "none")
    return chosen


def _try(chosen: Sequence[Alert], *, monitor: str) -> list[Trial]:
    """All at once, so that one that hangs holds up no other; nor does it hold up Ctrl-C."""
    ways, found = channels(chosen), dict[str, Trial]()

    def send(alert: Alert) -> None:
        found[alert.name] = _send(alert, ways[alert.name], monitor=monitor)

    threads = [threading.Thread(target=send, args=(alert,), daemon=True) for alert in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[alert.name] for alert in chosen]


def _send(alert: Alert, way: Channel, *, monitor: str) -> Trial:
    now = utc_now()
    receipt = way.send(trial(alert.name, monitor, now), now=now)
    return Trial(
        channel=alert.name,
        kind=alert.kind,
        result=receipt.result,
        error=receipt.error,
        mend=_mend(alert, receipt),
    )


def _mend(alert: Alert, receipt: Receipt) -> str:
    if receipt.result is SendResult.DELIVERED:
        return _DELIVERED.get(alert.kind, f"see that it has come: {alert.place}")
    if receipt.result is SendResult.REFUSED:
        return _REFUSED.get(alert.kind, "")
    if receipt.retry_after_seconds is not None:
        return f"it asks for time: try again in {receipt.retry_after_seconds:.0f} s"
    if (receipt.error or "").startswith("HTTP "):
        return "it was reached, and has trouble of its own: try again later"
    access = "this process has credentials for AWS and " if alert.kind == "sns" else ""
    return f"see whether {access}{alert.place} can be reached from here, and try again"


def _cells(each: Trial) -> list[show.Cell]:
    if each.result is SendResult.DELIVERED:
        return [each.channel, each.kind, Text("delivered", style=show.GOOD), each.mend]
    result = "refused" if each.result is SendResult.REFUSED else "not now"
    return [each.channel, each.kind, Text(f"{result}: {each.error}", style=show.BAD), each.mend]
