"""Which requests disagree, by the words of their texts: `archive slices`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db.records import Archive
from monitor.archive import files
from monitor.archive.sample import ScoredSample
from monitor.sources.request import Request
from monitor.strata import Strata
from tests.support.records.cycles import Cycles
from tests.support.records.factories import make_input_drift, make_measurement, make_result, make_slot
from tests.support.records.samples import make_sample
from tests.support.world.project import run, said

FILLERS = ("please", "today", "my", "order", "where", "is", "the", "parcel", "refund", "soon")


def sample_of(index: int, *, n: int = 600, new: int = 0) -> ScoredSample:
    """Of the requests some ask for a voucher, and the student never knows them; the others disagree in 2%."""
    rng = np.random.default_rng(index)
    sample = make_sample(n, end=make_slot(index).window_end, monitor="mangaassist", seed=index)
    teacher = rng.integers(0, 2, n)
    teacher[:new] = 1
    wrong = rng.random(n) < 0.02
    wrong[:new] = True
    texts = [" ".join(rng.choice(FILLERS, 5)) for _ in range(n)]
    texts[:new] = [f"{text} voucher\u202e code\x1b[2J {at}\nend" for at, text in enumerate(texts[:new])]
    texts[0] += " x" * 300
    return replace(
        sample,
        requests=tuple(
            Request(id=each.id, time=each.time, text=text)
            for each, text in zip(sample.requests, texts, strict=True)
        ),
        strata=Strata.one(n),
        teacher_logits=np.eye(2, dtype=np.float32)[teacher],
        student_logits=np.eye(2, dtype=np.float32)[np.where(wrong, 1 - teacher, teacher)],
    )


@pytest.fixture
def drifted(cycles: Cycles, project: Path) -> Cycles:
    """A healthy cycle, which is the reference of the next one; neither has what a measurement would store."""
    for index, sample in enumerate([sample_of(0), sample_of(1, new=60)]):
        written = files.write(project / "archive", sample)
        measured = make_measurement(disagreements=72 * index, n=600)
        if index:
            measured = replace(measured, input_drift=make_input_drift())
        cycles.conclude(index, make_result(measurement=measured, archive=Archive(**vars(written))))
    return cycles


def slices_of(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("archive", "slices", *arguments, "--json").stdout)
    return found


@pytest.mark.usefixtures("drifted")
def test_the_newest_sample_is_ranked_with_its_words_and_examples() -> None:
    found = slices_of("--examples", "1")
    assert (found["cycle_id"], found["reference_cycle_id"], found["n"]) == (2, 1, 600)
    by_kind = {each["kind"]: each for each in reversed(found["slices"])}
    assert by_kind["label"]["name"] == "promotion"
    topic = by_kind["word"]
    assert {topic["name"], *topic["also"]} >= {"voucher", "code", "end"}
    assert topic["now"]["rate"] == 1
    assert topic["reference"] == {"share": 0, "rate": 0, "excess": 0}
    assert topic["q_moved"] < 0.001
    assert topic["growth"] == topic["now"]["excess"]
    (example,) = topic["examples"]
    assert (example["teacher_label"], example["student_label"]) == ("promotion", "faq")
    assert len(example["text"]) <= 120


@pytest.mark.usefixtures("drifted")
def test_texts_that_would_steer_a_terminal_are_inert() -> None:
    shown = run("archive", "slices").stdout
    assert "By label and length" in shown
    assert "By word" in shown
    assert not {"\x1b", "\u202e"} & set(shown)
    assert "promotion -> faq: " in shown
    assert "voucher\ufffd code\ufffd[2J" in shown


@pytest.mark.usefixtures("drifted")
def test_a_cycle_can_be_named_and_texts_left_out() -> None:
    assert slices_of("1")["reference_cycle_id"] is None
    assert all(each["examples"] == [] for each in slices_of("--examples", "0")["slices"])
    assert "Examples" not in run("archive", "slices", "--examples", "0").stdout
    shown = run("archive", "slices", "1").stdout
    assert shown.endswith("No slice disagrees more than the others beyond chance.\n")


def test_a_reference_that_is_gone_is_left_out(drifted: Cycles, project: Path) -> None:
    """And a sample that is gone is an error that names it."""
    del drifted
    oldest, newest = sorted((project / "archive" / "mangaassist").iterdir())
    oldest.unlink()
    assert slices_of()["reference_cycle_id"] is None
    newest.unlink()
    result = run("archive", "slices")
    assert result.exit_code == 1
    assert "cannot be read: there is no such file" in said(result)


def test_a_cycle_without_a_sample_is_refused(cycles: Cycles) -> None:
    result = run("archive", "slices")
    assert (result.exit_code, said(result).partition(":")[0]) == (1, "The monitor has no archived sample")
    cycles.conclude(0)
    assert said(run("archive", "slices", "1")).startswith("Cycle 1 has no archived sample")
    assert run("archive", "slices", "0").exit_code == 2
