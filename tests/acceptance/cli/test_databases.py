"""The command line says the same on SQLite and on PostgreSQL."""

import json
from pathlib import Path

import pytest

from db.connection.session import connect
from tests.support.records.cycles import Cycles, taken
from tests.support.records.factories import START, make_measurement, make_result
from tests.support.world.project import run

COMMANDS = (
    ("history", "--json"),
    ("status", "--json"),
    ("jobs", "list", "--json"),
    ("jobs", "show", "1", "--json"),
    ("models", "list", "--json"),
    ("replay", "--json"),
)


def said_on(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What each command prints after the same two cycles."""
    engine = connect(url)
    cycles = Cycles(engine=engine, lease=taken(engine))
    cycles.promote(now=START)
    cycles.conclude(0)
    cycles.conclude(1, make_result(measurement=make_measurement(disagreements=385, kl=0.21)))
    engine.dispose()
    monkeypatch.setenv("REDISTILL__DATABASE__URL", url)
    return {
        " ".join(command): [json.loads(line) for line in run(*command).stdout.splitlines()]
        for command in COMMANDS
    }


def test_both_databases_give_the_same_answers(
    project: Path, sqlite_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.is_dir()
    on_sqlite = said_on(sqlite_url, monkeypatch)
    assert all(on_sqlite.values())
    assert said_on(postgres_url, monkeypatch) == on_sqlite


def test_a_server_that_is_away_is_told_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.is_dir()
    monkeypatch.setenv("REDISTILL__DATABASE__URL", "postgresql://user:s3cret@127.0.0.1:1/name")
    for command in (("history",), ("db", "upgrade"), ("jobs", "cancel", "1"), ("cycle",)):
        result = run(*command)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert "cannot be reached" in line
        assert "s3cret" not in line
