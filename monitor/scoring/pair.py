"""The teacher and the student in service, loaded once and again after a promotion or a change of teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, Engine

from db import versions
from db.connection import clock
from db.connection.session import reading, writing
from db.records import ModelVersion
from db.states import PromotionReason, Role
from monitor.scoring.models import Model, fingerprint, load, match_labels
from monitor.scoring.placement import ON_CPU, Placement
from monitor.storage.artifacts import Artifacts, located
from monitor.storage.location import Location
from monitor.storage.student_places import ModelChangedError, StudentPlaces, without_links


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
        places: StudentPlaces,
        *,
        teacher: Location,
        placement: Placement = ON_CPU,
    ) -> None:
        self._engine = engine
        self._monitor = monitor
        self._artifacts = artifacts
        self._places = places
        self._placement = placement
        self._locations = {Role.TEACHER: teacher, Role.STUDENT: places.configured}
        self._loaded: dict[Role, Model] = {}

    def current(self, now: datetime) -> Pair:
        """Return the pair that serves now.

        A teacher directory with new content is a new teacher. A student directory with content that the
        database does not know was deployed by people, and its model becomes the current student. From then on
        the database determines the student, until people deploy another one, be it one that served before.

        Raises:
            ModelError: a directory has no usable model, or the labels differ.
            ModelLostError: the files of the current student are in none of its places.
            ModelChangedError: files were changed while they were loaded.
        """
        configured = {
            role: fingerprint(self._artifacts.directory(location))
            for role, location in self._locations.items()
        }
        self._load_unknown(configured)
        moved = self._moved(configured[Role.STUDENT])
        with writing(self._engine) as connection:
            teacher = self._follow_teacher(connection, configured[Role.TEACHER], now)
            if moved is not None:
                versions.move(connection, moved)
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
            reason = versions.current_reason(connection, self._monitor, Role.STUDENT)
            if current.version == version or reason is not PromotionReason.CONFIGURED:
                return current
            # People deployed the current student: the configuration, or a link that it names, has changed.
        return self._adopt(connection, Role.STUDENT, version, now)

    def _moved(self, version: str) -> ModelVersion | None:
        """Return the configured student with its place, if its files are no longer where they were."""
        configured = self._locations[Role.STUDENT]
        place = without_links(configured)
        with reading(self._engine) as connection:
            known = versions.find(connection, self._monitor, Role.STUDENT, version)
        if known is None or located(known.uri) == place or self._places.find(known) != configured:
            return None
        return replace(known, uri=str(place))

    def _adopt(self, connection: Connection, role: Role, version: str, now: datetime) -> ModelVersion:
        now = clock.capped_by_database(connection, now)
        model = versions.find(connection, self._monitor, role, version)
        if model is None:
            uri = str(without_links(self._locations[role]))
            model = ModelVersion(monitor=self._monitor, version=version, role=role, uri=uri)
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
        if configured[wanted.role] == wanted.version:
            location = self._locations[wanted.role]
            loaded = load(self._artifacts.directory(location), self._placement)
            if loaded.version != wanted.version:
                raise ModelChangedError(directory=location, version=wanted.version[:12])
        else:
            loaded = self._places.load(wanted, self._placement)
        self._loaded[wanted.role] = loaded
        return loaded
