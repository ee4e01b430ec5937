"""A configuration in S3: what is wrong with it is said as about a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from db.errors import RedistillError
from redistill.configuration.settings import load
from redistill.configuration.source import ConfigError, ConfigMissingError, Source
from tests.support.servers.buckets import TestBucket, empty_bucket

CONFIG = b"""
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
"""


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestBucket]:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with empty_bucket(s3_url) as bucket:
        yield bucket


def source_at(uri: str) -> Source:
    (source,) = Source.chosen([Path(uri)])
    return source


def refusal(uri: str) -> RedistillError:
    with pytest.raises((ConfigError, ConfigMissingError)) as refused:
        load(source_at(uri))
    assert refused.value.exit_code == 2
    return refused.value


def test_it_is_read(bucket: TestBucket) -> None:
    bucket.put("a/redistill.toml", CONFIG)
    assert load(source_at(f"s3://{bucket.name}/a/redistill.toml")).traffic.uri == Path.cwd() / "logs"


def test_one_that_is_absent_is_missing(bucket: TestBucket) -> None:
    uri = f"s3://{bucket.name}/redistill.toml"
    assert isinstance(refusal(uri), ConfigMissingError)
    assert str(refusal(uri)) == f"{uri} does not exist: upload it, or name another file with --config."


def test_one_that_cannot_be_read_or_is_not_toml_is_told(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{bucket.name}/redistill.toml"
    bucket.put("redistill.toml", b"name = = 1")
    assert str(refusal(uri)).startswith(f"{uri}: the file is not valid TOML")
    nowhere = "s3://no-such-bucket-of-ours/redistill.toml"
    assert str(refusal(nowhere)).startswith(f"{nowhere}: the object cannot be read: ")
    assert "NoSuchBucket" in str(refusal(nowhere))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert str(refusal(uri)).startswith(f"{uri}: the object cannot be read: Could not connect")
