"""The permissions of each task's role are those that the calls of its code need, no more and no fewer."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from tests.support.deployment.aws_calls import calls_in, permissions_of
from tests.support.deployment.stack import ROOT, evaluated, template

PACKAGES: Final = ("db", "triggers", "monitor", "distill", "redistill")
DAEMON, WORKER, MIGRATION = "DaemonRole", "WorkerRole", "MigrationRole"
MODELS, REGISTRY, ARCHIVE, TRAFFIC = "ModelsBucket", "Registry", "Archive", "TrafficBucket"
DATABASE: Final = {DAEMON: ("Database",), WORKER: ("Database",), MIGRATION: ("Database",)}
READ_BY_ALL: Final = dict.fromkeys((DAEMON, WORKER, MIGRATION), (MODELS, REGISTRY))
WRITTEN: Final = {WORKER: (REGISTRY,)}

#: Which role makes the calls of a place in the code, on what. The migration's role is also that of `doctor`.
#: People run `archive erase` and `labels import` with the daemon's role, `models promote` with the worker's.
USES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "db/connection/aws_passwords.py:in_secret": DATABASE,
    "db/connection/aws_passwords.py:rds_tokens": {},  # the stack's tasks use the secret
    "triggers/channels/sns.py:SnsChannel.send": {DAEMON: ("AlarmTopic",)},
    "triggers/transports/sqs.py:SqsTransport.call": {DAEMON: ("Queue",)},
    "triggers/transports/sqs.py:SqsTransport._is_to_look": {WORKER: ("Queue",)},
    "triggers/transports/sqs.py:SqsTransport._delete": {WORKER: ("Queue",)},
    "triggers/worker_tasks/ecs.py:Ecs.start": {DAEMON: ("Worker",)},
    "triggers/worker_tasks/ecs.py:Ecs.look": {DAEMON: ("Cluster",)},
    "triggers/worker_tasks/ecs.py:Ecs.stop": {DAEMON: ("Cluster",)},
    "monitor/archive/places.py:_S3.put": {DAEMON: (ARCHIVE,)},
    "monitor/archive/places.py:_S3.get": {DAEMON: (ARCHIVE,), WORKER: (ARCHIVE,)},
    "monitor/archive/places.py:_S3.names": {DAEMON: (ARCHIVE,), MIGRATION: (ARCHIVE, REGISTRY)},
    "monitor/archive/places.py:_S3.delete": {DAEMON: (ARCHIVE,)},
    "monitor/sources/stores/bucket.py:Bucket._list_hour": {DAEMON: (TRAFFIC,), MIGRATION: (TRAFFIC,)},
    "monitor/sources/stores/bucket.py:Bucket._fetch": {DAEMON: (TRAFFIC,), MIGRATION: (TRAFFIC,)},
    "monitor/storage/s3_copies.py:S3Copies.read": READ_BY_ALL,
    "monitor/storage/s3_copies.py:S3Copies._listed": READ_BY_ALL,
    "monitor/storage/s3_copies.py:S3Copies._head": READ_BY_ALL,
    "monitor/storage/s3_copies.py:S3Copies._download": READ_BY_ALL,
    "monitor/storage/s3_store.py:S3Store.names": WRITTEN,
    "monitor/storage/s3_store.py:S3Store.remove": WRITTEN,
    "monitor/storage/s3_store.py:S3Store._objects": WRITTEN,
    "monitor/storage/s3_store.py:S3Store._upload_unless_there": WRITTEN,
    "monitor/storage/s3_store.py:S3Store._upload": WRITTEN,
    "monitor/storage/s3_store.py:S3Store._put_if": WRITTEN,
    "redistill/checks/ecs.py:worker_tasks": {MIGRATION: ("Cluster", "*")},
    "redistill/checks/job_queue.py:sqs_queue": {MIGRATION: ("Queue",)},
    "redistill/checks/job_queue.py:_dead_letters": {MIGRATION: ("Queue", "DeadLetters")},
}
CALLS: Final = calls_in(PACKAGES, ROOT)
#: The actions that a role has on one kind of thing only, where a place calls several.
ONLY_ON: Final = {
    "ecs:DescribeClusters": "Cluster",
    "ecs:DescribeTaskDefinition": "*",
    "sqs:GetQueueUrl": "DeadLetters",
}
Pair = tuple[str, str]  #: an action, and the parameter or resource that it is allowed on


def test_each_call_of_the_code_belongs_to_a_role() -> None:
    assert sorted(CALLS) == sorted(USES)


def needed(role: str) -> set[Pair]:
    pairs: set[Pair] = set()
    for place, uses in USES.items():
        for call in CALLS[place]:
            for action in permissions_of(call):
                pairs |= {pair for target in uses.get(role, ()) for pair in _on(action, target)}
    return pairs


def _on(action: str, target: str) -> Iterator[Pair]:
    if action.startswith("kms:"):
        yield action, "InputKey" if target in {MODELS, TRAFFIC} else "Key"
    elif action == "iam:PassRole":
        yield from ((action, role) for role in ("WorkerRole", "ExecutionRole"))
    elif ONLY_ON.get(action, target) == target:
        yield action, target


def granted(role: str) -> set[Pair]:
    """The pairs of a role with a queue, together with those of a role with a task per job."""
    document = template()["Resources"][role]["Properties"]["Policies"]
    pairs: set[Pair] = set()
    for is_standing in (True, False):
        conditions = {"IsStanding": is_standing, "IsPerJob": not is_standing, "HasInputKey": True}
        ((policy),) = evaluated(document, conditions)
        for statement in policy["PolicyDocument"]["Statement"]:
            assert statement["Effect"] == "Allow"
            pairs |= {(action, target) for action in statement["Action"] for target in _targets(statement)}
    return pairs


def _targets(statement: Mapping[str, Any]) -> Iterator[str]:
    resources = statement["Resource"]
    for resource in resources if isinstance(resources, list) else [resources]:
        text = json.dumps(resource)
        if "-worker:" in text:
            yield "Worker"
        elif resource == "*":
            yield "*"
        else:
            (name,) = set(
                re.findall(
                    r"[A-Z]\w+(?:Bucket|Role|Key|Topic)\b|\b(?:Key|Cluster|Archive)\b"
                    r"|\b(?:Registry|Queue|DeadLetters|Database)\b",
                    text,
                )
            )
            yield name


@pytest.mark.parametrize("role", [DAEMON, WORKER, MIGRATION])
def test_a_role_allows_what_its_code_calls_and_nothing_else(role: str) -> None:
    assert sorted(granted(role)) == sorted(needed(role))


def test_only_the_daemon_reads_the_request_log_and_only_the_worker_writes_models() -> None:
    assert {role for role in (DAEMON, WORKER, MIGRATION) if ("s3:GetObject", TRAFFIC) in granted(role)} == {
        DAEMON,
        MIGRATION,
    }
    assert [role for role in (DAEMON, WORKER, MIGRATION) if ("s3:PutObject", REGISTRY) in granted(role)] == [
        WORKER
    ]
