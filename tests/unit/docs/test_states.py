"""docs/states.md says what the code says: every value, every meaning, every move."""

import re
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import pytest

from db import outbox, queue
from db import states as states_module
from db.states import (
    CycleStatus,
    DeliveryState,
    IncidentState,
    JobStatus,
    ShadowState,
    TaskState,
    VerdictReason,
)
from triggers.incidents.lifecycle import TRANSITIONS

DOC = (Path(__file__).parents[3] / "docs" / "states.md").read_text(encoding="utf-8")
SOURCE = Path(states_module.__file__).read_text(encoding="utf-8")
ENUMS = {
    name: kind
    for name, kind in vars(states_module).items()
    if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not StrEnum
}
#: Not stored, but read from `models` and `promotions`.
PROMOTION_WORDS = {"recorded", "current", "retired"}
#: Where the modules of the arrows are, if not in db.
PACKAGES = {
    "conclude": "triggers",
    "conclude_quiet": "triggers",
    "announce": "triggers.incidents",
    "ledger": "db.cycles",
    "clock_skew": "db.connection",
    "runs": "db.shadows",
}
DIAGRAMS = {
    "Cycle": {*CycleStatus, VerdictReason.QUIET},
    "Job": set(JobStatus),
    "Worker task": set(TaskState),
    "Shadow": set(ShadowState),
    "Promotion": PROMOTION_WORDS,
    "Incident": set(IncidentState),
    "Delivery": set(DeliveryState),
}


def documented(name: str) -> dict[str, str]:
    """Value → meaning in the table under the heading of an enum."""
    _, _, after = DOC.partition(f"### `{name}`\n")
    table = re.match(r"\s*\| value \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", after)
    assert table is not None, f"docs/states.md has no table under ### `{name}`"
    rows = re.findall(r"^\| `(.+?)` \| (.+) \|$", table[1], re.MULTILINE)
    assert len(rows) == len(table[1].splitlines()), f"a row of {name} is not | `value` | meaning |"
    return dict(rows)


def coded(name: str) -> dict[str, str]:
    """Value → meaning in the comments of the enum's members."""
    (body,) = re.findall(rf"^class {name}\(StrEnum\):\n((?:    .*\n|\n)+)", SOURCE, re.MULTILINE)
    return dict(re.findall(r'^    \w+ = "(.+?)".*?#: (.+)$', body, re.MULTILINE))


def arrows(section: str) -> list[tuple[str, str, str]]:
    """(from, to, words) of each arrow in the section's diagram."""
    _, _, after = DOC.partition(f"\n## {section}\n")
    diagram = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", after.partition("\n## ")[0], re.DOTALL)
    assert diagram is not None, f"docs/states.md has no diagram under ## {section}"
    found = re.findall(r"^    (\S+) --> (\S+?)(?:: (\S+))?$", diagram[1], re.MULTILINE)
    assert len(found) == len(diagram[1].splitlines()), f"a line of {section} is no arrow"
    return found


@pytest.mark.parametrize("name", ENUMS)
def test_a_table_has_every_value_with_the_meaning_of_the_code_and_no_other(name: str) -> None:
    assert set(coded(name)) == set(ENUMS[name]), f"a member of {name} has no #: meaning"
    assert documented(name) == coded(name)


def test_every_table_of_values_is_one_of_an_enum() -> None:
    assert set(re.findall(r"^### `(\w+)`$", DOC, re.MULTILINE)) == set(ENUMS)


def test_every_diagram_is_held_against_the_code() -> None:
    sections = DOC.split("\n## ")[1:]
    assert {text.splitlines()[0] for text in sections if "```mermaid" in text} == set(DIAGRAMS)


@pytest.mark.parametrize(("section", "states"), DIAGRAMS.items())
def test_a_diagram_has_every_state_and_no_other(section: str, states: set[str]) -> None:
    assert {end for start, to, _ in arrows(section) for end in (start, to)} - {"[*]"} == states


def test_the_incident_diagram_has_the_transitions_of_the_code() -> None:
    drawn: dict[IncidentState | None, set[IncidentState | None]] = {
        None: set(),
        **{s: set() for s in IncidentState},
    }
    for start, end, words in arrows("Incident"):
        if words:
            to_state = None if end == "[*]" else IncidentState(end)
            drawn[None if start == "[*]" else IncidentState(start)].add(to_state)
    assert drawn == TRANSITIONS


def test_the_job_diagram_has_the_moves_of_the_code() -> None:
    drawn = {
        (None if start == "[*]" else JobStatus(start), JobStatus(end)): words
        for start, end, words in arrows("Job")
        if end != "[*]"
    }
    assert drawn == {move: f"queue.{name}" for move, name in queue.TRANSITIONS.items()}


def test_the_delivery_diagram_has_the_moves_of_the_code() -> None:
    drawn = {
        (None if start == "[*]" else DeliveryState(start), DeliveryState(end)): words
        for start, end, words in arrows("Delivery")
        if end != "[*]"
    }
    assert drawn == {move: f"outbox.{name}" for move, name in outbox.TRANSITIONS.items()}


@pytest.mark.parametrize("section", DIAGRAMS)
def test_every_move_names_a_function_that_there_is(section: str) -> None:
    for start, end, words in arrows(section):
        if not words:
            assert end == "[*]", f"{start} --> {end} does not say which function makes the move"
            continue
        module, function = words.split(".")
        assert callable(getattr(import_module(PACKAGES.get(module, "db") + f".{module}"), function)), words


@pytest.mark.parametrize("section", DIAGRAMS)
def test_only_a_state_that_nothing_leaves_is_drawn_as_an_end(section: str) -> None:
    drawn = arrows(section)
    ends = {start for start, end, words in drawn if end == "[*]" and not words}
    assert not ends & {start for start, end, _ in drawn if end != "[*]"}
