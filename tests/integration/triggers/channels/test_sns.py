"""SNS over the wire: topics of a local server, and a server that fails as AWS does."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from redistill.channels import channels
from tests.support.records.messages import make_delivery, make_document, make_odd_document
from tests.support.servers.channels import make_alert
from tests.support.servers.endpoint import Reply, answering
from triggers.channels.port import Channel, SendResult
from triggers.channels.sns import publication
from triggers.channels.text import TEST, view_of
from triggers.channels.trial_message import trial

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
REGION = "eu-west-1"
ERROR = """<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>
<Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A topic, and a queue that gets all that is published there."""

    arn: str
    queue: str
    sqs: Any

    def received(self) -> list[dict[str, Any]]:
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        return [json.loads(message["Body"]) for message in found.get("Messages", [])]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> str:
    """boto3 finds the server by the environment, as in production."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    return s3_url


@pytest.fixture(params=["", ".fifo"], ids=["standard", "fifo"])
def topic(request: pytest.FixtureRequest, aws: str) -> Iterator[Topic]:
    sns, sqs = (boto3.client(name, region_name=REGION, endpoint_url=aws) for name in ("sns", "sqs"))
    fifo = {"FifoTopic": "true"} if request.param else {}
    name = f"t{uuid.uuid4().hex}{request.param}"
    arn = sns.create_topic(Name=name, Attributes=fifo)["TopicArn"]
    queue = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if request.param else {})
    url = queue["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=attributes["QueueArn"])
    yield Topic(arn=arn, queue=url, sqs=sqs)
    sns.delete_topic(TopicArn=arn)
    sqs.delete_queue(QueueUrl=url)


def make_channel(arn: str, *, timeout_seconds: float = 5) -> Channel:
    table = {"kind": "sns", "name": "a", "topic": arn, "timeout_seconds": timeout_seconds}
    return channels([make_alert(table)])["a"]


def test_a_message_is_readable_and_can_be_filtered_by(topic: Topic) -> None:
    assert make_channel(topic.arn).send(make_delivery(), now=NOW).result is SendResult.DELIVERED
    (message,) = topic.received()
    assert message["Subject"] == "FIRING: drift (error), mangaassist"
    assert message["Message"].splitlines()[:5] == [
        "FIRING: drift (error), mangaassist",
        "agreement 0.924 below 0.95 for 3 cycles; ordered: re-distillation with alpha 0.7 -> 0.6",
        "",
        "since: 2026-11-24 09:00 UTC",
        "window: 2026-11-24 10:00 UTC to 2026-11-24 11:00 UTC, cycle 12",
    ]
    assert {name: each["Value"] for name, each in message["MessageAttributes"].items()} == {
        "kind": "drift",
        "severity": "error",
        "event": "firing",
        "monitor": "mangaassist",
    }


def test_long_and_odd_texts_arrive(topic: Topic) -> None:
    """The subject is cut and in ASCII, as SNS wants it; the body has all of it."""
    channel = make_channel(topic.arn)
    assert channel.send(make_delivery(make_odd_document()), now=NOW).result is SendResult.DELIVERED
    (message,) = topic.received()
    assert len(message["Subject"]) < 100
    assert message["Subject"].isascii()
    assert message["Subject"].isprintable()
    assert "👩\u200d🚀 étagère" in message["Message"]


def test_a_message_is_no_longer_than_sns_takes() -> None:
    """256 KiB, in UTF-8."""
    rules = [{**rule, "rule": "€" * 50} for rule in make_document()["rules"] * 3_000]
    message = publication(view_of(json.dumps(make_document(rules=rules))))["Message"]
    assert 100_000 < len(message.encode()) < 256 * 1024


@pytest.mark.parametrize("topic", [".fifo"], indirect=True)
def test_a_fifo_topic_keeps_the_order_and_drops_what_it_has_seen(topic: Topic) -> None:
    channel = make_channel(topic.arn)
    for event in ("firing", "firing", "resolved"):
        delivery = make_delivery(make_document(event=event))
        assert channel.send(delivery, now=NOW).result is SendResult.DELIVERED
    subjects = [message["Subject"].partition(":")[0] for message in topic.received()]
    assert subjects == ["FIRING", "RESOLVED"]


def test_a_test_message_is_marked(topic: Topic) -> None:
    assert make_channel(topic.arn).send(trial("a", "m", NOW), now=NOW).result is SendResult.DELIVERED
    (message,) = topic.received()
    assert message["Subject"] == "TEST, nothing is wrong: m"
    assert message["MessageAttributes"]["kind"]["Value"] == TEST


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_a_topic_that_is_not_there_refuses(suffix: str) -> None:
    receipt = make_channel(f"arn:aws:sns:{REGION}:123456789012:gone{suffix}").send(make_delivery(), now=NOW)
    assert receipt.result is SendResult.REFUSED
    assert "NotFound" in (receipt.error or "")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("status", "code", "result"),
    [
        (400, "Throttling", SendResult.RETRY),
        (400, "ThrottledException", SendResult.RETRY),
        (400, "KMSThrottling", SendResult.RETRY),
        (403, "ExpiredToken", SendResult.RETRY),
        (429, "TooManyRequests", SendResult.RETRY),
        (500, "InternalFailure", SendResult.RETRY),
        (503, "ServiceUnavailable", SendResult.RETRY),
        (403, "RequestTimeTooSkewed", SendResult.RETRY),
        (403, "AuthorizationError", SendResult.REFUSED),
        (403, "SignatureDoesNotMatch", SendResult.REFUSED),
        (403, "InvalidClientTokenId", SendResult.REFUSED),
        (400, "InvalidParameter", SendResult.REFUSED),
        (400, "KMSAccessDenied", SendResult.REFUSED),
    ],
)
def test_faults(status: int, code: str, result: SendResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each: it is the outbox that tries again."""
    body = ERROR.format(code=code, message="no\nmore")
    with answering(Reply(status=status, body=body, headers={"Content-Type": "text/xml"})) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        receipt = make_channel(f"arn:aws:sns:{REGION}:123456789012:t").send(make_delivery(), now=NOW)
        assert len(server.requests) == 1
    assert receipt.result is result
    assert code in (receipt.error or "")
    assert "\n" not in (receipt.error or "")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    "said",
    [
        "Signature expired: 20261124T110000Z is now earlier than 20261124T114500Z",
        "Signature not yet current: 20261124T130000Z is still later than 20261124T121500Z",
    ],
)
def test_while_the_clock_is_wrong_a_message_waits(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is refused, and will not be when the clock is set."""
    body = ERROR.format(code="SignatureDoesNotMatch", message=said)
    with answering(Reply(status=403, body=body, headers={"Content-Type": "text/xml"})) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        receipt = make_channel(f"arn:aws:sns:{REGION}:123456789012:t").send(make_delivery(), now=NOW)
    assert receipt.result is SendResult.RETRY
    assert said in (receipt.error or "")


@pytest.mark.usefixtures("aws")
def test_a_name_that_does_not_resolve_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://sns.invalid")
    receipt = make_channel(f"arn:aws:sns:{REGION}:123456789012:t").send(make_delivery(), now=NOW)
    assert receipt.result is SendResult.RETRY
    assert "http://sns.invalid" in (receipt.error or "")


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("fault", ["hang", "reset"])
def test_a_network_fault_may_be_tried_again(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(Reply(fault=fault)) as server:  # type: ignore[arg-type]
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        began = time.monotonic()
        channel = make_channel(f"arn:aws:sns:{REGION}:123456789012:t", timeout_seconds=0.3)
        receipt = channel.send(make_delivery(), now=NOW)
        assert time.monotonic() - began < 3
        assert len(server.requests) == 1
    assert receipt.result is SendResult.RETRY


def test_without_credentials_it_may_be_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:  # noqa: ANN401
    """The role may come."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    receipt = make_channel(f"arn:aws:sns:{REGION}:123456789012:t").send(make_delivery(), now=NOW)
    assert receipt.result is SendResult.RETRY
    assert "NoCredentials" in (receipt.error or "")
