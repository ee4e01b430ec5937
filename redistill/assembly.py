"""Assembly of the daemon, the worker and their parts from the settings."""

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from functools import partial
from threading import Event

import numpy as np
import torch
from sqlalchemy import Engine

from db import monitors
from db.accuracy import teacher_calibrations
from db.accuracy.teacher_calibrations import TeacherCalibration
from db.archives import cycle_archives
from db.connection.session import reading
from db.connection.unavailable import UNAVAILABLE
from db.cycles import windows
from db.records import ArchivedCycle, Claim, CycleResult, ObjectVersion, QuietResult, Slot
from distill.attempt import Attempt
from distill.calibration.calibrator import Calibrator
from distill.judgement import Judge
from distill.turns import Turn, Turns
from distill.worker import Worker
from monitor.archive.redaction import redactor
from monitor.clock import utc_now
from monitor.cluster import connected
from monitor.cores import keep_freed_memory, usable_cores
from monitor.cycle import Archived, CycleMeasurer, Show
from monitor.daemon.delivery_threads import Deliveries
from monitor.daemon.loop import Daemon
from monitor.daemon.retention import Retention
from monitor.daemon.slot_runner import CycleEnded, MeasureSlot, SlotRunner, unheard
from monitor.daemon.watchdog import Watchdog
from monitor.reference.baseline import Healthy, Reference
from monitor.scoring.batches import answers_here, score
from monitor.scoring.device import place
from monitor.scoring.on_ray import answers_of_cluster
from monitor.scoring.pair import PairSource
from monitor.scoring.placement import Placement
from monitor.shadow.scorer import ShadowScorer
from monitor.sources.objects import Consumed
from monitor.sources.reading import read_all_here
from monitor.sources.reading_ray import read_all_by_cluster
from monitor.stop import Stopped
from monitor.storage.student_places import StudentPlaces
from redistill.archives import confirm_archives, follow_archives
from redistill.artifacts import artifacts
from redistill.channels import channels
from redistill.configuration.settings import Settings
from redistill.display.progress import ShowProgress, show_nothing
from redistill.process import emf
from triggers.channels.outbox import Outbox
from triggers.conclude import Policy
from triggers.incidents.announce import Audience
from triggers.transports.calls import JobCalls
from triggers.transports.port import JobTransport
from triggers.transports.sql import SqlTransport
from triggers.transports.sqs import SqsTransport
from triggers.worker_tasks.ecs import Ecs
from triggers.worker_tasks.starter import Starter

#: The interval at which the daemon checks whether a slot falls due; it looks into the database less often.
TICK = timedelta(seconds=2)


def policy(settings: Settings) -> Policy:
    """Return the policy that judges cycles."""
    return Policy(
        rules=settings.rules,
        alpha=settings.redistill,
        teacher=settings.teacher,
        audience=audience(settings),
        min_samples=settings.monitor.min_samples,
        max_reject_share=settings.monitor.max_reject_share,
        may_be_found=student_places(settings).may_be_found,
    )


def audience(settings: Settings) -> Audience:
    """Return the recipients of notifications."""
    return Audience(monitor=settings.monitor.name, alerts=settings.alerts, policy=settings.incidents)


def slot_runner(settings: Settings, engine: Engine, show: Show, ended: CycleEnded = unheard) -> SlotRunner:
    """Return the runner of cycles."""
    configure_torch(settings)
    _follow_archives(settings, engine)
    scoring = settings.scoring
    on_cluster = scoring.engine == "ray"
    answers = answers_of_cluster(scoring.address) if on_cluster else answers_here
    measurer = CycleMeasurer(
        monitor=settings.monitor,
        traffic=settings.traffic,
        student=settings.student,
        shadow=ShadowScorer(
            engine=engine,
            places=student_places(settings, show),
            placement=scoring_placement(settings),
        ),
        consumed=_consumed(settings, engine),
        pairs=pair_source(settings, engine, show),
        score=partial(score, tokens_per_batch=scoring.tokens_per_batch, answers=answers),
        read_all=read_all_by_cluster(scoring.address) if on_cluster else read_all_here,
        engine_session=partial(connected, scoring.address) if on_cluster else nullcontext,
        archived=_archived(engine),
        earlier_names=_earlier_names(settings, engine),
        encryption=settings.s3.encryption,
        cache_bytes=scoring.cache_bytes,
        temperature=settings.metrics.temperature,
        reference=Reference(
            healthy=_healthy(engine),
            n_texts=settings.metrics.input_sample,
            seeds=settings.metrics.seeds,
        ),
        calibration=_teacher_calibration(engine),
        labels_are_random=settings.redistill.label_source == "random",
        clock=utc_now,
        show=show,
    )
    measure = _in_own_archive(settings, engine, measurer)
    return SlotRunner(engine, settings.monitor, measure, policy(settings), ended)


