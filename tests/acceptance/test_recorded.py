"""Cycles on the answers that the service recorded: the same numbers, and an alarm when they are skewed."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db.tables import cycles, incidents, jobs, rule_outcomes
from monitor.archive import files
from monitor.scoring.batches import score
from monitor.scoring.models import load
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World

Row = dict[str, Any]


def record(site: Site, student: Path, change: Callable[[int, Row], None]) -> Path:
    """The site's log with the logits of its student in each usable request."""
    model = load(student)
    folder = site.folder / "recorded"
    folder.mkdir()
    for number, path in enumerate(sorted(site.traffic.iterdir())):
        lines = gzip.decompress(path.read_bytes()).splitlines()
        rows = [json.loads(line) for line in lines if line.startswith(b'{"id": "r-')]
        texts = [row["text"] for row in rows]
        logits = score(model, texts, tokens_per_batch=512, stopped=never_stopped, progress=lambda _done: None)
        for row, answer in zip(rows, logits.tolist(), strict=True):
            row["student_logits"] = answer
            del row["student_label"]
            change(number, row)
        (folder / path.name).write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode(), mtime=0))
    return folder


@pytest.fixture(scope="module")
def site(world: World, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("recorded")
    return make_site(
        folder / "site",
        world,
        hours(healthy=4, drifted=0),
        url="sqlite:///unused.db",
        student={"scores": "recorded", "rescored": 100},
    )


def shifted(number: int, row: Row) -> None:
    """In the second and third hour the service has the labels in another order."""
    if number in {1, 2}:
        row["student_logits"] = row["student_logits"][1:] + row["student_logits"][:1]


def test_recorded_answers_give_the_numbers_and_skew_is_alarmed(
    site: Site, world: World, tmp_path: Path
) -> None:
    log = record(site, world.student, shifted)
    by_asking: dict[str, dict[str, Any]] = {"traffic": {"uri": log}, "student": {"scores": "model"}}
    with rerun(site, tmp_path / "model", **by_asking) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots[:1], never_stopped)
        (by_model,) = stored(engine, cycles)
    with rerun(site, tmp_path / "log", traffic={"uri": log}) as (settings, engine):
        assert [rule.name for rule in settings.rules] == ["low-agreement", "high-kl", "serving-skew"]
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        found = stored(engine, cycles)
        fired = [row["fired"] for row in stored(engine, rule_outcomes) if row["rule"] == "serving-skew"]
        story = [
            (row["state"], row["cycle_id"])
            for row in stored(engine, incidents)
            if row["kind"] == "serving-skew"
        ]
        assert all(job["rule"] != "serving-skew" for job in stored(engine, jobs))
    assert by_model["n_recorded"] is None
    assert found[0]["agreement_exact"] == by_model["agreement_exact"]
    assert found[0]["kl"] == pytest.approx(by_model["kl"], rel=1e-4)
    assert [(row["n_recorded"], row["n_rescored"]) for row in found] == [
        (row["n_scored"], 100) for row in found
    ]
    assert found[0]["serving_skew"] == found[3]["serving_skew"] == 0
    assert found[1]["serving_skew"] > 0.5
    assert fired == [False, True, True, False]
    assert story == [("resolved", found[1]["id"])]
    sample = files.read(found[1]["archive"], sha256=found[1]["archive_sha256"])
    assert sample.served is not None
    again = sample.served.skew(sample.strata)
    assert again.skew is not None
    assert (again.n_rescored, again.skew.estimate) == (100, found[1]["serving_skew"])


def test_requests_whose_answers_were_not_recorded_are_scored(site: Site, tmp_path: Path) -> None:
    """A log without logits is scored as ever; the missing check leaves the rule without a value."""
    results = []
    for scores in ("model", "recorded"):
        with rerun(site, tmp_path / scores, student={"scores": scores}) as (settings, engine):
            assembly.slot_runner(settings, engine, show_nothing).run(site.slots[:1], never_stopped)
            results += stored(engine, cycles)
            values = [row["value"] for row in stored(engine, rule_outcomes) if row["rule"] == "serving-skew"]
    by_model, by_log = results
    assert {name: by_log[name] for name in ("agreement_exact", "kl", "js")} == {
        name: by_model[name] for name in ("agreement_exact", "kl", "js")
    }
    assert (by_log["n_recorded"], by_log["n_rescored"], by_log["serving_skew"]) == (0, 0, None)
    assert values == [None]
