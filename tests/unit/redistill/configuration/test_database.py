"""The section [database]: where PostgreSQL's password comes from, and what does not go together."""

from datetime import timedelta
from pathlib import Path

import pytest

from redistill.configuration.settings import load
from redistill.configuration.source import ConfigError
from redistill.database import PasswordTwiceError, PlaintextTokenError, opened
from tests.unit.redistill.configuration.test_settings import SMALLEST

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:redistill-abcdef"
URL = 'url = "postgresql://app@db/redistill"'


def written(folder: Path, section: str) -> Path:
    path = folder / "redistill.toml"
    path.write_text(f"{SMALLEST}[database]\n{section}\n", encoding="utf-8")
    return path


def test_the_file_of_the_password_is_found_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    section = load(written(tmp_path, f'{URL}\npassword_file = "secrets/db"')).database
    assert section.password_file == tmp_path / "secrets" / "db"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            f'{URL}\npassword_file = "a"\npassword_secret = "{ARN}"',
            "[database]: password_file and password_secret exclude each other: keep one",
        ),
        (
            f'{URL}\npassword_file = "a"\nauth = "iam"',
            "[database]: password_file and auth = 'iam' exclude each other: keep one",
        ),
        (
            'password_file = "a"',
            "[database]: password_file is for PostgreSQL: remove it, or give a postgresql:// URL",
        ),
        (f'{URL}\npassword_secret = "redistill"', "[database] password_secret: expected"),
        (f'{URL}\nauth = "kerberos"', "[database] auth: expected"),
        ('keep = "29d"', "[database] keep: expected"),
        ('keep = "off"', "[database] keep: 'off' is not a duration: write"),
        (
            'keep = "40d"\n[monitor]\narchive_days = 60',
            "[database] keep = 40d is below the 60 days of 'archive_days' and 'catch_up'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, section: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(written(tmp_path, section))
    assert f"redistill.toml: {message}" in str(refusal.value)


@pytest.mark.parametrize(
    "url", ["postgresql://app:s3cret@db/redistill", "postgresql://app@db/redistill?password=s3cret"]
)
def test_a_password_in_the_url_beside_another_source_is_refused(tmp_path: Path, url: str) -> None:
    settings = load(written(tmp_path, f'url = "{url}"\npassword_file = "a"'))
    with pytest.raises(PasswordTwiceError, match="remove it from the URL") as refusal, opened(settings):
        pass
    assert "s3cret" not in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_a_token_is_not_sent_in_plaintext(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    settings = load(written(tmp_path, f'{URL}\nauth = "iam"'))
    with (
        pytest.raises(PlaintextTokenError, match=r"add \?sslmode=verify-full&sslrootcert=FILE"),
        opened(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("section", "keep"),
    [
        ("", None),
        ('keep = "all"', None),
        ('keep = "3y"', timedelta(days=1_095)),
        ('keep = "90d"', timedelta(days=90)),
    ],
)
def test_history_is_kept_for_a_time_or_for_ever(tmp_path: Path, section: str, keep: timedelta | None) -> None:
    assert load(written(tmp_path, section)).database.keep == keep
