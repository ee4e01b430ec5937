"""docs/runbook.md has a section for whatever can page somebody, and says what there is to say."""

import re
from pathlib import Path

import pytest

from db.queue import OPEN
from db.states import IncidentKind, JobStatus, OrderReason
from redistill.commands import COMMANDS

DOC = (Path(__file__).parents[3] / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^##+ (\S+)\n(.*?)(?=^##|\Z)", DOC, re.MULTILINE | re.DOTALL))


def test_each_kind_of_incident_and_each_end_of_a_job_has_a_section_and_nothing_else_has() -> None:
    ends = {status.value for status in JobStatus if status not in OPEN}
    assert set(SECTIONS) == {kind.value for kind in IncidentKind} | ends | {"Jobs"}


@pytest.mark.parametrize("kind", list(IncidentKind))
def test_a_section_says_what_it_means_where_to_look_and_what_to_do(kind: IncidentKind) -> None:
    for words in ("**Meaning:**", "**Diagnosis:**", "**Action:**"):
        assert words in SECTIONS[kind], words


def test_each_reason_for_no_order_that_a_page_can_give_is_there() -> None:
    never_told = {OrderReason.ORDERED, OrderReason.NOT_LATEST}
    missing = [reason for reason in OrderReason if f"`{reason}`" not in DOC]
    assert set(missing) <= never_told


def test_every_command_that_it_names_exists() -> None:
    assert set(re.findall(r"`redistill ([a-z]+)", DOC)) <= set(COMMANDS)
