"""The message of a job, and what is made of one."""

import json
from dataclasses import fields, replace
from decimal import Decimal

import pytest

from db.records import Job
from db.states import JobStatus, MessageFate
from tests.support.records.factories import START
from triggers.transports.job_message import SETTLED, JobMessage, Row, classify, message_of

JOB = Job(
    job_id=7,
    monitor="mangaassist",
    cycle_id=12,
    rule="high-kl",
    reason="kl 0.21 above 0.15 for 1 cycle",
    teacher_version="t1",
    student_version="s1",
    alpha_from=Decimal("0.7"),
    alpha_to=Decimal("0.6"),
    temperature=3.0,
    status=JobStatus.QUEUED,
    attempt=0,
    enqueued_at=START,
    started_at=None,
    finished_at=None,
    candidate_version=None,
    decision=None,
    decision_reason=None,
)
ARCHIVE = "archive/mangaassist/1"
BODY = message_of(JOB, ARCHIVE).body


def fate(
    body: str, job: Job = JOB, archive: str | None = ARCHIVE, *, is_abandoned: bool = False
) -> MessageFate:
    return classify(
        body,
        monitor="mangaassist",
        find=lambda number: (
            Row(job=job, archive=archive, is_abandoned=is_abandoned) if number == job.job_id else None
        ),
    )


def test_the_message_is_that_of_the_contract() -> None:
    assert json.loads(BODY) == {
        "schema": "redistill.job/1",
        "job_id": 7,
        "monitor": "mangaassist",
        "cycle_id": 12,
        "rule": "high-kl",
        "reason": "kl 0.21 above 0.15 for 1 cycle",
        "teacher_version": "t1",
        "student_version": "s1",
        "alpha_from": 0.7,
        "alpha_to": 0.6,
        "temperature": 3.0,
        "soft_labels": "online",
        "archive": ARCHIVE,
        "enqueued_at": "2026-11-24T10:00:00Z",
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (JobStatus.QUEUED, MessageFate.WANTED),
        (JobStatus.RUNNING, MessageFate.ALREADY_RUNNING),
        (JobStatus.SUCCEEDED, MessageFate.ALREADY_ENDED),
        (JobStatus.REJECTED, MessageFate.ALREADY_ENDED),
        (JobStatus.FAILED, MessageFate.ALREADY_ENDED),
        (JobStatus.CANCELLED, MessageFate.ALREADY_ENDED),
    ],
)
def test_what_a_true_message_does_is_up_to_the_row(status: JobStatus, expected: MessageFate) -> None:
    assert fate(BODY, replace(JOB, status=status)) is expected
    assert expected in SETTLED


def test_a_running_job_whose_worker_is_gone_wants_another() -> None:
    assert fate(BODY, replace(JOB, status=JobStatus.RUNNING), is_abandoned=True) is MessageFate.WANTED


def test_order_and_spaces_of_the_json_do_not_matter() -> None:
    document = json.loads(BODY)
    assert fate(json.dumps(dict(reversed(document.items())), indent=2)) is MessageFate.WANTED


@pytest.mark.parametrize("name", [field.name for field in fields(JobMessage)])
def test_no_field_may_differ_from_the_row_or_be_left_out(name: str) -> None:
    document = json.loads(BODY)
    left_out = {key: value for key, value in document.items() if key != name}
    for forged in ({**document, name: "other"}, {**document, name: None}, left_out):
        found = fate(json.dumps(forged))
        assert found not in SETTLED, forged


@pytest.mark.parametrize("number", [True, 7.0, "7", 0, -7, 2**63, 2**80, [7], {"a": 7}])
def test_a_number_that_is_none_is_not_looked_for(number: object) -> None:
    forged = json.dumps({**json.loads(BODY), "job_id": number})
    assert fate(forged) in {MessageFate.UNKNOWN_JOB, MessageFate.NOT_JSON}


@pytest.mark.parametrize("body", ["", "{", "null", "[]", '"redistill.job/1"', "NaN", "\x00", "7"])
def test_what_is_no_object_is_not_json(body: str) -> None:
    assert fate(body) is MessageFate.NOT_JSON


def test_a_sample_elsewhere_is_a_difference() -> None:
    assert fate(BODY, archive="s3://bucket/mangaassist/1") is MessageFate.FIELDS_DIFFER
