"""`redistill alerts`: tests of the notification channels."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from triggers.channels.guard import attempt
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.channels.trial_message import trial

app = group("alerts")

_Channel = Annotated[
    str | None,
    typer.Option("--channel", metavar="NAME", help="Test only this channel.", show_default="all"),
]
_COLUMNS = (
    show.Column(title="channel"),
    show.Column(title="kind"),
    show.Column(title="result"),
    show.Column(title="what to do"),
)
_REFUSED = {
    "webhook": "check that url and secret are those of the receiver",
    "pagerduty": "check that routing_key is that of an Events API v2 integration, and endpoint its region's",
    "slack": "check that url or token is still valid, and that the bot is in the channel",
    "sns": "check that the topic exists, and that this role may sns:Publish to it",
}
_DELIVERED = {"pagerduty": "check that it paged, and resolve the test incident there"}


class NoChannelError(RedistillError):
    """--channel: {name!r} is not a configured channel; the channels are {known}."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class ChannelTest:
    """The result of the test notification to one channel."""

    channel: str
    kind: str
    result: SendResult
    error: str | None
    fix: str  #: after a delivery: what to check

    @property
    def document(self) -> Mapping[str, object]:
        """The result for --json; `mend` is the older name of `fix`."""
        return {**asdict(self), "mend": self.fix}


@app.command("test", epilog=examples("redistill alerts test", "redistill alerts test --channel pagerduty"))
def send_tests(
    ctx: typer.Context,
    *,
    channel: _Channel = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Send a test notification to each channel; exit 1 if one does not accept it.

    It is sent like a notification of an incident, but whichever severities and kinds a channel receives.
    Nothing is written to the database.
    """
    settings = configured(ctx, config)
    chosen = _chosen(settings.alerts, channel)
    logs.configure()
    tests = _test(chosen, monitor=settings.monitor.name)
    if as_json:
        show.print_json([each.document for each in tests])
    elif tests:
        show.listing(_COLUMNS, [_cells(each) for each in tests])
    else:
        show.say("No channel is configured, so nobody is notified of incidents: add [[alerts]].")
    if not tests or any(each.result is not SendResult.DELIVERED for each in tests):
        raise typer.Exit(1)


def _chosen(configured_alerts: Sequence[Alert], name: str | None) -> Sequence[Alert]:
    chosen = [alert for alert in configured_alerts if name in {None, alert.name}]
    if name is not None and not chosen:
        raise NoChannelError(name=name, known=", ".join(alert.name for alert in configured_alerts) or "none")
    return chosen


def _test(chosen: Sequence[Alert], *, monitor: str) -> list[ChannelTest]:
    """Test all channels at once, so that one that hangs delays neither the others nor Ctrl-C."""
    by_name, tests = channels(chosen), dict[str, ChannelTest]()

    def send(alert: Alert) -> None:
        tests[alert.name] = _send(alert, by_name[alert.name], monitor=monitor)

    threads = [threading.Thread(target=send, args=(alert,), daemon=True) for alert in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [tests[alert.name] for alert in chosen]


def _send(alert: Alert, channel: Channel, *, monitor: str) -> ChannelTest:
    now = utc_now()
    receipt = attempt(channel, trial(alert.name, monitor, now), now=now)
    return ChannelTest(
        channel=alert.name,
        kind=alert.kind,
        result=receipt.result,
        error=receipt.error,
        fix=_fix(alert, receipt),
    )


def _fix(alert: Alert, receipt: Receipt) -> str:
    if receipt.result is SendResult.DELIVERED:
        return _DELIVERED.get(alert.kind, f"check that it arrived: {alert.place}")
    if receipt.result is SendResult.REFUSED:
        return _REFUSED.get(alert.kind, "")
    if receipt.retry_after_seconds is not None:
        return f"the receiver asks to wait: retry in {receipt.retry_after_seconds:.0f} s"
    if (receipt.error or "").startswith("HTTP "):
        return "the receiver responded with an error of its own: retry later"
    access = "this process has AWS credentials and " if alert.kind == "sns" else ""
    return f"check that {access}{alert.place} is reachable from here, then retry"


def _cells(each: ChannelTest) -> list[show.Cell]:
    if each.result is SendResult.DELIVERED:
        return [each.channel, each.kind, Text("delivered", style=show.GOOD), each.fix]
    result = "refused" if each.result is SendResult.REFUSED else "not accepted now"
    return [each.channel, each.kind, Text(f"{result}: {each.error}", style=show.BAD), each.fix]
