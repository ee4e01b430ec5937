"""The command line, as people and scripts use it."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from redistill.commands import COMMANDS, module_of
from tests.support.world.project import ROOT, run, said, start

SUBCOMMANDS = (
    *(
        (name,)
        for name in COMMANDS
        if name not in {"alerts", "archive", "db", "incidents", "jobs", "labels", "models", "monitors"}
    ),
    ("alerts", "test"),
    ("archive", "erase"),
    ("archive", "slices"),
    ("labels", "import"),
    *(("db", name) for name in ("upgrade", "check")),
    *(("incidents", name) for name in ("list", "ack")),
    *(("jobs", name) for name in ("list", "show", "enqueue", "cancel", "retry")),
    *(("monitors", name) for name in ("list", "rename")),
    *(("models", name) for name in ("list", "show", "promote", "rollback")),
)


@pytest.mark.usefixtures("empty")
def test_the_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("command", SUBCOMMANDS, ids=" ".join)
def test_every_command_has_a_help_with_an_example(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    text, _, shown = result.stdout.partition("Examples:")
    assert f"redistill {' '.join(command)}" in shown
    assert not re.search(r" [.,;] ", text)  # the markup of Rich leaves out a [section]


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("name", ["alerts", "db", "jobs", "labels", "models"])
def test_a_group_of_commands_says_the_same_as_the_help_above_it(name: str) -> None:
    assert COMMANDS[name] in run(name, "--help").stdout


def test_commands_that_only_look_load_no_torch() -> None:
    modules = ", ".join(module_of(name) for name in COMMANDS)
    code = f"import sys, redistill.cli, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("histroy",), "Did you mean 'history'"),
        (("history", "--sinse", "1h"), "No such option: --sinse"),
        (("jobs", "show"), "Missing argument 'JOB'"),
        (("jobs", "show", "seven"), "a valid integer"),
        (("evaluate",), "Missing option '--data'"),
        (("archive", "erase", "r-1", ""), "an ID is empty"),
    ],
    ids=["command", "option", "missing argument", "no number", "missing option", "empty"],
)
def test_bad_usage_exits_with_2_and_says_what_is_wrong(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


NEEDS_CONFIG = (
    ("history",),
    ("status",),
    ("cycle",),
    ("monitor",),
    ("worker", "--once"),
    ("db", "upgrade"),
    ("db", "check"),
    ("jobs", "list"),
    ("models", "list"),
    ("replay",),
)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("command", [*NEEDS_CONFIG, ("alerts", "test")], ids=" ".join)
def test_without_a_configuration_a_command_says_how_to_get_one(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 2
    assert said(result).startswith("redistill.toml does not exist: run `redistill init`")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "arguments",
    [("--config", "other.toml", "history"), ("history", "--config", "other.toml")],
    ids=["before the command", "after the command"],
)
def test_the_configuration_can_be_named_on_both_sides_of_the_command(arguments: tuple[str, ...]) -> None:
    assert said(run(*arguments)).startswith("other.toml does not exist")


@pytest.mark.usefixtures("project")
def test_the_configuration_can_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CONFIG", "elsewhere.toml")
    assert said(run("history")).startswith("elsewhere.toml does not exist")


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("arguments", "variables", "chosen"),
    [
        (("--config", "before", "history", "--config", "after"), "CONFIG TOML", "after"),
        (("--config", "before", "history"), "CONFIG TOML", "before"),
        (("history",), "CONFIG TOML", "named"),
        (("history",), "TOML", "the environment variable REDISTILL_TOML"),
        (("history",), "", "redistill.toml"),
    ],
    ids=["after", "before", "REDISTILL_CONFIG", "REDISTILL_TOML", "default"],
)
def test_the_configuration_that_is_named_most_closely_is_read(
    arguments: tuple[str, ...], variables: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is one: the error names that which was read."""
    for name, value in (("CONFIG", "named"), ("TOML", "not TOML")):
        if name in variables.split():
            monkeypatch.setenv(f"REDISTILL_{name}", value)
    assert re.match(rf"{chosen}(:| does not exist:)", said(run(*arguments)))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (("history", "--config", "a.toml", "--config", "b.toml"), ""),
        (("--config", "a.toml", "--config", "b.toml", "history"), ""),
        (("history",), os.pathsep.join(("a.toml", "b.toml"))),
    ],
    ids=["after", "before", "REDISTILL_CONFIG"],
)
def test_a_command_that_takes_one_configuration_refuses_two(
    arguments: tuple[str, ...], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISTILL_CONFIG", variable)
    result = run(*arguments)
    assert result.exit_code == 2
    assert "this command takes one configuration, not a.toml, b.toml: name one" in result.stderr


@pytest.mark.usefixtures("project")
def test_a_bad_configuration_exits_with_2_and_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL__MONITOR__SAMPLE_SIZ", "5")
    result = run("history")
    assert result.exit_code == 2
    assert "unknown key 'sample_siz': did you mean 'sample_size'?" in said(result)


@pytest.mark.parametrize("command", NEEDS_CONFIG[:5] + NEEDS_CONFIG[6:], ids=" ".join)
def test_without_a_database_a_command_says_to_make_one_and_makes_none(
    command: tuple[str, ...], project: Path
) -> None:
    result = run(*command)
    assert result.exit_code == 1
    assert "run `redistill db upgrade`" in said(result)
    assert not (project / "redistill.db").exists()


@pytest.mark.parametrize("command", NEEDS_CONFIG[:5] + NEEDS_CONFIG[6:], ids=" ".join)
def test_a_database_that_is_not_migrated_is_told(command: tuple[str, ...], project: Path) -> None:
    (project / "redistill.db").touch()
    result = run(*command)
    assert result.exit_code == 1
    assert "run `redistill db upgrade`" in said(result)


@pytest.mark.parametrize("command", [("history",), ("db", "upgrade"), ("cycle",)], ids=" ".join)
def test_a_file_that_is_no_database_is_told_in_one_line(command: tuple[str, ...], project: Path) -> None:
    (project / "redistill.db").write_text("this is no database, " * 100)
    result = run(*command)
    assert result.exit_code == 1
    assert said(result).endswith("file is not a database.")


@pytest.mark.usefixtures("project")
def test_an_upgrade_makes_the_database_and_a_second_one_finds_nothing_to_do() -> None:
    assert run("db", "upgrade").exit_code == 0
    assert run("db", "upgrade").exit_code == 0
    assert run("db", "check").exit_code == 0


def test_a_database_to_which_a_later_version_has_added_is_worked_on(migrated: Path) -> None:
    """So that the version before can be started again when the next one is no good."""
    with sqlite3.connect(migrated / "redistill.db") as connection:
        connection.execute("ALTER TABLE jobs ADD COLUMN mood TEXT")
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    for command in (("db", "upgrade"), ("db", "check")):
        result = run(*command)
        assert result.exit_code == 0
        assert "A later version of redistill has upgraded the database" in result.stdout
    assert run("cycle").exit_code == 0
    assert "mangaassist" in run("status").stdout


def test_a_table_that_somebody_has_changed_fails_the_check(migrated: Path) -> None:
    with sqlite3.connect(migrated / "redistill.db") as connection:
        connection.execute("ALTER TABLE jobs ADD COLUMN mood TEXT")
    result = run("db", "check")
    assert result.exit_code == 1
    assert "mood" in said(result)


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("history",), "`redistill cycle`"),
        (("jobs", "list"), "orders one when it fires"),
        (("models", "list"), "The first cycle records the two"),
        (("status",), "`redistill cycle` runs one now"),
        (("history", "--since", "1h"), "`redistill history` lists all cycles"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_empty_state_says_what_to_do_next(command: tuple[str, ...], hint: str) -> None:
    result = run(*command)
    assert result.exit_code == 0
    assert hint in result.stdout


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize("command", [("history",), ("jobs", "list"), ("models", "list")], ids=" ".join)
def test_an_empty_state_is_an_empty_list_in_json(command: tuple[str, ...]) -> None:
    assert json.loads(run(*command, "--json").stdout) == []


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    "arguments",
    [
        ("history", "--since", "yesterday"),
        ("history", "--until", "3x"),
        ("cycle", "--at", "noon"),
        ("history", "--since", ""),
        ("history", "--until", ""),
        ("replay", "--since", ""),
    ],
    ids=" ".join,
)
def test_what_is_no_time_is_refused_with_the_option(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said(result).startswith(f"{arguments[1]}: {arguments[2]!r} is not a time: give one such as")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("init", "redistill.toml"), "redistill.toml"),
        (("init", "/proc"), "/proc/redistill.toml"),
        (("init", "train.jsonl/new"), "train.jsonl/new"),
    ],
    ids=" ".join,
)
def test_a_path_that_cannot_be_used_is_one_line(arguments: tuple[str, ...], path: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert f"{path} cannot be used (" in said(result)
    assert said(result).endswith("): fix the path or its permissions")


def test_a_reader_that_goes_away_is_no_error(migrated: Path) -> None:
    with start("history", "--json", folder=migrated) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_an_interruption_is_one_line_and_exits_with_130(project: Path) -> None:
    os.mkfifo(project / "series.jsonl")
    with (
        start("replay", "--history", "series.jsonl", folder=project) as process,
        (project / "series.jsonl").open("w"),  # waits until the command reads
    ):
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error == "redistill: interrupted\n"


IN_TURN = """
import sys
from redistill.cli import main

for line in sys.stdin.read().splitlines():
    sys.argv = ["redistill", *line.split()]
    try:
        main()
    except SystemExit as end:
        print("exit", end.code, file=sys.stderr)
"""


def test_an_output_without_unicode_stops_no_command(project: Path) -> None:
    """The path of the database in what they say has letters that ASCII lacks."""
    folder = project.rename(project.with_name(f"café-日本-{project.name}"))
    lines = ["status", *(f"{' '.join(each)} --help" for each in SUBCOMMANDS)]
    lines += ["history", "jobs list", "models list", "incidents list", "alerts test"]
    result = subprocess.run(
        [sys.executable, "-c", IN_TURN],
        input="\n".join(lines),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        encoding="ascii",
        check=False,
    )
    assert (result.returncode, result.stderr.count("Traceback")) == (0, 0), result.stderr
    codes = [line.removeprefix("exit ") for line in result.stderr.splitlines() if line.startswith("exit ")]
    assert len(codes) == len(lines)
    assert set(codes) <= {"0", "1", "None"}
    assert "caf\\xe9-\\u65e5\\u672c" in result.stderr
