"""Which errors of AWS may pass, as boto3 really raises them, and what is said about the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from monitor.archive import files
from monitor.archive.places import ArchiveReadError, ArchiveUnavailableError
from monitor.storage.artifacts import Artifacts
from monitor.storage.store import ArtifactReadError, ArtifactUnavailableError
from triggers.aws import FAULTS, explained, is_transient, new_client

Patch = pytest.MonkeyPatch
ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1)


@pytest.fixture(autouse=True)
def alone(monkeypatch: Patch, tmp_path: Path) -> None:
    """Credentials, region and an endpoint at which nobody listens, in the environment only."""
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def _no_credentials(monkeypatch: Patch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


def _half_of_them(monkeypatch: Patch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def _bad_profile(monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")


def _bad_region(monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "Ireland !")


def _bad_endpoint(monkeypatch: Patch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "somewhere")


PERMANENT: dict[str, tuple[Callable[[Patch], None], str]] = {
    "no credentials": (_no_credentials, "credentials; give this process a role"),
    "half of them": (_half_of_them, "missing: AWS_SECRET_ACCESS_KEY; set what is missing"),
    "a bad profile": (_bad_profile, r"\(nobody\) could not be found; correct AWS_PROFILE"),
    "a bad region": (_bad_region, "'Ireland !'.*; correct AWS_DEFAULT_REGION"),
    "a bad endpoint": (_bad_endpoint, "Invalid endpoint: somewhere; correct AWS_ENDPOINT_URL"),
}


@pytest.mark.parametrize(("break_it", "told"), PERMANENT.values(), ids=PERMANENT)
def test_what_a_person_must_set_is_not_waited_for(
    break_it: Callable[[Patch], None], told: str, monkeypatch: Patch, tmp_path: Path
) -> None:
    """Neither by what reads models and labelled files, nor by what reads archives."""
    break_it(monkeypatch)
    with pytest.raises(ArtifactReadError, match=told) as artifact:
        Artifacts(cache=tmp_path).file("s3://my-bucket/train.jsonl")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with pytest.raises(ArchiveReadError, match=told) as archive:
        files.read("s3://my-bucket/a.jsonl.zst")
    assert not isinstance(artifact.value, ArtifactUnavailableError)
    assert not isinstance(archive.value, ArchiveUnavailableError)


def test_a_service_without_a_region_says_how_to_give_one(monkeypatch: Patch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(BotoCoreError) as error:
        new_client("sqs", ONCE)
    assert (is_transient(error.value), explained(error.value)) == (
        False,
        "You must specify a region; set AWS_DEFAULT_REGION",
    )


def test_what_is_not_reached_is_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ArtifactUnavailableError, match=r"Could not connect .*; check the network"):
        Artifacts(cache=tmp_path).file("s3://my-bucket/train.jsonl")
    with pytest.raises(ArchiveUnavailableError, match="Could not connect"):
        files.read("s3://my-bucket/a.jsonl.zst")


def test_credentials_that_come_later_are_found(monkeypatch: Patch, tmp_path: Path) -> None:
    """A client without credentials would never look for them again."""
    opener = Artifacts(cache=tmp_path)
    with monkeypatch.context() as patch:
        _no_credentials(patch)
        with pytest.raises(ArtifactReadError, match="locate credentials"):
            opener.file("s3://my-bucket/train.jsonl")
    with pytest.raises(ArtifactUnavailableError, match="Could not connect"):
        opener.file("s3://my-bucket/train.jsonl")


@pytest.mark.parametrize(
    ("status", "code", "said", "expected"),
    [
        (503, "SlowDown", "", True),
        (500, "InternalError", "", True),
        (429, "Other", "", True),
        (400, "ThrottlingException", "", True),
        (400, "RequestTimeout", "", True),
        (403, "ExpiredToken", "", True),
        (403, "RequestTimeTooSkewed", "", True),
        (403, "SignatureDoesNotMatch", "Signature not yet current: …", True),
        (403, "SignatureDoesNotMatch", "", False),
        (403, "AccessDenied", "", False),
        (404, "NoSuchBucket", "", False),
        (301, "PermanentRedirect", "", False),
    ],
)
def test_answers(status: int, code: str, said: str, expected: bool) -> None:  # noqa: FBT001 - a table
    answer: Any = {"Error": {"Code": code, "Message": said}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = ClientError(answer, "GetObject")
    assert isinstance(error, FAULTS)
    assert is_transient(error) is expected
