"""All checks of `redistill doctor`, isolated from each other's failures."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from db.errors import RedistillError
from monitor.scoring.placement import ON_CPU, Placement
from redistill.artifacts import artifacts
from redistill.assembly import configure_torch, scoring_placement
from redistill.checks import data, devices, ecs, gates, growth, job_queue, resources, rules
from redistill.checks.calibration import calibration
from redistill.checks.economics import economics
from redistill.checks.result import CheckResult, ok, problem, run_check
from redistill.checks.tls import tls
from redistill.configuration.settings import Settings, load
from redistill.configuration.source import Source
from redistill.display.progress import ShowProgress


def all_results(config: Source, now: datetime, progress: ShowProgress) -> Iterator[CheckResult]:
    """Yield the results, in the order in which one would fix the problems."""
    try:
        settings = load(config)
    except RedistillError as error:
        yield problem("configuration", str(error))
        return
    configure_torch(settings)
    yield ok("configuration", str(config))
    yield from _database(settings, now)
    yield from run_check("cluster", lambda: resources.cluster(settings))
    found = list(devices.devices(settings))
    yield from found
    placement = scoring_placement(settings) if all(result.ok for result in found) else None
    yield from _models_and_data(settings, now, progress, placement=placement)
    yield from run_check("folders", lambda: resources.folders(settings))
    yield from run_check("economics", lambda: economics(settings))
    yield from run_check("channels", lambda: resources.channels(settings))
    yield from run_check("web", lambda: resources.web(settings))


def _database(settings: Settings, now: datetime) -> Iterator[CheckResult]:
    results = list(run_check("database", lambda: resources.database(settings)))
    yield from results
    yield from run_check("tls", lambda: tls(settings))
    if all(result.ok for result in results):
        yield from run_check("monitor", lambda: resources.monitor_name(settings))
        yield from run_check("queue", lambda: job_queue.open_job(settings))
        yield from run_check("shadow", lambda: job_queue.shadow(settings))
        yield from run_check("registry id", lambda: resources.registry_id(settings))
        yield from run_check("archive owner", lambda: resources.archive_owner(settings))
        yield from run_check("current", lambda: resources.link(settings))
        yield from run_check("history", lambda: growth.history(settings, now))
        yield from run_check("versions", lambda: growth.versions(settings))
    yield from run_check("sqs", lambda: job_queue.sqs_queue(settings))
    yield from run_check("ecs", lambda: ecs.worker_tasks(settings))


def _models_and_data(
    settings: Settings, now: datetime, progress: ShowProgress, *, placement: Placement | None
) -> Iterator[CheckResult]:
    """Check models and data; without a placement on the CPU, and not against the gates."""
    teachers, students = data.LoadedModels(), data.LoadedModels()
    check = partial(data.model, opener=artifacts(settings, progress), placement=placement or ON_CPU)
    yield from run_check("teacher", partial(check, "teacher", settings.teacher.uri, loaded=teachers))
    yield from run_check("student", partial(check, "student", settings.student.uri, loaded=students))
    matched: list[CheckResult] = []
    if teachers and students:
        matched += run_check("labels", lambda: data.labels(settings, teachers[0], students[0]))
    yield from matched
    loaded = [*teachers, *students]
    if not loaded:
        yield problem("data", "not checked, because the labels come from the models: fix the models first")
        yield from run_check("rules", lambda: rules.in_force(settings, (), ()))
        return
    names, samples = loaded[0].labels, data.NewestSample()
    yield from run_check("traffic", lambda: data.traffic(settings, names, now, samples))
    yield from run_check("rules", lambda: rules.in_force(settings, names, samples))
    labelled = list(run_check("labelled data", lambda: data.labelled(settings, names)))
    yield from labelled
    if all(result.ok for result in labelled):
        yield from run_check("fence", lambda: data.fenced(settings, names, samples))
    yield from run_check("calibration", lambda: calibration(settings, now))
    if matched and placement is not None and all(result.ok for result in (*matched, *labelled)):
        yield from run_check("gates", lambda: gates.gates(settings, teachers[0], progress))
