"""Values that cannot work are refused when the configuration is read, not when they are used."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError

from db.errors import RedistillError
from monitor.settings import S3Traffic, SqlTraffic
from redistill.configuration.errors import explained
from redistill.configuration.settings import Settings, load
from redistill.configuration.source import ConfigError
from tests.unit.redistill.configuration.test_settings import SMALLEST, loaded, with_traffic, written

WEBHOOK = '[[alerts]]\nkind = "webhook"\nurl = "https://x"\nsecret = '


def sections(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The sections of a configuration, with the place of each."""
    for name, field in model.model_fields.items():
        for each in classes(field.annotation):
            if issubclass(each, BaseModel):
                yield (*at, name), each
                yield from sections(each, (*at, name))


def classes(annotation: object) -> list[type]:
    if get_origin(annotation) is Annotated:
        return classes(get_args(annotation)[0])
    found = [each for argument in get_args(annotation) for each in classes(argument)]
    return found or ([annotation] if isinstance(annotation, type) else [])


FIELDS = [(place, section, key) for place, section in sections(Settings) for key in section.model_fields]


def refusal_of(place: tuple[str, ...], section: type[BaseModel], key: str, value: object) -> str:
    with pytest.raises(ValidationError) as refused:
        section.model_validate({key: value})
    own = [each for each in refused.value.errors() if each["loc"][:1] == (key,) or repr(key) in each["msg"]]
    assert own, (place, key, value)
    return explained(refused.value, section)


def fields_of(*types: type) -> list[tuple[tuple[str, ...], Any, str]]:
    return [each for each in FIELDS if {*types} & set(classes(each[1].model_fields[each[2]].annotation))]


NUMBERS, DURATIONS = fields_of(float, Decimal), fields_of(timedelta)
NOT_BOOLS = [each for each in FIELDS if each not in fields_of(bool)]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_no_number_of_the_configuration_is_infinite_or_undefined(value: str) -> None:
    assert len(NUMBERS) > 25
    for place, section, key in NUMBERS:
        refusal_of(place, section, key, Decimal(value))


@pytest.mark.parametrize("value", [True, 60, 1.5, "60", "1 fortnight", "", "-1h", "9999999999h", "nan"])
def test_every_duration_is_a_duration(value: object) -> None:
    assert len(DURATIONS) > 6
    for place, section, key in DURATIONS:
        refusal_of(place, section, key, value)


@pytest.mark.parametrize("value", [True, [True]])
def test_true_is_not_a_number_or_a_text(value: object) -> None:
    for place, section, key in NOT_BOOLS:
        refusal_of(place, section, key, value)


def test_every_text_of_a_form_is_refused_with_its_form() -> None:
    found = 0
    for place, section, key in FIELDS:
        for problem in problems_of(section, {key: "\x00 ?"}):
            if problem["type"] == "string_pattern_mismatch":
                found += 1
                located = _Located([{**problem, "loc": (*place, *problem["loc"])}])
                assert "of the form" not in explained(located, Settings), (place, key)  # type: ignore[arg-type]
    assert found > 10


def problems_of(section: type[BaseModel], given: dict[str, object]) -> list[Any]:
    with pytest.raises(ValidationError) as refused:
        section.model_validate({**given, "unknown": 0})
    return list(refused.value.errors())


class _Located:
    """The problems of a section, as those of the whole configuration."""

    def __init__(self, problems: list[Any]) -> None:
        self._problems = problems

    def errors(self) -> list[Any]:
        return self._problems