def pair_source(settings: Settings, engine: Engine, show: Show) -> PairSource:
    """Return the source of the two models in service."""
    return PairSource(
        engine,
        settings.monitor.name,
        artifacts(settings, show),
        student_places(settings, show),
        teacher=settings.teacher.uri,
        placement=scoring_placement(settings),
    )


def student_places(settings: Settings, show: ShowProgress = show_nothing) -> StudentPlaces:
    """Return the places where the students are."""
    return StudentPlaces(
        artifacts=artifacts(settings, show),
        registry=settings.redistill.registry,
        configured=settings.student.uri,
    )


def scoring_placement(settings: Settings) -> Placement:
    """Return the place of the models of a cycle; on a cluster that is the CPU.

    Raises:
        DeviceMissingError: [scoring] asks for CUDA, and torch finds no GPU.
    """
    scoring = settings.scoring
    device = "cpu" if scoring.engine == "ray" else scoring.device
    return place(device, scoring.precision, section="scoring")


def training_placement(settings: Settings) -> Placement:
    """Return the place of the models of a job.

    Raises:
        DeviceMissingError: [redistill] asks for CUDA, and torch finds no GPU.
    """
    section = settings.redistill
    return place(section.device, section.precision, section="redistill")


def outbox(settings: Settings, engine: Engine) -> Outbox:
    """Return the sender of notifications."""
    return Outbox(
        engine=engine,
        channels=channels(settings.alerts),
        audience=audience(settings),
        rng=np.random.default_rng(),
    )


def daemon(settings: Settings, engine: Engine, show: Show, stop: Event) -> Daemon:
    """Return the daemon, which runs cycles, sends notifications, calls workers and has a watchdog."""
    notifications = outbox(settings, engine)
    deliveries = Deliveries(
        channels={name: partial(notifications.deliver, name) for name in notifications.channels},
        due=notifications.due,
    )
    watchdog = Watchdog(
        engine,
        settings.monitor,
        audience(settings),
        calibration=settings.calibration_watched,
        started_at=utc_now(),
    )
    calls = JobCalls(
        engine=engine,
        monitor=settings.monitor.name,
        transport=job_transport(settings, engine),
        rng=np.random.default_rng(),
    )
    starter = worker_starter(settings, engine)

    def call_workers(now: datetime) -> None:
        calls.call_due(now)
        if starter is not None:
            starter.tend(now)

    runner = slot_runner(settings, engine, show, emf.write if settings.web.emf else unheard)
    clean_up = retention(settings, engine)
    return Daemon(
        runner,
        watchdog,
        deliveries,
        call_workers,
        tick=TICK,
        clean_up=clean_up.delete_some if clean_up else lambda _stopped: False,
        stop=stop,
    )


def retention(settings: Settings, engine: Engine) -> Retention | None:
    """Return the deletion of old history, or None if all of it is kept."""
    keep = settings.database.keep
    if keep is None:
        return None
    return Retention(
        engine=engine,
        monitor=settings.monitor.name,
        rules=settings.rules,
        keep=keep,
        reference_cycles=settings.teacher.reference_cycles,
    )


def job_transport(settings: Settings, engine: Engine) -> JobTransport:
    """Return the transport by which workers learn of jobs."""
    url = settings.queue.url
    return SqsTransport(engine=engine, monitor=settings.monitor.name, url=url) if url else SqlTransport()


def worker_starter(settings: Settings, engine: Engine) -> Starter | None:
    """Return the starter of one worker per job, or None if `[ecs]` is not configured."""
    if settings.ecs is None:
        return None
    return Starter(engine=engine, audience=audience(settings), ecs=Ecs(settings.ecs))


