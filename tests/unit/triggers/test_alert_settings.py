"""Channels as they are configured: what they hear of, what is refused, and that no secret shows."""

from itertools import product
from pathlib import Path

import pytest
from pydantic import SecretStr

from db.states import IncidentKind, Severity
from redistill.configuration.settings import load
from redistill.configuration.source import ConfigError
from tests.support.servers.channels import HOOK, KINDS, ROUTING_KEY, TOKEN, make_alert
from triggers.alert_settings import LogAlert

SECRETS = {secret for kind in KINDS.values() for secret in kind.secrets}
DRIFT, BLIND, CHANGED = IncidentKind.DRIFT, IncidentKind.BLIND, IncidentKind.TEACHER_CHANGED


def loaded(folder: Path, alerts: str) -> object:
    path = folder / "redistill.toml"
    path.write_text(
        f'[traffic]\nuri = "logs"\n[teacher]\nuri = "t"\n[student]\nuri = "s"\n[redistill]\ntrain = "a"\n'
        f'test = "b"\n{alerts}',
        encoding="utf-8",
    )
    return load(path)


def heard(alert: LogAlert) -> set[tuple[str, str]]:
    cases = product(IncidentKind, Severity)
    return {(kind.value, severity.value) for kind, severity in cases if alert.hears(kind, severity)}


def test_a_channel_hears_of_everything_unless_told_otherwise() -> None:
    assert len(heard(LogAlert())) == len(IncidentKind) * len(Severity)


def test_a_channel_hears_of_its_severities_and_kinds_only() -> None:
    alert = LogAlert(severities=(Severity.CRITICAL,), kinds=(DRIFT, BLIND))
    assert heard(alert) == {("drift", "critical"), ("blind", "critical")}


def test_a_channel_hears_of_all_but_some_kinds() -> None:
    """Also of kinds that a later version adds; what is excepted is so although it is named."""
    alert = LogAlert(except_kinds=(CHANGED,))
    assert {kind for kind, _ in heard(alert)} == {kind.value for kind in IncidentKind} - {"teacher-changed"}
    assert heard(LogAlert(kinds=(DRIFT,), except_kinds=(DRIFT,))) == set()


def test_kinds_are_read_from_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[[alerts]]\nkind = "log"\nkinds = ["drift"]\n')
    assert settings.alerts[0].kinds == (DRIFT,)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"number 1, kinds\.0: expected .*'drift'.*, not 'drfit'"):
        loaded(tmp_path, '[[alerts]]\nkind = "log"\nkinds = ["drfit"]\n')


REFUSED = {
    "half a bot": (
        f'kind = "slack"\ntoken = "{TOKEN}"',
        "[[alerts]] number 1, slack: set either 'url' (an incoming webhook) or both 'token' and",
    ),
    "a bot and a webhook": (
        f'kind = "slack"\ntoken = "{TOKEN}"\nchannel = "#a"\nurl = "https://hooks.slack.com{HOOK}"',
        "set either 'url' (an incoming webhook) or both 'token' and 'channel'",
    ),
    "nothing for Slack": ('kind = "slack"', "set either 'url'"),
    "no URL": (f'kind = "slack"\nurl = "{HOOK}"', "number 1, url: expected 'https://…' or 'http://…'"),
    "a URL with a line break": (
        f'kind = "slack"\nurl = "https://hooks.slack.com{HOOK}\\nx"',
        "number 1, url: expected printable ASCII characters only: remove blanks and line breaks",
    ),
    "a token with a line break": (
        f'kind = "slack"\nchannel = "#a"\ntoken = "{TOKEN}\\nx"',
        "number 1, token: expected printable ASCII characters only: remove blanks and line breaks",
    ),
    "no routing key": (
        f'kind = "pagerduty"\nrouting_key = "{ROUTING_KEY[:-2]}"',
        "number 1, routing_key: expected the key of an Events API v2 integration: 32 letters and digits",
    ),
    "a key with blanks": (
        f'kind = "pagerduty"\nrouting_key = "{ROUTING_KEY[:5]} {ROUTING_KEY[5:]}"',
        "number 1, routing_key: expected the key of an Events API v2 integration",
    ),
    "no API": (
        f'kind = "pagerduty"\nrouting_key = "{ROUTING_KEY}"\nendpoint = "events.eu.pagerduty.com"',
        "number 1, endpoint: expected 'https://…' or 'http://…', not 'events.eu.pagerduty.com'",
    ),
    "no topic": (
        'kind = "sns"\ntopic = "redistill"',
        "number 1, topic: expected the ARN of a topic: 'arn:aws:sns:REGION:ACCOUNT:NAME', not 'redistill'",
    ),
    "another ARN": (
        'kind = "sns"\ntopic = "arn:aws:sqs:eu-west-1:123456789012:q"',
        "number 1, topic: expected the ARN of a topic",
    ),
    "too long a timeout": (
        f'kind = "pagerduty"\nrouting_key = "{ROUTING_KEY}"\ntimeout_seconds = 60',
        "number 1, timeout_seconds: expected a value of at most 30",
    ),
}


@pytest.mark.parametrize(("table", "problem"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_a_channel_is_refused_without_its_secret(
    tmp_path: Path, table: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, f"[[alerts]]\n{table}\n")
    assert problem in str(caught.value)
    assert not any(secret in str(caught.value) for secret in {*SECRETS, ROUTING_KEY[:-2]})


@pytest.mark.parametrize("value", ['"{}"', '["{}"]', '[["{}"]]', '{{ url = "{}" }}', '[{{ url = "{}" }}]'])
def test_a_secret_in_the_wrong_place_does_not_show(tmp_path: Path, value: str) -> None:
    """Where a list of tables is expected, anything else may be what must not be shown."""
    path = tmp_path / "redistill.toml"
    path.write_text(f"alerts = {value.format(f'https://hooks.slack.com{HOOK}')}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert HOOK not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_shows_in_a_channel_s_settings_nor_in_its_place(kind: str) -> None:
    alert = make_alert(KINDS[kind].table("https://user:passw0rd@example.org"))
    shown = f"{alert!r} {alert.model_dump_json()} {alert.place}"
    assert not any(secret in shown for secret in KINDS[kind].secrets)
    assert "passw0rd" not in alert.place
    assert "example.org" in alert.place


def test_an_address_on_no_host_is_refused() -> None:
    with pytest.raises(ValueError, match="https://"):
        make_alert({"kind": "webhook", "url": "https:///path", "secret": SecretStr("x")})
