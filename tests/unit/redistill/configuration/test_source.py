"""The source of a configuration: a file that is named, else the content of a variable, else the default."""

import os
from pathlib import Path

import pytest

from redistill.configuration.settings import load
from redistill.configuration.source import ConfigError, Source

MINIMAL = """
[traffic]
uri = "logs"
[teacher]
uri = "/models/teacher"
[student]
uri = "models/student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
"""
CONTENT = Source(file=None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which a file and a variable are two configurations."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDISTILL_TOML", MINIMAL + '[monitor]\nname = "variable"\n')
    (tmp_path / "redistill.toml").write_text(MINIMAL + '[monitor]\nname = "file"\n', encoding="utf-8")
    return tmp_path


def test_the_content_of_the_variable_is_a_configuration_of_the_working_directory(folder: Path) -> None:
    settings = load(CONTENT)
    assert settings.monitor.name == "variable"
    assert settings.traffic.uri == folder / "logs"
    assert settings.teacher.uri == Path("/models/teacher")
    assert settings.database.url == f"sqlite:///{folder}/redistill.db"


def test_a_single_key_in_the_environment_overrides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL__MONITOR__NAME", "key")
    assert load(CONTENT).monitor.name == "key"


def test_a_file_that_is_named_wins_and_one_that_is_not_loses() -> None:
    (named,) = Source.chosen([Path("redistill.toml")])
    (chosen,) = Source.chosen([])
    assert (load(named).monitor.name, load(chosen).monitor.name) == ("file", "variable")


def test_without_the_variable_it_is_the_file_of_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDISTILL_TOML")
    (chosen,) = Source.chosen([])
    assert load(chosen).monitor.name == "file"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("name = = 1", "its content is not valid TOML"),
        (f"a = {'[' * 2_000}", "its tables or lists are nested too deeply"),
        (f"{'a.' * 5_000}a = 1", "its tables or lists are nested too deeply"),
        ("", "[traffic]: missing: it needs 'uri'"),
        (MINIMAL + "[web]\nport = 70000\n", "[web] port: expected a value of at most 65535, not 70000"),
        (
            MINIMAL + '[database]\nurl = "$NOT_SET"\n',
            "the environment variable NOT_SET is not set: export it",
        ),
        (MINIMAL.replace("logs", "s3://logs"), "[traffic] uri: expected a local path, not a URL (s3://)"),
    ],
    ids=["no TOML", "deep lists", "deep tables", "empty", "a value", "a variable in it", "a URL"],
)
def test_an_error_names_the_variable(content: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_TOML", content)
    with pytest.raises(ConfigError) as refusal:
        load(CONTENT)
    assert str(refusal.value).startswith(f"the environment variable REDISTILL_TOML: {problem}")


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("s3://my-bucket", "not 's3://my-bucket': it lacks the key of an object"),
        ("s3://Bad_Bucket/redistill.toml", "unlike 'Bad_Bucket', has 3 to 63 lower-case letters"),
    ],
)
def test_a_location_in_s3_that_cannot_be_is_refused_before_s3_is_asked(option: str, problem: str) -> None:
    (source,) = Source.chosen([Path(option)])
    with pytest.raises(ConfigError, match=problem) as refusal:
        source.read()
    assert str(refusal.value).startswith("--config: expected 's3://bucket/key'")
    assert refusal.value.exit_code == 2


def test_a_byte_order_mark_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_TOML", "\ufeff" + os.environ["REDISTILL_TOML"])
    assert load(CONTENT).monitor.name == "variable"


def test_another_process_reads_the_same(folder: Path) -> None:
    assert CONTENT.options == ()
    assert Source(file=Path("redistill.toml")).options == ("--config", str(folder / "redistill.toml"))
