"""Odd values of keys, damaged files and odd variables: they load, or an error says what is wrong."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from db.errors import RedistillError
from distill.training.fields import LabelledFields
from monitor.archive.redaction import redactor
from monitor.settings import FilesTraffic, MonitorSection
from monitor.sources.formats.records import RecordParser
from redistill.configuration.settings import load, load_rules
from redistill.configuration.source import VARIABLE, Source
from redistill.configuration.template import Answers, render
from tests.fuzz.inputs import TEXTS, changed, edited, inputs

TEMPLATE = render(
    Answers(
        folder=Path("/srv"),
        name="router",
        every="1h",
        traffic=None,
        format="jsonl",
        fields=None,
        teacher=None,
        student=None,
        train=None,
        validation=None,
        test=None,
        labelled_fields=LabelledFields(text="utterance", label="intent"),
        rare_labels=("Refund",),
        epochs=10,
    )
)
MORE = """
[queue]
kind = "sqs"
url = "https://sqs.eu-west-1.amazonaws.com/123456789012/redistill.fifo"
[ecs]
cluster = "redistill"
task_definition = "redistill-worker"
subnets = ["subnet-0123456789abcdef0"]
launch_type = "FARGATE"
[[alerts]]
kind = "pagerduty"
name = "pages"
routing_key = "R0ut1ngK3yR0ut1ngK3yR0ut1ngK3y00"
severities = ["error", "critical"]
[[alerts]]
kind = "slack"
name = "talk"
url = "https://hooks.example.org/services/T/B/s3cret"
[[alerts]]
kind = "sns"
name = "topic"
topic = "arn:aws:sns:eu-west-1:123456789012:redistill"
[[alerts]]
kind = "webhook"
name = "hook"
url = "https://example.org/hook"
secret = "a secret"
[incidents]
keep_firing_for = "2h"
[[rules]]
name = "slow"
metric = "agreement"
below = 0.95
mode = "sequential"
false_alarm_rate = 0.05
action = "alert"
[scoring]
engine = "ray"
address = "head:6379"
[s3]
server_side_encryption = "aws:kms"
kms_key = "alias/redistill"
[[metrics.misroutes]]
true = "Refund"
predicted = "*"
cost = 20
critical = true
"""
LOG_CHANNEL = '[[alerts]]\nkind = "log"\nname = "log"\n'
WHOLE: dict[str, Any] = tomllib.loads(TEMPLATE + MORE)
SQL = {**WHOLE, "traffic": {"kind": "sql", "uri": "sqlite:///log.db", "table": "requests"}}
S3 = {**WHOLE, "traffic": {"kind": "s3", "uri": "s3://bucket/logs/%Y/%m/%d/%H/", "late": "5m"}}
KEYS = [
    f"REDISTILL__{section}__{key}".upper()
    for section, keys in WHOLE.items()
    if isinstance(keys, dict)
    for key in keys
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration") / "redistill.toml"


def refused(read: Any, source: object) -> RedistillError | None:  # noqa: ANN401 - any loader
    try:
        read(source)
    except RedistillError as error:
        return error
    return None


def check(read: Any, source: object) -> None:  # noqa: ANN401 - any loader
    """It reads the source, or raises an error in one line that shows no traceback and names the file."""
    problem = refused(read, source)
    if problem is not None:
        assert problem.exit_code == 2
        assert len(str(problem).splitlines()) == 1
        assert "pydantic" not in str(problem)


@inputs(20_000)
@given(document=edited([WHOLE, SQL, S3]))
def test_values_of_keys(document: object) -> None:
    sections = document if isinstance(document, dict) else {"monitor": document}
    content = "".join(
        f"{toml(key)} = {toml(value)}\n" for key, value in sections.items() if value is not None
    )
    with variables({VARIABLE: content}):
        check(load, Source(file=None))


@inputs(10_000)
@given(content=changed([TEMPLATE.encode(), (TEMPLATE + MORE).encode()]))
def test_damaged_files(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    check(load, file)
    check(load_rules, file)


@inputs(8_000)
@given(
    st.dictionaries(st.sampled_from(KEYS) | TEXTS.map("REDISTILL__{}".format), TEXTS, min_size=1, max_size=3)
)
def test_variables(file: Path, overrides: dict[str, str]) -> None:
    file.write_text(TEMPLATE, encoding="utf-8")
    with variables(overrides):
        check(load, file)


EXPRESSIONS = (
    *(
        b"a.b",
        b"to_number(a)",
        b"a[0].b || c",
        b"sort_by(a, &b)[-1]",
        b"max(a)",
        b"join('-', a)",
        b"to_string(@)",
    ),
    *(
        b"ceil(a)",
        b"a[?b > `1`]",
        b"{x: a, y: b}",
        b'"a-b"',
        b"not_null(a, b)",
        b"avg(a)",
        b"map(&c, a)",
        b"a | b",
    ),
)


@pytest.mark.filterwarnings("ignore:deprecated string literal:PendingDeprecationWarning")
@inputs(10_000)
@given(
    name=changed(EXPRESSIONS) | st.sampled_from(EXPRESSIONS),
    record=edited([{"a": [{"b": 1, "c": "x"}], "b": 2}]),
)
def test_jmespath(name: bytes, record: object) -> None:
    """Of any expression that the configuration accepts, and of any record."""
    with suppress(ValidationError):
        section = FilesTraffic.model_validate({"uri": "log", "text": name.decode(errors="replace")})
        assert RecordParser(section, None).parse_row(record)


PATTERNS = (
    rb"CUST-\d+",
    rb"(?i)[a-z]{2,5}\b",
    rb"(?P<x>a|b)(?=c)",
    rb"\p{Lu}+(?<!x)",
    rb"[[a-z]--[aeiou]]",
    rb"(?:a{e<=1})",
)


@inputs(5_000)
@given(pattern=changed(PATTERNS))
def test_own_patterns(pattern: bytes) -> None:
    with suppress(ValidationError):
        section = MonitorSection.model_validate({"redact_patterns": [pattern.decode(errors="replace")]})
        assert redactor(section)("CUST-17 where is it? éÀ" * 3)


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set what an environment can hold."""
    usable = {
        name: value.encode(errors="replace").decode()
        for name, value in values.items()
        if name.isascii() and name.isprintable() and "=" not in name and "\0" not in value
    }
    before = dict(os.environ)
    os.environ.update(usable)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def toml(value: object) -> str:
    """A value as TOML, which has no null and no halves of characters."""
    if isinstance(value, dict):
        pairs = (f"{toml(key)} = {toml(each)}" for key, each in value.items() if each is not None)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value if each is not None) + "]"
    if isinstance(value, str):
        return json.dumps(value.encode(errors="replace").decode()).replace("\x7f", "\\u007f")
    return str(value).lower()
