"""A teacher that is swapped in service: a broken one stops everything, a sound one is distilled from."""

import json
from pathlib import Path

from sqlalchemy import Engine

from db.connection.session import reading
from db.tables import jobs
from db.views import rows
from monitor.scoring.models import fingerprint
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from redistill.status.state import read_state
from tests.support.records.cycles import stored
from tests.support.world.installation import MONITOR, hours, make_site
from tests.support.world.models import make_copy
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World
from triggers.settings import TeacherPolicy

#: The default ones, but for the bound of the divergence: so small are the models of a test.
RULES = [
    {"name": "low-agreement", "metric": "agreement", "below": 0.95, "for_cycles": 3},
    {"name": "high-kl", "metric": "kl", "above": 0.08},
]


def make_renamed(source: Path, directory: Path) -> Path:
    """The same weights under the names of other labels, each the next one's: an error of an export."""
    make_copy(source, directory)
    config = json.loads((directory / "config.json").read_text())
    names = list(config["id2label"].values())
    renamed = [*names[1:], names[0]]
    config["id2label"] = {str(index): name for index, name in enumerate(renamed)}
    config["label2id"] = {name: index for index, name in enumerate(renamed)}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def incident_list(engine: Engine) -> list[tuple[object, object, object]]:
    with reading(engine) as connection:
        found = rows(connection, "incident_history", monitor=MONITOR, order_by="incident_id")
    return [(row["kind"], row["severity"], row["state"]) for row in found]


def test_a_swapped_teacher(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """v1 is known. v2 names labels wrongly: nothing is judged, nothing ordered, a person is called. v3 is
    sound, and its distribution is another: KL, not agreement, orders to distil from it. After three cycles
    it is known.
    """
    site = make_site(tmp_path / "site", world, hours(healthy=9, drifted=0), url=sqlite_url, rules=RULES)
    second = make_renamed(world.teacher, tmp_path / "v2")
    third = make_copy(world.teacher, tmp_path / "v3", noise=0.31, seed=2)
    with rerun(site, tmp_path / "run") as (settings, engine):

        def cycle_with(teacher: Path, *slots: int) -> list[tuple[object, object]]:
            """The verdict's reason and the teacher's health in each of the slots."""
            changed = settings.teacher.model_copy(update={"uri": teacher})
            own = settings.model_copy(update={"teacher": changed})
            runner = assembly.slot_runner(own, engine, show_nothing)
            runner.run([site.slots[index] for index in slots], never_stopped)
            with reading(engine) as connection:
                found = rows(connection, "teacher_history", monitor=MONITOR, order_by="window_end")
                cycles = rows(connection, "cycle_history", monitor=MONITOR, order_by="window_end")
            assert {row["teacher_version"] for row in found[slots[0] :]} == {fingerprint(teacher)}
            return [(cycles[index]["verdict_reason"], found[index]["health"]) for index in slots]

        assert cycle_with(world.teacher, 0, 1, 2, 3) == [
            *[("within_rules", "unknown")] * TeacherPolicy().reference_cycles,
            ("within_rules", "healthy"),
        ]
        assert cycle_with(second, 4) == [("teacher_unhealthy", "unhealthy")]
        assert incident_list(engine) == [("teacher-unhealthy", "critical", "firing")]
        assert stored_jobs(engine) == []

        assert cycle_with(third, 5) == [("rule_fired", "changed")]
        assert incident_list(engine)[:1] == [("teacher-unhealthy", "critical", "resolved")]
        assert set(incident_list(engine)[1:]) == {
            ("drift", "error", "firing"),
            ("teacher-changed", "warning", "firing"),
        }
        (job,) = stored_jobs(engine)
        assert (job[0], job[1]) == ("high-kl", fingerprint(third))
        assert job[2].endswith("for 1 cycle; distillation under teacher drift: the teacher is new")

        assert [health for _, health in cycle_with(third, 6, 7, 8)] == ["changed", "changed", "healthy"]
        assert ("teacher-changed", "warning", "resolved") in incident_list(engine)
        assert len(stored_jobs(engine)) == 1
        with reading(engine) as connection:
            state = read_state(connection, settings.monitor, site.timeline.end, shadow_cycles=3)
        assert state.teacher_health is not None
        assert (state.teacher_health["health"], state.teacher_health["reference_version"]) == (
            "healthy",
            fingerprint(third),
        )


def stored_jobs(engine: Engine) -> list[tuple[str, str, str]]:
    return [(row["rule"], row["teacher_version"], row["reason"]) for row in stored(engine, jobs)]
