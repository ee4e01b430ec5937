"""The teacher and the student in service, loaded once and again after a promotion or a change of teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, Engine

from db import versions
from db.connection.session import reading, writing
from db.errors import RedistillError
from db.records import ModelVersion
from db.states import PromotionReason, Role
from monitor.scoring.models import Model, fingerprint, load, match_labels
from monitor.scoring.placement import ON_CPU, Placement
from monitor.storage.artifacts import Artifacts, version_at
from monitor.storage.location import Location


class ModelChangedError(RedistillError):
    """The model in {directory} is no longer version {version}, because its files were changed in place:
    restore the old files, or put the new model in a directory of its own and name that in the configuration.
    """


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher and a student with the same labels."""

    teacher: Model
    student: Model
    alpha: Decimal | None  #: with which the student was distilled, if known


class PairSource:
    """The source of the current pair: the configured teacher, and the student that SQL names."""

    def __init__(
        self,
        engine: Engine,
        monitor: str,
        artifacts: Artifacts,
        *,
        teacher: Location,
        student: Location,
        registry: Location,
        placement: Placement = ON_CPU,
    ) -> None:
        self._engine = engine
        self._monitor = monitor
        self._artifacts = artifacts
        self._registry = registry
        self._placement = placement
        self._locations = {Role.TEACHER: teacher, Role.STUDENT: student}
        self._loaded: dict[Role, Model] = {}

    def current(self, now: datetime) -> Pair:
        """Return the pair that serves now.

        A teacher directory with new content is a new teacher. A student directory that the database does not
        know yet was deployed by people, and its model becomes the current student. From then on the database
        determines the student.

        Raises:
            ModelError: a directory has no usable model, or the labels differ.
            ModelChangedError: a registered directory was changed in place.
        """
        configured = {
            role: fingerprint(self._artifacts.directory(location))
            for role, location in self._locations.items()
        }
        self._load_unknown(configured)
        with writing(self._engine) as connection:
            teacher = self._follow_teacher(connection, configured[Role.TEACHER], now)
            student = self._follow_student(connection, configured[Role.STUDENT], now)
        pair = Pair(
            teacher=self._load(teacher, configured),
            student=self._load(student, configured),
            alpha=student.alpha,
        )
        match_labels(pair.teacher, pair.student)
        return pair

    def _follow_teacher(self, connection: Connection, version: str, now: datetime) -> ModelVersion:
        current = versions.current(connection, self._monitor, Role.TEACHER)
        if current is not None and current.version == version:
            return current
        return self._adopt(connection, Role.TEACHER, version, now)

    def _follow_student(self, connection: Connection, version: str, now: datetime) -> ModelVersion:
        current = versions.current(connection, self._monitor, Role.STUDENT)
        known = versions.find(connection, self._monitor, Role.STUDENT, version)
        if current is not None and known is not None:
            return current
        return self._adopt(connection, Role.STUDENT, version, now)

    def _adopt(self, connection: Connection, role: Role, version: str, now: datetime) -> ModelVersion:
        model = ModelVersion(
            monitor=self._monitor, version=version, role=role, uri=str(self._locations[role])
        )
        versions.record(connection, model, now)
        versions.promote(connection, model, PromotionReason.CONFIGURED, now)
        return model

    def _load_unknown(self, configured: Mapping[Role, str]) -> None:
        """Load the models that the database does not know: one that cannot be loaded is not adopted."""
        with reading(self._engine) as connection:
            unknown = [
                (role, version)
                for role, version in configured.items()
                if versions.find(connection, self._monitor, role, version) is None
            ]
        for role, version in unknown:
            uri = str(self._locations[role])
            self._load(ModelVersion(monitor=self._monitor, version=version, role=role, uri=uri), configured)

    def _load(self, wanted: ModelVersion, configured: Mapping[Role, str]) -> Model:
        loaded = self._loaded.get(wanted.role)
        if loaded is not None and loaded.version == wanted.version:
            return loaded
        is_configured = configured[wanted.role] == wanted.version
        location = self._locations[wanted.role] if is_configured else version_at(wanted, self._registry)
        loaded = load(self._artifacts.directory(location), self._placement)
        if loaded.version != wanted.version:
            raise ModelChangedError(directory=location, version=wanted.version[:12])
        self._loaded[wanted.role] = loaded
        return loaded