REFUSED = {
    "a negative seed": ("[metrics]\nseeds = [-1]", "expected a value of at least 0, not -1"),
    "a temperature that flattens all": ("[metrics]\ntemperature = 1e300", "at most 1000"),
    "an unknown source of labels": (
        'label_source = "complaints"',
        "label_source: expected 'random' or 'selected'",
    ),
    "a negative number of jobs": ("replay_jobs = -1", "replay_jobs: expected a value of at least 0"),
    "a learning rate above one": ("learning_rate = 3", "learning_rate: expected a value of at most 1"),
    "half a second": ('[monitor]\nevery = "1500ms"', "[monitor]: 'every' is not in whole seconds: round it"),
    "days before the year 1": ("[monitor]\narchive_days = 10000000", "expected a value of at most 36525"),
    "a seed that torch does not take": (f"seed = {2**63}", "expected a value below"),
    "no cron line": ('[monitor]\ncron = "hourly"', "cron = 'hourly' is not a schedule"),
    "a page without a scheme": (
        '[incidents]\npage = "x"',
        "[incidents] page: expected 'https://…' or 'http://…', not 'x'",
    ),
    "an address without a port": ('[scoring]\naddress = "x"', "expected 'auto' or 'HOST:PORT', not 'x'"),
    "a link that leaves the registry": ('link = "../x"', "[redistill] link: expected letters, digits"),
    "an empty secret": (f'{WEBHOOK}""', "secret: expected a value that is not empty"),
    "threads that end the process": (
        "[scoring]\nthreads = 100000",
        "threads: expected a value of at most 1024",
    ),
    "an empty folder": ('[monitor]\narchive = ""', "[monitor] archive: expected a path, not ''"),
    "a blank cache": ('[s3]\ncache = " "', "[s3] cache: expected a path, not ' '"),
    "no host, which is every host": ('[web]\nhost = ""', "[web] host: expected a string that is not empty"),
    "a name of no folder": (f'[monitor]\nname = "{"x" * 201}"', "name: expected at most 200 letters, digits"),
    "a rule's name that PostgreSQL does not store": (
        '[[rules]]\nname = "a\\u0000"\nmetric = "kl"\nabove = 1',
        r"[[rules]] number 1, name: expected printable characters, not 'a\x00'",
    ),
    "a channel's name that moves the cursor": (
        '[[alerts]]\nkind = "log"\nname = "\\u001b[A"',
        "[[alerts]] number 1, name: expected printable characters",
    ),
    "a severity that is none": (
        '[[alerts]]\nkind = "log"\nseverities = ["error", "warn"]',
        "[[alerts]] number 1, severities.1: expected 'info', 'warning', 'error' or 'critical', not 'warn'",
    ),
    "history of a day": ('[database]\nkeep = "1d"', "keep: expected a value of at least 30d"),
    "the count of one model": (
        "[economics]\nright = [9000]",
        "[economics] right: expected a list of at least 2, not [9000]",
    ),
    "the counts of three models": (
        "[economics]\nlate = [1, 2, 3]",
        "[economics] late: expected a list of at most 2, not [1, 2, 3]",
    ),
    "more than all requests": (
        "[economics]\nright = [9000, 10001]",
        "[economics] right.1: expected a value of at most 10000, not 10001",
    ),
    "a negative price": ("[economics]\nlate_cost = -1", "late_cost: expected a value of at least 0"),
    "a most likely cost below the lowest": (
        "[economics]\nharm_cost = 1\nharm_cost_low = 2",
        "[economics] harm_cost_low = 2, harm_cost = 1 and harm_cost_high = 2 are not in ascending order",
    ),
    "a difference that no row explains": (
        "[economics]\nright = [9000, 8500]",
        "[economics] discordant = 240 is below 500, the difference of the two counts in 'right': set it to",
    ),
    "critical misroutes with two prices": (
        '[economics]\nharm = "cost-matrix"\ncritical_cost = 5',
        "both price critical misroutes: remove critical_cost",
    ),
    "a blank secret": (f'{WEBHOOK}" \\n"', "secret: expected a value that is not empty"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_value_that_cannot_work_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RedistillError) as refusal:
        loaded(tmp_path, f"{text}\n")
    assert message in str(refusal.value)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("key", ["", " \t"])
def test_the_key_of_the_sample_is_not_empty(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[traffic\] key: expected a string that is not empty"):
        load(with_traffic(tmp_path, f'uri = "logs"\nkey = "{key}"\n'.replace("\t", "\\t")))


@pytest.mark.parametrize("field", ['id = "text"', 'text = "id"', 'time = "id"', 'text = "time"'])
def test_an_id_is_neither_the_text_nor_the_time(field: str, tmp_path: Path) -> None:
    """Ids are logged and archived as they are."""
    with pytest.raises(ConfigError, match=r"\[traffic\]: '\w+' and '\w+' are both '\w+': name the field of"):
        load(with_traffic(tmp_path, f'uri = "logs"\n{field}\n'))


def test_an_empty_log_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[traffic\] uri: expected a path, not ''"):
        load(with_traffic(tmp_path, 'uri = ""\n'))


def test_a_secret_loses_the_line_feed_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING", "s3cret\n")
    monkeypatch.setenv("REDISTILL__TRAFFIC__KEY", "k3y\n")
    settings = loaded(tmp_path, f'{WEBHOOK}"$SIGNING"\n')
    assert settings.alerts[0].secret.get_secret_value() == "s3cret"  # type: ignore[union-attr]
    assert settings.traffic.key == "k3y"


@pytest.mark.parametrize("key", ["secret", "url", "student_init"])
def test_an_empty_variable_is_not_a_value(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", " ")
    text = f'{key} = "$EMPTY"\n'
    with pytest.raises(ConfigError, match="the environment variable EMPTY is empty: export it"):
        loaded(tmp_path, text)


def test_two_dollars_are_a_dollar(tmp_path: Path) -> None:
    traffic = load(with_traffic(tmp_path, 'uri = "$$logs"\nid = "$$id"\nkey = "$$$"\n')).traffic
    assert (traffic.id, traffic.uri, traffic.key) == ("$id", tmp_path / "$logs", "$$")


@pytest.mark.parametrize("value", ["$", "$NOT_SET"])
def test_one_dollar_names_a_variable(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"write '$${value.removeprefix('$')}' for the text")):
        load(with_traffic(tmp_path, f'uri = "logs"\nid = "{value}"\n'))


@pytest.mark.parametrize("name", ["a?b", "50%20off", "a#b", "a&b=c", "plain"])
def test_the_database_is_in_the_folder_of_the_file_whatever_its_name(name: str, tmp_path: Path) -> None:
    from sqlalchemy import make_url  # noqa: PLC0415

    (tmp_path / name).mkdir()
    settings = loaded(tmp_path / name)
    assert make_url(settings.database.url).database == str(tmp_path / name / "redistill.db")


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    settings = loaded(tmp_path, '[database]\nurl = "sqlite:///~/r.db"\n')
    assert settings.database.url == f"sqlite:///{tmp_path}/home/r.db"


@pytest.mark.parametrize("uri", ["sqlite:///log.db", "sqlite:///~/log.db"])
def test_a_log_in_sqlite_is_found_as_the_database_is(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    traffic = load(with_traffic(tmp_path, f'kind = "sql"\nuri = "{uri}"\ntable = "t"\n')).traffic
    assert isinstance(traffic, SqlTraffic)
    assert traffic.uri.get_secret_value() == f"sqlite:///{tmp_path}/log.db"


#: URLs that end in a piece of the password, up to the last @ or as a whole.
PASSWORDS = (
    "user:p@ssw0rd@host/name",
    "user:pa/ss@w0rd@host/name",
    "user:pa@ss:w0rd@host/name",
    "user:@w0rd@host/name",
    "user:pass?a@w0rd@host/name",
    "user:pass@x?w0rd@host/name",
    "host:port/name?password=w0rd",
    "host:5432/name?password=s3@w0rd",
)


@pytest.mark.parametrize("password", PASSWORDS)
def test_no_piece_of_a_password_is_shown(password: str, tmp_path: Path) -> None:
    url = f"postgresql://{password}"
    own = written(tmp_path, f'{SMALLEST}[database]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=r"\[database\] url: .*(%40|expected)") as refused:
        load(own)
    logs = with_traffic(tmp_path, f'kind = "sql"\nuri = "{url}"\ntable = "t"\n')
    with pytest.raises(ConfigError, match=r"\[traffic\] uri: .*(%40|expected)") as also_refused:
        load(logs)
    assert "w0rd" not in f"{refused.value}{also_refused.value}"


def test_an_at_sign_in_a_password_is_written_in_percent(tmp_path: Path) -> None:
    url = "postgresql://user:p%40ss@host/name"
    assert loaded(tmp_path, f'[database]\nurl = "{url}"\n').database.url == url


def test_an_unknown_function_of_a_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"calls join_all\(\), which is not a function of JMESPath"):
        load(with_traffic(tmp_path, 'uri = "logs"\ntext = "body.join_all(\' \', messages)"\n'))
    traffic = load(with_traffic(tmp_path, 'uri = "logs"\ntext = "join(\' \', messages)"\n')).traffic
    assert traffic.text == "join(' ', messages)"


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("s3://log-1", "%Y/%m/%d/%H/"),
        ("s3://log-1/", "%Y/%m/%d/%H/"),
        ("s3://log-1/app", "app/%Y/%m/%d/%H/"),
        ("s3://log-1//", "/%Y/%m/%d/%H/"),
        ("s3://log-1//app/", "/app/%Y/%m/%d/%H/"),
        ("s3://log-1/app//", "app//%Y/%m/%d/%H/"),
    ],
)
def test_keys_that_begin_with_a_slash_can_be_named(uri: str, prefix: str, tmp_path: Path) -> None:
    traffic = load(with_traffic(tmp_path, f'kind = "s3"\nuri = "{uri}"\n')).traffic
    assert isinstance(traffic, S3Traffic)
    assert traffic.hour_prefix == prefix
