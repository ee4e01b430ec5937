"""One attempt at a job: from the order to a registered and evaluated candidate."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from time import monotonic

import structlog
from sqlalchemy import Engine

from db import calibrations, queue, registries, versions
from db.connection.session import reading, writing
from db.errors import RedistillError
from db.records import Job, ModelVersion
from db.states import Role
from distill import registry
from distill.calibration import delivery
from distill.job_data import JobData, read_job_data
from distill.judgement import Judge, Judgement
from distill.old_versions import old_versions
from distill.registry import CalibratedAt, Manifest, Parents
from distill.settings import RedistillSection
from distill.settle import Proof
from distill.soft_labels import WEEK, Logits, SoftLabels, used_mode
from distill.training import checkpoint
from distill.training.checkpoint import Checkpoints
from distill.training.dataset import LabelledSet
from distill.training.start import load_start
from distill.training.train import TrainingLog, train
from distill.training_identity import identity
from monitor.archive.redaction import Redact
from monitor.cycle import Show
from monitor.scoring.models import Model, load
from monitor.scoring.placement import Placement
from monitor.stop import Stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from monitor.storage.store import Store
from monitor.storage.student_places import ModelLostError, StudentPlaces


class TeacherChangedError(RedistillError):
    """The job's teacher is {wanted}, but {directory} holds {found}: the drift was measured against
    another model. No action is needed: the next cycles compare the student with the new teacher.
    """


class IncumbentLostError(RedistillError):
    """The job cannot start from its student. {problem} Then retry the job."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The configured maker of candidates for one monitor."""

    engine: Engine
    monitor: str
    teacher: Location
    redistill: RedistillSection
    artifacts: Artifacts
    places: StudentPlaces
    judge: Judge
    redact: Redact  #: the function that was applied to texts before they were archived
    kept: timedelta  #: the time for which samples are archived
    student: Location  #: the configured one, which may be in the registry
    show: Show
    placement: Placement

    def make(self, job: Job, *, stopped: Stopped, now: datetime) -> Proof:
        """Train, evaluate, judge, calibrate and register a candidate. SQL is only read: `settle` writes.

        The same job, data and seed give the same candidate. An attempt that crashed or was stopped resumes
        from its last checkpoint.

        Raises:
            RedistillError: data, models or registry are not usable; a retry would fail in the same way.
            StoppedError: `stopped` returned True.
        """
        teacher = self._load_teacher(job)
        incumbent_version, incumbent = self._load_incumbent(job)
        data = read_job_data(
            self.engine,
            job,
            self.redistill,
            self.artifacts,
            labels=teacher.labels,
            redact=self.redact,
            kept=self.kept,
            soft_labels=lambda rows: self._soft_labels(job, teacher, rows, stopped, now),
        )
        init = self.redistill.student_init
        student = (
            self.places.load(incumbent_version, self.placement)
            if init is None
            else self._load_start(init, teacher.labels)
        )
        began = monotonic()
        trained = self._train(job, student, teacher, data, stopped=stopped)
        training_seconds = monotonic() - began
        staged = registry.stage(self._store, student, job=registry.job_key(job), now=now)
        made = load(staged, self.placement)
        judged = self.judge.judge(made, incumbent, teacher, data, stopped)
        manifest = self._manifest(
            job, start_version=student.version, trained=trained, data=data, judged=judged, now=now
        )
        added = registry.add(self._store, staged, manifest)
        candidate = ModelVersion(
            monitor=self.monitor,
            version=added.version,
            role=Role.STUDENT,
            uri=added.location,
            parent_version=student.version,
            job_id=job.job_id,
            alpha=job.alpha_to,
            temperature=job.temperature,
        )
        return Proof(
            candidate=candidate,
            incumbent=incumbent_version,
            candidate_evaluations=judged.candidate,
            incumbent_evaluations=judged.incumbent,
            gates=judged.gates,
            undecided=judged.undecided,
            calibration=judged.calibration,
            n_labelled_traffic=data.training.traffic_labels.n,
            soft_labels=data.soft_labels,
            training=trained.trained_epochs,
            training_seconds=training_seconds,
        )

    def confirm_registry(self, now: datetime) -> None:
        """Record the registry as the monitor's, or check that it is the one that is recorded.

        Raises:
            OtherRegistryError, LinkTakenError: see `db.registries.confirm`.
            ArtifactReadError, RegistryWriteError: the registry cannot be used.
        """
        found = registry.registry_id(self._store)
        with writing(self.engine) as connection:
            registries.confirm(
                connection,
                self.monitor,
                registry_id=found,
                link=self.redistill.link,
                location=self.redistill.registry,
                now=now,
            )

    def point_current(self) -> bool:
        """Point the registry's link to the student in service, and return whether it was changed.

        This repairs the link after a crash. A link to a version that the database does not know stays: the
        database was restored from a backup that is older than the promotion, so the student that it names may
        be the one that had drifted; or another database uses the link.

        Raises:
            ArtifactReadError: the registry cannot be read now.
            ModelLostError: the files of the student in service are in none of its places.
            LinkError: the link cannot be set now. SQL still records which student is in service.
            LinkAheadError: the link leads to a version that the database does not know.
        """
        linked = self.places.linked_version(self.redistill.link)
        with reading(self.engine) as connection:
            student = versions.current(connection, self.monitor, Role.STUDENT)
            is_ahead = linked is not None and not versions.is_known(connection, linked)
        if student is None:
            return False
        section = self.redistill
        if is_ahead:
            raise registry.LinkAheadError(
                link=self._store.location(section.link),
                linked=str(linked)[:12],
                version=student.version[:12],
            )
        location = self.places.find(student)
        return registry.point_current(self.artifacts, section.registry, section.link, location)

    def deliver_calibration(self) -> bool:
        """Write the temperature of the student in service beside the link; return whether that changed it.

        Raises:
            ArtifactReadError, CalibrationUndeliveredError: as for `delivery.deliver`.
        """
        with reading(self.engine) as connection:
            student = calibrations.serving_student(connection, self.monitor)
        return delivery.deliver(student, self.places, self.redistill.link)

    def sweep(self, now: datetime) -> None:
        """Remove the checkpoints of jobs that have ended.

        As a registry may be shared, those of jobs that are not in the database are removed once nothing was
        written to them for a day.
        """
        for key in checkpoint.jobs(self._store):
            if self._is_over(key, now):
                self._store.remove(checkpoint.folder(key))

    def delete_old_versions(self, now: datetime) -> Sequence[str]:
        """Delete the files of old versions, and return these versions. See `OldVersions.delete`."""
        return old_versions(
            self.engine, self.monitor, self.redistill, self._store, student=self.student
        ).delete(now)

    @cached_property
    def _store(self) -> Store:
        return self.artifacts.store(self.redistill.registry)

    def _is_over(self, key: str, now: datetime) -> bool:
        number = key.partition("-")[0]
        if not number.isdecimal():
            return False
        with suppress(queue.NoSuchJobError), reading(self.engine) as connection:
            job = queue.get(connection, int(number))
            if key in {number, registry.job_key(job)}:
                return job.status not in queue.OPEN
        modified = self._store.modified(checkpoint.folder(key))
        return modified is not None and modified < now - registry.LEFTOVER_AGE

    def _load(self, location: Location) -> Model:
        return load(self.artifacts.directory(location), self.placement)

    def _load_start(self, location: Location, labels: Sequence[str]) -> Model:
        directory = self.artifacts.directory(location)
        return load_start(directory, labels, seed=self.redistill.seed, placement=self.placement)

    def _load_teacher(self, job: Job) -> Model:
        teacher = self._load(self.teacher)
        if teacher.version != job.teacher_version:
            raise TeacherChangedError(
                wanted=job.teacher_version[:12], directory=self.teacher, found=teacher.version[:12]
            )
        return teacher

    def _load_incumbent(self, job: Job) -> tuple[ModelVersion, Model]:
        with reading(self.engine) as connection:
            recorded = versions.find(connection, self.monitor, Role.STUDENT, job.student_version)
        if recorded is None:
            problem = f"The database does not know version {job.student_version[:12]}: restore it."
            raise IncumbentLostError(problem=problem)
        try:
            return recorded, self.places.load(recorded, self.placement)
        except ModelLostError as error:
            raise IncumbentLostError(problem=error) from error

    def _soft_labels(
        self, job: Job, teacher: Model, rows: LabelledSet, stopped: Stopped, now: datetime
    ) -> Logits | None:
        """Return the teacher's logits for the train file, or None if it is to answer while training."""
        kept = SoftLabels(
            store=self._store, teacher=teacher, tokens_per_batch=self.judge.tokens_per_batch, show=self.show
        )
        with reading(self.engine) as connection:
            n_runs = queue.n_started_since(connection, job.monitor, now - WEEK)
        section = self.redistill
        mode = used_mode(
            section.soft_labels,
            n_runs=n_runs,
            offline_above=section.offline_above_runs_per_week,
            are_kept=kept.are_kept(rows),
        )
        return kept.of(rows, stopped) if mode == "offline" else None

    def _train(
        self, job: Job, student: Model, teacher: Model, data: JobData, *, stopped: Stopped
    ) -> TrainingLog:
        log = structlog.get_logger().bind(job_id=job.job_id)
        log.info("training started", on=self.placement.name)
        return train(
            student,
            teacher,
            data.training,
            self.redistill.schedule,
            alpha=job.alpha_to,
            temperature=job.temperature,
            stopped=stopped,
            progress=lambda done, total, _loss: self.show("training", done, total),
            validation=data.validation,
            checkpoints=Checkpoints(
                self._store,
                registry.job_key(job),
                identity=identity(job, student, teacher, data, self.redistill),
                every_seconds=self.redistill.checkpoint_every.total_seconds(),
                job_id=job.job_id,
            ),
        )

    def _manifest(
        self,
        job: Job,
        *,
        start_version: str,
        trained: TrainingLog,
        data: JobData,
        judged: Judgement,
        now: datetime,
    ) -> Manifest:
        return Manifest(
            parents=Parents(
                teacher=job.teacher_version, incumbent=job.student_version, student_init=start_version
            ),
            job_id=job.job_id,
            alpha=job.alpha_to,
            temperature=job.temperature,
            epochs=self.redistill.epochs,
            batch_size=self.redistill.batch_size,
            learning_rate=self.redistill.learning_rate,
            seed=self.redistill.seed,
            device=self.placement.device.type,
            precision=self.placement.precision,
            training=trained,
            traffic_labels=data.training.traffic_labels,
            soft_labels=data.soft_labels,
            data=dict(data.sha256),
            evaluations=judged.candidate,
            gates=judged.gates,
            calibration=CalibratedAt.of(judged.calibration),
            created_at=now,
        )
