"""The change of the student in service by a person: SQL first, then the registry's link."""

from contextlib import suppress
from pathlib import Path

from db import calibrations, registries, versions
from db.errors import RedistillError
from db.records import ModelVersion
from db.states import PromotionReason, Role
from monitor.storage.location import Location
from monitor.storage.store import ArtifactReadError
from redistill.artifacts import artifacts
from redistill.configuration.settings import Settings
from redistill.database import reading_from, time_in, writing_to
from redistill.display import show
from redistill.process.stop_signals import loading, undisturbed


class LinkBehindError(RedistillError):
    """The student {version} is in service by the database, but not by the link. {problem} {link} {state}
    until a worker sets it at its next turn, or `redistill models promote {version}` does.
    """


class FilesDeletedError(RedistillError):
    """The files of the student {version} were deleted on {at:%Y-%m-%d} (keep_versions in [redistill]):
    promote another version of `redistill models list`, or restore {directory} from a backup first.
    """


def put_in_service(settings: Settings, model: ModelVersion, reason: PromotionReason) -> None:
    """Promote a student whose files are there, if the registry is the monitor's, and set the link to it.

    Ctrl-C has its effect before the promotion, or after the link is set.

    Raises:
        FilesDeletedError: a worker deleted its files, as they were old.
        ModelLostError: its files are in none of its places.
        FilesBeingDeletedError: a worker deletes its files at this moment.
        OtherRegistryError, LinkTakenError: see `db.registries.confirm`.
        LinkBehindError: see `set_link`.
    """
    _check_files(settings, model)
    found = _registry_id(settings)
    with undisturbed():
        with writing_to(settings) as connection:
            if found is not None:
                registries.confirm(
                    connection,
                    model.monitor,
                    registry_id=found,
                    link=settings.redistill.link,
                    location=settings.redistill.registry,
                    now=time_in(connection),
                )
            versions.promote(connection, model, reason, time_in(connection))
        set_link(settings, model)


def _check_files(settings: Settings, model: ModelVersion) -> None:
    try:
        _place(settings, model)
    except RedistillError as error:
        with reading_from(settings) as connection:
            at = registries.deleted_at(connection, model)
        if at is None:
            raise
        directory = (
            artifacts(settings).store(settings.redistill.registry).location(f"versions/{model.version}")
        )
        raise FilesDeletedError(version=show.version(model.version), at=at, directory=directory) from error


def _registry_id(settings: Settings) -> str | None:
    """Return the id of the registry, or None if it has none and cannot be written."""
    with loading():
        from distill import registry  # noqa: PLC0415 - torch takes seconds to load

    try:
        return registry.registry_id(artifacts(settings).store(settings.redistill.registry))
    except registry.RegistryWriteError:
        return None  # the link cannot be set either, which is reported


def files_of(settings: Settings, model: ModelVersion) -> Path:
    """Return a local copy of the files of a student.

    Raises:
        FilesDeletedError, ModelLostError: they are deleted, or in none of its places.
    """
    _check_files(settings, model)
    return artifacts(settings).directory(_place(settings, model))


def set_link(settings: Settings, model: ModelVersion) -> bool:
    """Set the registry's link to the model and deliver its temperature; return whether one was changed.

    Raises:
        ModelLostError: the files of the model are in none of its places.
        LinkBehindError: the link cannot be set. SQL still records which student is in service.
        CalibrationUndeliveredError: the temperature cannot be delivered; the link is set.
    """
    with loading():
        from distill import registry  # noqa: PLC0415 - torch takes seconds to load

    section, location = settings.redistill, _place(settings, model)
    try:
        changed = registry.point_current(artifacts(settings), section.registry, section.link, location)
    except registry.LinkError as error:
        version, place = show.version(model.version), link(settings)
        raise LinkBehindError(version=version, problem=error, link=place, state=_state(settings)) from error
    return deliver_calibration(settings) or changed


def deliver_calibration(settings: Settings) -> bool:
    """Write the temperature of the student in service beside the link; return whether that changed it.

    Raises:
        ArtifactReadError, CalibrationUndeliveredError: see `distill.calibration.delivery.deliver`.
    """
    with loading():
        from distill.calibration import delivery  # noqa: PLC0415 - torch takes seconds to load
        from redistill.assembly import student_places  # noqa: PLC0415 - as above

    with reading_from(settings) as connection:
        student = calibrations.serving_student(connection, settings.monitor.name)
    return delivery.deliver(student, student_places(settings), settings.redistill.link)


def serving_student(settings: Settings) -> Location:
    """Return the place of the student in service: by the database, else by the configuration.

    Raises:
        ModelLostError: the files of the student that the database names are in none of its places.
    """
    current = None
    with suppress(RedistillError), reading_from(settings) as connection:
        current = versions.current(connection, settings.monitor.name, Role.STUDENT)
    return settings.student.uri if current is None else _place(settings, current)


def _place(settings: Settings, model: ModelVersion) -> Location:
    with loading():
        from redistill.assembly import student_places  # noqa: PLC0415 - as above

    return student_places(settings).find(model)


def link(settings: Settings) -> str:
    """Return where the registry's link to the student in service is."""
    return artifacts(settings).store(settings.redistill.registry).location(settings.redistill.link)


def linked(settings: Settings) -> str | None:
    """Return where the registry's link leads, or None if there is none. Raises ArtifactReadError."""
    return artifacts(settings).store(settings.redistill.registry).pointed(settings.redistill.link)


def _state(settings: Settings) -> str:
    try:
        found = linked(settings)
    except ArtifactReadError:
        return "cannot be read"
    if found is None:
        return "does not exist"
    return "is not a link" if found == link(settings) else f"leads to {found}"
