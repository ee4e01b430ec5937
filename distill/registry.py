"""The registry: a directory of model versions, each whole or absent, and a link to the one in service.

REGISTRY/versions/<version>/   save_pretrained layout and manifest.json; never changed
REGISTRY/current               link to versions/<version>; serving code loads this
REGISTRY/.tmp-<job>-…/         a candidate that is not evaluated yet, or the leftovers of a killed attempt
REGISTRY/.checkpoint-<job>/    the training of an open job: see distill/training/checkpoint.py
"""

import errno
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Final

import orjson
from safetensors import SafetensorError

from db.errors import RedistillError
from db.records import Calibration, Evaluation, GateOutcome
from distill.training.train import TrainingLog
from monitor.scoring.models import Model, fingerprint, quiet
from monitor.storage.disk import sync

MANIFEST: Final = "manifest.json"
MANIFEST_SCHEMA: Final = "redistill.model/1"

#: The age at which the leftovers of other jobs' attempts are removed.
LEFTOVER_AGE: Final = timedelta(days=1)

_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


class RegistryWriteError(RedistillError):
    """The registry {registry} cannot be written: {problem}. Free space or fix the permissions there,
    then retry the job.
    """


class LinkError(RedistillError):
    """{registry}/current cannot point to {directory}: {problem}."""


class LinkAheadError(LinkError):
    """{registry}/current leads to the version {linked}, which the database does not know, and was left as it
    is: if the database was restored from a backup, see docs/restoring.md; to serve the student that the
    database names, run `redistill models promote {version}`.
    """


@dataclass(frozen=True, kw_only=True)
class Parents:
    """The versions from which a candidate was made."""

    teacher: str
    incumbent: str
    student_init: str  #: the version whose weights the training started from


@dataclass(frozen=True, kw_only=True)
class CalibratedAt:
    """The temperature of a version when it was made; later temperatures are in SQL."""

    temperature: float  #: the logits divided by it give the calibrated confidences
    n: int  #: labelled rows that the temperature was fitted to
    dataset: str  #: "validation" or "test": the configured file
    sha256: str  #: of that file

    @classmethod
    def of(cls, calibration: Calibration) -> "CalibratedAt":
        """Return the part of a calibration that is stored in the manifest."""
        fit = calibration.fit
        return cls(
            temperature=fit.temperature,
            n=fit.n,
            dataset=calibration.dataset,
            sha256=calibration.sha256,
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The origin of a version and the measurements on it."""

    parents: Parents
    job_id: int
    alpha: Decimal  #: weight of the KL term in the loss; the hard labels have the weight 1 - alpha
    temperature: float
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    training: TrainingLog
    data: dict[str, str]  #: the data that it was trained and judged on → SHA-256
    evaluations: tuple[Evaluation, ...]
    gates: tuple[GateOutcome, ...]
    calibration: CalibratedAt
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version and its directory."""

    version: str
    path: Path


def stage(registry: Path, candidate: Model, *, job_id: int, now: datetime) -> Path:
    """Save a candidate to a new folder of the registry, which readers ignore.

    First, the leftovers of this job's earlier attempts (which have lost its lease) are removed, and those of
    other jobs that are older than a day.

    Raises:
        RegistryWriteError: disk full, permission denied, …; nothing of the candidate is left.
    """
    with _write_errors(registry):
        registry.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(registry, job_id, now)
        folder = registry / f".tmp-{job_id}-{uuid.uuid4().hex}"
        folder.mkdir()
        with removed_on_error(folder), quiet():
            candidate.network.save_pretrained(folder)
            candidate.tokenizer.save_pretrained(folder)
    return folder


def add(registry: Path, staged: Path, manifest: Manifest) -> Registered:
    """Turn a staged candidate into a version, which appears whole and synced to disk, or not at all.

    `staged` no longer exists afterwards. An existing version stays as it is, with its first manifest:
    adding the same candidate again changes nothing.

    Raises:
        RegistryWriteError: disk full, permission denied, …; nothing of the candidate is left.
    """
    with _write_errors(registry), _removed(staged):
        version = fingerprint(staged)
        path = registry / "versions" / version
        (staged / MANIFEST).write_bytes(_json(version, manifest))
        _sync_tree(staged)
        path.parent.mkdir(exist_ok=True)
        _rename_unless_there(staged, path)
        sync(path.parent)
        sync(registry)
    return Registered(version=version, path=path)


def point_current(registry: Path, directory: Path) -> bool:
    """Point REGISTRY/current atomically to a model directory, and return whether it was changed.

    The directory is a version of the registry, or a student that was deployed from elsewhere.

    Raises:
        LinkError: the directory holds no model, the disk is full, permission is denied, or `current` is not
            a link.
    """
    link, current = registry / f".tmp-current-{uuid.uuid4().hex}", registry / "current"
    try:
        if not (directory / "config.json").is_file():
            raise LinkError(registry=registry, directory=directory, problem="it holds no model; put it back")
        inside = directory.is_relative_to(registry)
        target = directory.relative_to(registry) if inside else directory.absolute()
        if current.is_symlink() and current.readlink() == target:
            return False
        registry.mkdir(parents=True, exist_ok=True)
        with _removed(link):
            link.symlink_to(target)
            link.replace(current)
        sync(registry)
    except OSError as error:
        problem = f"{error.strerror or error}; free space or fix the permissions in {registry}"
        raise LinkError(registry=registry, directory=directory, problem=problem) from error
    return True


def linked_version(registry: Path) -> str | None:
    """Return the version in this registry to which `current` leads; None for no link or another target."""
    current = registry / "current"
    target = current.resolve()
    is_version = current.is_symlink() and target.parent == (registry / "versions").resolve()
    return target.name if is_version else None


def _json(version: str, manifest: Manifest) -> bytes:
    libraries = {name: library_version(name) for name in _LIBRARIES}
    content = {"schema": MANIFEST_SCHEMA, "version": version, **vars(manifest), "libraries": libraries}
    return orjson.dumps(content, default=float, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rename_unless_there(staged: Path, path: Path) -> None:
    try:
        staged.rename(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _remove_leftovers(registry: Path, job_id: int, now: datetime) -> None:
    removed_before = (now - LEFTOVER_AGE).timestamp()
    for path in registry.glob(".tmp-*"):
        with suppress(FileNotFoundError):  # another worker may have removed it meanwhile
            if path.name.startswith(f".tmp-{job_id}-") or path.lstat().st_mtime < removed_before:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _remove(path)


@contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """Remove a staged candidate if the block fails or is stopped."""
    try:
        yield
    except BaseException:
        _remove(path)
        raise


@contextmanager
def _write_errors(registry: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RegistryWriteError(
            registry=registry, problem=getattr(error, "strerror", None) or error
        ) from error
