"""The maker of a first student: trained with some seeds, measured, and registered."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from distill import registry
from distill.first_student.measured import Exam, Measured
from distill.first_student.recipe import Distilled, Recipe, distilled
from distill.first_student.rows import LabelledRows
from distill.registry import CalibratedAt, Manifest, Parents, Registered
from distill.training import checkpoint
from distill.training.checkpoint import Checkpoints
from distill.training.train import TrainingLog, Validation
from distill.training_identity import identity_of_training
from monitor.cycle import Show
from monitor.scoring.models import Model, load
from monitor.stop import Stopped
from monitor.storage.local_store import removed
from monitor.storage.store import Store

_BASELINE_ALPHA: Final = Decimal(0)
_CHECKPOINT_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student that was trained with one seed."""

    seed: int
    log: TrainingLog
    measured: Measured

    @property
    def validation(self) -> Validation:
        """Its quality on the validation rows after the last epoch."""
        found = self.log.epochs[-1].validation
        assert found is not None  # noqa: S101 - the rows of a first student include validation rows
        return found


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A student with its files, which are not a version yet."""

    student: Student
    staged: Path
    start: str  #: the version that it started from


@dataclass(frozen=True, kw_only=True)
class FirstStudent:
    """The student that was registered, and those that it was compared with."""

    registered: Registered
    kept: Student
    students: tuple[Student, ...]  #: one per seed, the kept one included
    baselines: tuple[Student, ...]  #: trained on the labels alone, with the same seeds; empty: not asked for


@dataclass(frozen=True, kw_only=True, eq=False)
class Maker:
    """The maker of one first student in a registry."""

    store: Store
    teacher: Model
    rows: LabelledRows
    recipe: Recipe
    exam: Exam
    show: Show

    def make(
        self, seeds: Sequence[int], *, with_baseline: bool, stopped: Stopped, now: datetime
    ) -> FirstStudent:
        """Train a student with each seed, and register the one with the highest accuracy on validation rows.

        Of two with the same accuracy, the one with the higher agreement is registered, then the earlier one.
        A training that was interrupted resumes from its last checkpoint; nothing else is left of it.

        Raises:
            RegistryWriteError, ArtifactReadError: the registry cannot be used.
            LayersError, ModelError, TrainingDivergedError, ScoringError: models or recipe are not usable.
            StoppedError: `stopped` returned True; the training is saved.
        """
        registry.registry_id(self.store)  # a registry that cannot be written is found before the training
        with ExitStack() as leftovers:
            candidates: list[_Candidate] = []
            baselines: list[Student] = []
            for seed in seeds:
                candidates.append(self._candidate(self.recipe.with_seed(seed), stopped, now, leftovers))
                if with_baseline:
                    recipe = replace(self.recipe, alpha=_BASELINE_ALPHA).with_seed(seed)
                    found = self._distilled(recipe, f"baseline, seed {seed}", stopped)
                    baselines.append(self._measured(seed, found.student, found.log, stopped))
            kept = max(candidates, key=_quality)
            registered = registry.add(self.store, kept.staged, self._manifest(kept, now))
        for key in self._checkpoint_keys(seeds):
            self.store.remove(checkpoint.folder(key))
        return FirstStudent(
            registered=registered,
            kept=kept.student,
            students=tuple(each.student for each in candidates),
            baselines=tuple(baselines),
        )

    def _candidate(self, recipe: Recipe, stopped: Stopped, now: datetime, leftovers: ExitStack) -> _Candidate:
        seed = recipe.schedule.seed
        found = self._distilled(recipe, f"student, seed {seed}", stopped)
        staged = registry.stage(self.store, found.student, job=self._key(recipe), now=now)
        leftovers.enter_context(removed(staged))
        made = load(staged, self.teacher.placement)
        return _Candidate(
            student=self._measured(seed, made, found.log, stopped), staged=staged, start=found.student.version
        )

    def _distilled(self, recipe: Recipe, what: str, stopped: Stopped) -> Distilled:
        return distilled(
            recipe,
            self.teacher,
            self.rows.training,
            validation=self.rows.validation,
            checkpoints_of=lambda start: Checkpoints(
                self.store,
                self._key(recipe),
                identity={**self._identity(recipe, start), "layers": str(recipe.layers)},
                every_seconds=_CHECKPOINT_SECONDS,
                job_id=None,
            ),
            stopped=stopped,
            progress=lambda done, total, _loss: self.show(what, done, total),
        )

    def _measured(self, seed: int, student: Model, log: TrainingLog, stopped: Stopped) -> Student:
        return Student(seed=seed, log=log, measured=self.exam.measure(student, stopped))

    def _identity(self, recipe: Recipe, start: Model) -> Mapping[str, str]:
        return identity_of_training(
            start,
            self.teacher,
            self.rows.training,
            self.rows.validation,
            recipe.schedule,
            alpha=recipe.alpha,
            temperature=recipe.temperature,
        )

    def _key(self, recipe: Recipe) -> str:
        """Return the name of a training in the registry, the same for the same command."""
        parts = {
            **self.rows.sha256,
            "teacher": self.teacher.version,
            "recipe": repr(replace(recipe, init=Path(recipe.init.name))),
        }
        return f"first-{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]}"

    def _checkpoint_keys(self, seeds: Sequence[int]) -> list[str]:
        recipes = (self.recipe, replace(self.recipe, alpha=_BASELINE_ALPHA))
        return [self._key(recipe.with_seed(seed)) for recipe in recipes for seed in seeds]

    def _manifest(self, kept: _Candidate, now: datetime) -> Manifest:
        student, schedule = kept.student, self.recipe.schedule
        place = self.teacher.placement
        return Manifest(
            parents=Parents(teacher=self.teacher.version, incumbent=None, student_init=kept.start),
            job_id=None,
            alpha=self.recipe.alpha,
            temperature=self.recipe.temperature,
            epochs=schedule.epochs,
            batch_size=schedule.batch_size,
            learning_rate=schedule.learning_rate,
            seed=student.seed,
            device=place.device.type,
            precision=place.precision,
            training=student.log,
            data=self.rows.sha256,
            evaluations=(student.measured.test,),
            gates=student.measured.gates,
            calibration=CalibratedAt(
                temperature=student.measured.temperature.temperature,
                n=student.measured.temperature.n,
                dataset="validation",
                sha256=self.rows.validation.sha256,
            ),
            created_at=now,
            soft_labels=self.rows.soft_labels,
        )


def _quality(candidate: _Candidate) -> tuple[float, float]:
    validation = candidate.student.validation
    return validation.accuracy, validation.agreement
