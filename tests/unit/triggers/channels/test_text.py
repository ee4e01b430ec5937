"""A stored message, as people read it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import IncidentKind
from tests.support.records.messages import make_document, make_odd_document
from triggers.channels.keys import fitting
from triggers.channels.slack import escaped
from triggers.channels.text import printable, shortened, units, view_of, written
from triggers.channels.trial_message import trial


def text_of(**changes: Any) -> str:  # noqa: ANN401 - any JSON value
    return written(view_of(json.dumps(make_document(**changes))))


def test_a_message_in_plain_text() -> None:
    assert text_of() == (
        "FIRING: drift (error), mangaassist\n"
        "agreement 0.924 below 0.95 for 3 cycles; ordered: re-distillation with alpha 0.7 -> 0.6\n"
        "\n"
        "since: 2026-11-24 09:00 UTC\n"
        "window: 2026-11-24 10:00 UTC to 2026-11-24 11:00 UTC, cycle 12\n"
        "numbers: agreement 0.924 [0.912, 0.935], breach below 0.95: fired, 3 in a row (low-agreement)\n"
        "  kl 0.08 [0.066, 0.095], breach above 0.15: within (high-kl)\n"
        "intents that differ most: returns: agreement 0.61 [0.55, 0.67] on 14.0% of the requests\n"
        "  faq: agreement 0.93 [0.9, 0.95] on 31.0% of the requests\n"
        "most excess disagreement: label returns: 72% of the disagreements, 14.0% of the requests (2.0% in "
        "the reference); it moved\n"
        "what moved: returns 2% -> 14%; label mix PSI 0.210 [0.150, 0.270]\n"
        "ordered: re-distillation, job 3, alpha 0.7 -> 0.6\n"
        "runbook: https://example.org/runbook#drift\n"
        "page: https://example.org/?a=1&b=2"
    )


@pytest.mark.parametrize(
    ("reason", "event", "line"),
    [
        ("at_floor", "firing", "ordered: nothing: at floor"),
        ("cooldown", "firing", "ordered: nothing: cooldown"),
        ("not_wanted", "firing", None),
        ("at_floor", "resolved", None),
    ],
)
def test_what_was_not_ordered_is_told_with_its_reason(reason: str, event: str, line: str | None) -> None:
    """Where a rule asked for it, and while it matters."""
    order = {**make_document()["order"], "reason": reason, "job_id": None}
    lines = [each for each in text_of(order=order, event=event).splitlines() if "ordered: n" in each]
    assert lines == ([line] if line else [])


def test_a_message_of_an_earlier_version_says_when_it_opened() -> None:
    found = {key: value for key, value in make_document().items() if key != "since"}
    assert "\nsince: 2026-11-24 11:10 UTC\n" in written(view_of(json.dumps(found)))


def test_every_message_leads_to_its_section_of_the_runbook() -> None:
    """As a link where the configuration says where that lies; and a test has none."""
    for kind in IncidentKind:
        assert f"runbook: docs/runbook.md#{kind}" in text_of(kind=kind, links={"page": "https://p.example"})
        assert "docs/runbook.md" not in text_of(kind=kind, links={"runbook": f"https://r.example#{kind}"})
    assert "runbook" not in written(
        view_of(trial("a", "mangaassist", datetime(2026, 11, 24, tzinfo=UTC)).payload)
    )


def test_who_has_taken_it_is_told() -> None:
    assert "\nacknowledged by: ada\n" in text_of(event="acknowledged", by="ada")
    assert "acknowledged by" not in text_of()


def test_what_a_candidate_reached_is_told_with_the_thresholds_of_the_gates() -> None:
    gates: list[dict[str, Any]] = [
        {
            "gate": "accuracy",
            "dataset": "test",
            "value": 0.893,
            "low": 0.885,
            "high": 0.901,
            "result": "fail",
        },
        {"gate": "ece", "dataset": "test", "value": None, "result": "fail", "incumbent_value": None},
        {"gate": "f1", "dataset": "test", "value": 0.8, "result": "waived", "incumbent_value": 0.75},
        {"gate": "recall", "dataset": "test", "value": 0.95, "result": "pass", "incumbent_value": 0.75},
    ]
    shown = text_of(gates=[{**gate, "threshold": 0.905} for gate in gates])
    assert "\ngates: accuracy (test) 0.893 [0.885, 0.901] against 0.905: fail\n" in shown
    assert "\n  ece (test) not measured against 0.905: fail\n" in shown
    assert "\n  f1 (test) 0.8 against 0.905 (incumbent 0.75): waived\n" in shown
    assert "\n  recall (test) 0.95 against 0.905: pass\n" in shown


def test_a_message_without_numbers_is_whole() -> None:
    """As of a cycle that failed; a value that was not measured is left out."""
    rules = [{**make_document()["rules"][0], "value": None}]
    order = {"reason": "not_wanted", "job_id": None, "alpha_from": "0.7", "alpha_to": "0.7", "evidence": None}
    shown = text_of(rules=rules, labels=[], slices=[], moved=None, links={}, order=order)
    assert shown.splitlines()[3:] == [
        "since: 2026-11-24 09:00 UTC",
        "window: 2026-11-24 10:00 UTC to 2026-11-24 11:00 UTC, cycle 12",
        "runbook: docs/runbook.md#drift",
    ]


def test_every_fact_is_lines_without_breaks_of_their_own() -> None:
    found = view_of(json.dumps(make_odd_document()))
    texts = [found.title, found.summary, *(line for fact in found.facts for line in fact.lines)]
    assert all(text == printable(text) for text in texts)
    assert all(each.isprintable() or each == "\u200d" for text in texts for each in text)


@given(st.text(), st.integers(1, 40))
def test_a_shortened_text_is_its_beginning_and_never_too_long(text: str, limit: int) -> None:
    cut = shortened(text, limit)
    assert units(cut) <= limit
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


@given(st.text(alphabet="a&<>😀 ", max_size=200), st.integers(5, 60))
def test_an_escaped_text_is_never_too_long_nor_cut_inside_a_sign(text: str, limit: int) -> None:
    """It reads back as the beginning of what was written, and holds nothing that Slack acts on."""
    cut = escaped(text, limit)
    assert units(cut) <= limit
    assert "<" not in cut
    assert ">" not in cut
    back = cut.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert back == text or (back.endswith("…") and text.startswith(back[:-1]))


@given(st.text(max_size=300), st.text(max_size=300))
def test_a_fitting_key_is_allowed_everywhere_and_still_tells_incidents_apart(one: str, other: str) -> None:
    keys = fitting(one, 128), fitting(other, 128)
    assert all(0 < len(key) <= 128 and key.isascii() and " " not in key for key in keys)
    assert (keys[0] == keys[1]) is (one == other)
