"""What PagerDuty and Slack are sent: within the recorded schemas, and saying what the message says."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from db.tables import deliveries
from tests.support.records.conclusions import FAR
from tests.support.records.cycles import Cycles, stored, taken
from tests.support.records.messages import ODD, make_delivery, make_document, make_odd_document
from tests.support.servers.channels import KINDS, ROUTING_KEY, TOKEN, make_channel, schema
from tests.support.servers.endpoint import Reply, Request, answering
from triggers.channels.port import Receipt, SendResult
from triggers.channels.text import units
from triggers.channels.trial_message import trial

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SLACK = ("slack webhook", "slack bot")
NOTHING = {"reason": "at_floor", "job_id": None, "alpha_from": "0.1", "alpha_to": "0.1", "evidence": None}
LATER_KEYS = {"links", "labels", "opened_at", "moved", "slices"}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "firing": make_document(),
    "acknowledged": make_document(event="acknowledged"),
    "resolved": make_document(event="resolved"),
    "an event of a later version": make_document(event="escalated"),
    "odd": make_odd_document(),
    "nothing ordered": make_document(order=NOTHING),
    "no numbers": make_document(rules=[], labels=[], slices=[], moved=None, order=NOTHING, links={}),
    "of an earlier version": {key: v for key, v in make_document().items() if key not in LATER_KEYS},
    "an empty summary": make_document(summary=""),
}

every_document = pytest.mark.parametrize("name", DOCUMENTS)


def exchange(
    kind: str, document: dict[str, Any], *, thread: str | None = None, reply: Reply | None = None
) -> tuple[Request, Receipt]:
    with answering(reply or KINDS[kind].accepted) as server:
        receipt = make_channel(kind, server.url).send(make_delivery(document, thread=thread), now=NOW)
        (request,) = server.requests
    return request, receipt


def texts(document: dict[str, Any]) -> list[str]:
    """Of each block of a Slack message."""
    blocks = document["blocks"]
    return [each["text"] for block in blocks for each in block.get("elements") or [block["text"]]]


@every_document
def test_pagerduty_is_sent_what_its_schema_allows(name: str) -> None:
    sent = exchange("pagerduty", DOCUMENTS[name])[0].document
    schema("pagerduty_events_v2").validate(sent)


@pytest.mark.parametrize("kind", ["pagerduty", *SLACK])
def test_a_service_is_sent_no_more_than_it_takes(kind: str) -> None:
    """However many rules there are: PagerDuty takes 512 KB."""
    rules = [{**rule, "rule": ODD * 20} for rule in make_document()["rules"] * 3_000]
    request, receipt = exchange(kind, make_document(rules=rules))
    assert receipt.result is SendResult.DELIVERED
    assert len(request.body) < 512_000


@pytest.mark.parametrize("kind", SLACK)
@every_document
def test_slack_is_sent_what_its_schema_allows(name: str, kind: str) -> None:
    """Its limits hold as Slack counts too, where an emoji is two characters; nobody is mentioned."""
    sent = exchange(kind, DOCUMENTS[name])[0].document
    schema("slack_message").validate(sent)
    assert units(sent["blocks"][0]["text"]["text"]) <= 150
    assert all(units(text) <= 3_000 for text in texts(sent))
    assert units(sent["text"]) <= 4_000
    assert not any("<!" in text for text in [sent["text"], *texts(sent)[1:]])


@pytest.mark.parametrize("kind", ["pagerduty", *SLACK])
def test_a_test_message_and_a_real_one_are_allowed(kind: str, sqlite_engine: Engine) -> None:
    """The one of `redistill alerts test`, and those that a drift and its end leave in the outbox."""
    run = Cycles(engine=sqlite_engine, lease=taken(sqlite_engine))
    run.conclude(0, FAR)
    run.conclude(1)
    rows = stored(sqlite_engine, deliveries)
    usual = vars(trial("a", "mangaassist", NOW))
    names = ("incident_id", "channel", "event", "dedup_key", "payload", "attempts")
    real = [type(trial("a", "b", NOW))(**{**usual, **{name: row[name] for name in names}}) for row in rows]
    with answering(KINDS[kind].accepted) as server:
        channel = make_channel(kind, server.url)
        for delivery in (trial("a", "mangaassist", NOW), *real):
            assert channel.send(delivery, now=NOW).result is SendResult.DELIVERED
        sent = server.documents
    assert len(sent) == 3
    for document in sent:
        schema("pagerduty_events_v2" if kind == "pagerduty" else "slack_message").validate(document)
    assert "TEST, nothing is wrong" in str(sent[0])
    assert "kl 0.2 above 0.15 for 1 cycle" in str(sent[1])


def test_pagerduty_opens_one_alert_and_resolves_it() -> None:
    """By one dedup_key; what ends it says no more than that."""
    opened = exchange("pagerduty", make_document())[0].document
    taken_up = exchange("pagerduty", make_document(event="acknowledged"))[0].document
    ended = exchange("pagerduty", make_document(event="resolved"))[0].document
    named = {"routing_key": ROUTING_KEY, "dedup_key": "redistill:mangaassist:7:20261124T110000Z:5e0c93ab41d7"}
    assert ended == {**named, "event_action": "resolve"}
    assert taken_up == {**named, "event_action": "acknowledge"}
    assert opened == {
        **named,
        "event_action": "trigger",
        "client": "Redistill",
        "client_url": "https://example.org/?a=1&b=2",
        "links": [
            {"href": "https://example.org/runbook#drift", "text": "runbook"},
            {"href": "https://example.org/?a=1&b=2", "text": "page"},
        ],
        "payload": {
            "summary": "FIRING: drift (error), mangaassist: agreement 0.924 below 0.95 for 3 cycles; "
            "ordered: re-distillation with alpha 0.7 -> 0.6",
            "source": "mangaassist",
            "severity": "error",
            "timestamp": "2026-11-24T11:10:00Z",
            "component": "student",
            "group": "mangaassist",
            "class": "drift",
            "custom_details": {
                "summary": "agreement 0.924 below 0.95 for 3 cycles; ordered: re-distillation with alpha "
                "0.7 -> 0.6",
                "since": "2026-11-24 09:00 UTC",
                "window": "2026-11-24 10:00 UTC to 2026-11-24 11:00 UTC, cycle 12",
                "numbers": "agreement 0.924 [0.912, 0.935], breach below 0.95: fired, 3 in a row "
                "(low-agreement)\nkl 0.08 [0.066, 0.095], breach above 0.15: within (high-kl)",
                "intents that differ most": "returns: agreement 0.61 [0.55, 0.67] on 14.0% of the requests\n"
                "faq: agreement 0.93 [0.9, 0.95] on 31.0% of the requests",
                "most excess disagreement": "label returns: 72% of the disagreements, 14.0% of the requests "
                "(2.0% in the reference); it moved",
                "what moved": "returns 2% -> 14%; label mix PSI 0.210 [0.150, 0.270]",
                "ordered": "re-distillation, job 3, alpha 0.7 -> 0.6",
            },
        },
    }


def test_pagerduty_keeps_one_key_for_an_incident_whose_own_is_too_long() -> None:
    keys = {
        exchange("pagerduty", make_odd_document() | {"event": event})[0].document["dedup_key"]
        for event in ("firing", "resolved")
    }
    other = exchange("pagerduty", make_odd_document() | {"dedup_key": "x" * 300})[0].document["dedup_key"]
    assert len(keys) == 1
    assert other not in keys


def test_what_pagerduty_refuses_is_told() -> None:
    body = (
        '{"status":"invalid event","message":"Event object is invalid","errors":["\'summary\' is missing"]}'
    )
    _, receipt = exchange("pagerduty", make_document(), reply=Reply(status=400, body=body))
    assert receipt.error == "HTTP 400 Bad Request: 'summary' is missing"


def test_a_slack_message_says_what_since_when_how_much_and_what_was_done() -> None:
    sent = exchange("slack webhook", make_document())[0].document
    assert texts(sent) == [
        "FIRING: drift (error), mangaassist",
        "agreement 0.924 below 0.95 for 3 cycles; ordered: re-distillation with alpha 0.7 -&gt; 0.6",
        "*since*\n2026-11-24 09:00 UTC",
        "*window*\n2026-11-24 10:00 UTC to 2026-11-24 11:00 UTC, cycle 12",
        (
            "*numbers*\n"
            "agreement 0.924 [0.912, 0.935], breach below 0.95: fired, 3 in a row (low-agreement)\n"
            "kl 0.08 [0.066, 0.095], breach above 0.15: within (high-kl)"
        ),
        (
            "*intents that differ most*\nreturns: agreement 0.61 [0.55, 0.67] on 14.0% of the requests\n"
            "faq: agreement 0.93 [0.9, 0.95] on 31.0% of the requests"
        ),
        (
            "*most excess disagreement*\nlabel returns: 72% of the disagreements, 14.0% of the requests "
            "(2.0% in the reference); it moved"
        ),
        "*what moved*\nreturns 2% -&gt; 14%; label mix PSI 0.210 [0.150, 0.270]",
        "*ordered*\nre-distillation, job 3, alpha 0.7 -&gt; 0.6",
        "<https://example.org/runbook#drift|runbook> · <https://example.org/?a=1&amp;b=2|page>",
        "redistill:mangaassist:7:20261124T110000Z:5e0c93ab41d7",
    ]
    assert sent["text"].startswith("FIRING: drift (error), mangaassist\nagreement 0.924 below 0.95")


def test_the_odd_signs_of_a_text_arrive_as_text() -> None:
    sent = exchange("slack bot", make_document(summary=ODD))[0].document
    assert texts(sent)[1] == 'a &lt;b&gt; &amp; "c" &lt;!channel&gt; @here *x* _y_ 👩\u200d🚀 étagère | end'


def test_a_bot_s_later_messages_answer_its_first_one() -> None:
    """What Slack calls the first one is kept; an incoming webhook gets no such name."""
    request, receipt = exchange("slack bot", make_document())
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert (request.document["channel"], "thread_ts" in request.document) == ("#on-call", False)
    assert receipt == Receipt(result=SendResult.DELIVERED, reference="1503435956.000247")
    later = exchange("slack bot", make_document(event="resolved"), thread=receipt.reference)[0].document
    assert later["thread_ts"] == "1503435956.000247"
    assert exchange("slack webhook", make_document())[1].reference is None


@pytest.mark.parametrize("thread", ["null", "17", "[]", '{"a": 1}'])
def test_an_answer_without_a_usable_thread_is_of_a_delivered_message(thread: str) -> None:
    """A thread of another type cannot be stored."""
    reply = Reply(body=f'{{"ok":true,"channel":"C1","ts":{thread}}}')
    assert exchange("slack bot", make_document(), reply=reply)[1] == Receipt(result=SendResult.DELIVERED)


@pytest.mark.parametrize(
    ("body", "result", "error"),
    [
        ('{"ok":false,"error":"channel_not_found"}', SendResult.REFUSED, "Slack answered channel_not_found"),
        ('{"ok":false,"error":"invalid_auth"}', SendResult.REFUSED, "Slack answered invalid_auth"),
        ('{"ok":false,"error":"internal_error"}', SendResult.RETRY, "Slack answered internal_error"),
        ('{"ok":false,"error":"ratelimited"}', SendResult.RETRY, "Slack answered ratelimited"),
        ('{"ok":false,"error":{"a":1}}', SendResult.REFUSED, "Slack answered with an error, but no reason"),
        ('{"ok":false}', SendResult.REFUSED, "Slack answered with an error, but no reason"),
        ("[]", SendResult.RETRY, "HTTP 200 without an answer of Slack's API"),
        ("<html>please log in</html>", SendResult.RETRY, "HTTP 200 without an answer of Slack's API"),
        ("", SendResult.RETRY, "HTTP 200 without an answer of Slack's API"),
    ],
)
def test_slack_s_api_refuses_with_200_too(body: str, result: SendResult, error: str) -> None:
    receipt = exchange("slack bot", make_document(), reply=Reply(body=body))[1]
    assert (receipt.result, receipt.error) == (result, error)


def test_what_an_incoming_webhook_refuses_is_told() -> None:
    receipt = exchange("slack webhook", make_document(), reply=Reply(status=404, body="no_service"))[1]
    assert receipt.error == "HTTP 404 Not Found: no_service"
