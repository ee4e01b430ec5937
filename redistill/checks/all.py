"""Every check, each on its own: one that fails keeps no other from being made."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from db.errors import RedistillError
from redistill.assembly import use_machine
from redistill.checks import data, ecs, gates, job_queue, places, rules
from redistill.checks.result import CheckResult, attempt, bad, good
from redistill.configuration.settings import Settings, load
from redistill.display.progress import ShowProgress


def all_results(config: Path, now: datetime, progress: ShowProgress) -> Iterator[CheckResult]:
    """Yield what a cycle and a re-distillation need, in the order in which one repairs it."""
    try:
        settings = load(config)
    except RedistillError as error:
        yield bad("configuration", str(error))
        return
    use_machine(settings)
    yield good("configuration", str(config))
    yield from _database(settings)
    yield from attempt("cluster", lambda: places.cluster(settings))
    yield from _models_and_data(settings, now, progress)
    yield from attempt("folders", lambda: places.folders(settings))
    yield from attempt("channels", lambda: places.channels(settings))
    yield from attempt("web", lambda: places.web(settings))


def _database(settings: Settings) -> Iterator[CheckResult]:
    found = list(attempt("database", lambda: places.database(settings)))
    yield from found
    if all(result.ok for result in found):
        yield from attempt("queue", lambda: job_queue.open_job(settings))
        yield from attempt("current", lambda: places.link(settings))
    yield from attempt("sqs", lambda: job_queue.sqs_queue(settings))
    yield from attempt("ecs", lambda: ecs.worker_tasks(settings))


def _models_and_data(settings: Settings, now: datetime, progress: ShowProgress) -> Iterator[CheckResult]:
    teachers, students = data.Loaded(), data.Loaded()
    yield from attempt("teacher", lambda: data.model("teacher", settings.teacher.uri, teachers))
    yield from attempt("student", lambda: data.model("student", settings.student.uri, students))
    matched: list[CheckResult] = []
    if teachers and students:
        matched += attempt("labels", lambda: data.labels(settings, teachers[0], students[0]))
    yield from matched
    known = [*teachers, *students]
    if not known:
        yield bad("data", "not looked at, since the labels come from the models")
        yield from attempt("rules", lambda: rules.in_force(settings, (), ()))
        return
    names, looked = known[0].labels, data.Looked()
    yield from attempt("traffic", lambda: data.traffic(settings, names, now, looked))
    yield from attempt("rules", lambda: rules.in_force(settings, names, looked))
    labelled = list(attempt("labelled data", lambda: data.labelled(settings, names)))
    yield from labelled
    yield from attempt("calibration", lambda: data.calibration(settings))
    if matched and all(result.ok for result in (*matched, *labelled)):
        yield from attempt("gates", lambda: gates.gates(settings, teachers[0], progress))
