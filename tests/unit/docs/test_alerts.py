"""docs/alerts.md: its tables of keys, its configurations and its examples are those of the code."""

import json
import re
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.daemon.delivery_threads import STOP_TIMEOUT_SECONDS
from redistill.configuration.template import _TEMPLATE
from tests.support.records.messages import make_delivery, make_document
from tests.support.servers.channels import ROUTING_KEY, TOKEN, make_alert, make_channel
from tests.support.servers.endpoint import answering
from triggers.alert_settings import (
    AlertSection,
    LogAlert,
    PagerDutyAlert,
    SlackAlert,
    SnsAlert,
    WebhookAlert,
)
from triggers.backoff import MAX_ATTEMPTS
from triggers.channels.pagerduty import event
from triggers.channels.slack import content
from triggers.channels.sns import fifo_keys, publication
from triggers.channels.text import view_of
from triggers.settings import IncidentPolicy

DOC = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
#: What `redistill init` writes about channels.
TEMPLATE = _TEMPLATE.partition('name = "log"\n')[2].partition("[web]")[0]
SECTIONS: dict[str, type[AlertSection]] = {
    "PagerDuty": PagerDutyAlert,
    "Slack": SlackAlert,
    "SNS": SnsAlert,
    "Webhook": WebhookAlert,
    "Log": LogAlert,
}
SECRETS = {
    "$PAGERDUTY_ROUTING_KEY": ROUTING_KEY,
    "$SLACK_TOKEN": TOKEN,
    "$SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T/B/X",
    "$REDISTILL_WEBHOOK_SECRET": "secret",
}
TOLD = view_of(json.dumps(make_document()))


def section(heading: str) -> str:
    return re.split(r"\n##+ ", DOC.partition(f"# {heading}\n")[2])[0]


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def keys(text: str) -> dict[str, str]:
    """The default of each key of a table."""
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))


def usual(section_class: type[AlertSection], name: str) -> str:
    """As the tables have it."""
    field = section_class.model_fields[name]
    if field.is_required():
        return "required"
    return "none" if field.default is None else str(field.default)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_of_a_channel_is_told_with_its_default(heading: str) -> None:
    own = SECTIONS[heading].model_fields.keys() - AlertSection.model_fields.keys() - {"kind"}
    listed = {name: default.strip("`") for name, default in keys(section(heading)).items()}
    assert listed == {name: usual(SECTIONS[heading], name) for name in own}


def test_the_keys_of_all_channels_are_told() -> None:
    assert keys(section("Routing")).keys() == AlertSection.model_fields.keys()


@pytest.mark.parametrize("text", blocks("toml", DOC))
def test_every_configuration_is_accepted(text: str) -> None:
    for table in tomllib.loads(text)["alerts"]:
        make_alert({key: SECRETS.get(str(value), value) for key, value in table.items()})


@pytest.mark.parametrize("text", re.findall(r"((?:^# ?.*\n)+)", TEMPLATE, re.MULTILINE))
def test_the_examples_of_a_new_configuration_are_accepted(text: str) -> None:
    found = tomllib.loads(re.sub(r"^# ?", "", text, flags=re.MULTILINE))
    assert set(found) <= {"alerts", "incidents"}
    for table in found.get("alerts", ()):
        make_alert({key: SECRETS.get(str(value), value) for key, value in table.items()})
    IncidentPolicy.model_validate(found.get("incidents", {}))


@pytest.mark.parametrize(
    ("heading", "examples"),
    [
        ("PagerDuty", [{"routing_key": "…", **event(TOLD)}]),
        ("Slack", [content(TOLD)]),
        ("SNS", [publication(TOLD), fifo_keys(make_delivery())]),
        ("Webhook", [make_document()]),
    ],
)
def test_the_examples_are_what_is_sent(heading: str, examples: list[dict[str, Any]]) -> None:
    assert [json.loads(text) for text in blocks("json", section(heading))] == examples


def test_a_receiver_that_checks_as_it_is_told_believes_the_right_messages() -> None:
    (code,) = blocks("python", section("Webhook"))
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the document's own
    with answering() as server:
        channel = make_channel("webhook", server.url, secret="a test's")  # noqa: S106
        channel.send(make_delivery(), now=datetime.fromtimestamp(time.time(), tz=UTC))
        (request,) = server.requests
    is_genuine = names["is_genuine"]
    assert is_genuine(request.headers, request.body, "a test's")
    assert not is_genuine(request.headers, request.body + b" ", "a test's")
    assert not is_genuine(request.headers, request.body, "another")
    sent_at = int(request.headers["Redistill-Timestamp"])
    other_time = {**request.headers, "Redistill-Timestamp": str(sent_at - 1)}
    assert not is_genuine(other_time, request.body, "a test's"), "the signature is of the timestamp, too"


@pytest.mark.parametrize(("minutes", "believed"), [(-6, False), (-4, True), (4, True), (6, False)])
def test_a_receiver_that_checks_as_it_is_told_believes_nothing_that_is_replayed_later(
    minutes: int, *, believed: bool
) -> None:
    """Signed as it should be, but long ago, or by a clock that is far ahead."""
    (code,) = blocks("python", section("Webhook"))
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the document's own
    with answering() as server:
        channel = make_channel("webhook", server.url, secret="a test's")  # noqa: S106
        channel.send(make_delivery(), now=datetime.fromtimestamp(time.time() + 60 * minutes, tz=UTC))
        (request,) = server.requests
    assert names["is_genuine"](request.headers, request.body, "a test's") is believed


def test_the_figures_are_those_of_the_code() -> None:
    text = " ".join(section("Delivery").split())
    assert f"After {MAX_ATTEMPTS} attempts" in text
    assert f"a channel has {STOP_TIMEOUT_SECONDS:g} s to end" in text