def worker(settings: Settings, engine: Engine, show: Show, turns: Turns | None = None) -> Worker:
    """Return the worker that runs jobs, one of those that take turns if there are several."""
    configure_torch(settings)
    _follow_archives(settings, engine)
    judge = Judge(
        gates=settings.gates,
        teacher_min_accuracy=_min_accuracy_of_teacher(settings),
        metrics=settings.metrics,
        tokens_per_batch=settings.scoring.tokens_per_batch,
        calibrator=calibrator(settings, engine, show),
        show=show,
    )
    attempt = Attempt(
        engine=engine,
        monitor=settings.monitor.name,
        teacher=settings.teacher.uri,
        redistill=settings.redistill,
        artifacts=artifacts(settings, show),
        places=judge.calibrator.places,
        judge=judge,
        redact=redactor(settings.monitor),
        kept=timedelta(days=settings.monitor.archive_days),
        student=settings.student.uri,
        show=show,
        placement=judge.calibrator.placement,
    )
    turn = Turn(turns or Turns(), partial(configure_torch, settings))
    return Worker(engine, audience(settings), attempt, judge.calibrator, turn)


def _min_accuracy_of_teacher(settings: Settings) -> float | None:
    """Return the bound by which a job finds the teacher at fault; None if labels are not drawn at random."""
    return settings.teacher.min_accuracy if settings.redistill.label_source == "random" else None


def calibrator(settings: Settings, engine: Engine, show: Show) -> Calibrator:
    """Return the calibrator of students."""
    return Calibrator(
        engine=engine,
        monitor=settings.monitor.name,
        section=settings.redistill,
        policy=settings.calibrating,
        labels_are_random=settings.redistill.label_source == "random",
        artifacts=artifacts(settings, show),
        places=student_places(settings, show),
        teacher=settings.teacher.uri,
        tokens_per_batch=settings.scoring.tokens_per_batch,
        show=show,
        kept=timedelta(days=settings.monitor.archive_days),
        placement=training_placement(settings),
    )


def _consumed(settings: Settings, engine: Engine) -> Consumed:
    def ask(window_end: datetime) -> tuple[datetime, Collection[ObjectVersion]] | None:
        with reading(engine) as connection:
            return windows.consumed(connection, settings.monitor.name, window_end)

    return ask


def _archived(engine: Engine) -> Archived:
    def ask(slot: Slot, teacher_version: str, since: datetime) -> Sequence[tuple[str, str]]:
        with reading(engine) as connection:
            return cycle_archives.scored_before(connection, slot, teacher_version, since=since)

    return ask


def _teacher_calibration(engine: Engine) -> Callable[[str, str], TeacherCalibration | None]:
    def ask(monitor: str, version: str) -> TeacherCalibration | None:
        with reading(engine) as connection:
            return teacher_calibrations.in_force(connection, monitor, version)

    return ask


def _earlier_names(settings: Settings, engine: Engine) -> Callable[[], Sequence[str]]:
    def ask() -> Sequence[str]:
        with reading(engine) as connection:
            return monitors.earlier_names(connection, settings.monitor.name)

    return ask


def _healthy(engine: Engine) -> Healthy:
    def ask(slot: Slot, pair: tuple[str, str], since: datetime) -> Sequence[ArchivedCycle]:
        with reading(engine) as connection:
            return cycle_archives.healthy_before(connection, slot, pair, since=since)

    return ask


def _in_own_archive(settings: Settings, engine: Engine, measure: MeasureSlot) -> MeasureSlot:
    def measure_slot(claim: Claim, stopped: Stopped) -> CycleResult | QuietResult:
        confirm_archives(settings, engine)
        return measure(claim, stopped)

    return measure_slot


def _follow_archives(settings: Settings, engine: Engine) -> None:
    with suppress(*UNAVAILABLE):  # the process waits for its database later
        follow_archives(settings, engine)


def configure_torch(settings: Settings) -> None:
    """Set the number of torch's threads, 0 meaning one per core that this process may use.

    By default torch counts all cores of the machine, even if a container has a share of them. Freed memory is
    kept for the next batch.
    """
    keep_freed_memory()
    torch.set_num_threads(settings.scoring.threads or usable_cores())
