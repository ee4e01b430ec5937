"""The registry: a store of model versions, each whole or absent, and a pointer to the one in service.

REGISTRY/versions/<version>/   save_pretrained layout, manifest.json and training.jsonl.zst; never changed
REGISTRY/current               pointer to versions/<version>; serving code loads this
REGISTRY/calibration.json      its temperature: see distill/calibration/delivery.py
REGISTRY/registry.json         the id by which a worker recognises the registry of its monitor
REGISTRY/.tmp-<job>-…/         a candidate that is not evaluated yet, or the leftovers of a killed attempt;
                               for a registry in S3, in the cache of this machine
REGISTRY/.checkpoint-<job>/    the training of an open job: see distill/training/checkpoint.py

A job is named by its number and eight digits, because two databases that share a registry number their jobs
alike.
"""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Final

import orjson
from safetensors import SafetensorError

from db.errors import RedistillError
from db.records import Calibration, Evaluation, GateOutcome, Job
from distill.training.archived import NO_TRAFFIC_LABELS, TrafficLabels
from distill.training.steps import STEPS_FILE, packed
from distill.training.train import TrainingLog
from monitor.scoring.models import Model, fingerprint, quiet
from monitor.storage.artifacts import Artifacts
from monitor.storage.disk import write_private
from monitor.storage.local_store import remove_tree, removed
from monitor.storage.location import Location
from monitor.storage.store import ArtifactReadError, ArtifactWriteError, Store

MANIFEST: Final = "manifest.json"
MANIFEST_SCHEMA: Final = "redistill.model/1"
REGISTRY_FILE: Final = "registry.json"
REGISTRY_SCHEMA: Final = "redistill.registry/1"
VERSIONS: Final = "versions"

#: The age at which the leftovers of other jobs' attempts are removed.
LEFTOVER_AGE: Final = timedelta(days=1)

_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


class RegistryWriteError(RedistillError):
    """The registry {registry} cannot be written: {problem}. Free space or fix the permissions there,
    then retry.
    """


class LinkError(RedistillError):
    """{link} cannot point to {directory}: {problem}."""


class LinkAheadError(LinkError):
    """{link} leads to the version {linked}, which the database does not know, and was left as it
    is: if the database was restored from a backup, see docs/restoring.md; if another database has this
    registry, set another 'link' in [redistill]; to serve the student that the database names, run
    `redistill models promote {version}`.
    """


@dataclass(frozen=True, kw_only=True)
class Parents:
    """The versions from which a candidate was made."""

    teacher: str
    incumbent: str | None  #: None for a first student
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
    job_id: int | None  #: None for a first student, which `redistill distill` made
    alpha: Decimal  #: weight of the KL term in the loss; the hard labels have the weight 1 - alpha
    temperature: float
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    device: str  #: "cpu" or "cuda", of the training and of the judgement; the gates name the GPU
    precision: str
    training: TrainingLog
    data: dict[str, str]  #: the data that it was trained and judged on → SHA-256
    evaluations: tuple[Evaluation, ...]
    gates: tuple[GateOutcome, ...]
    calibration: CalibratedAt
    created_at: datetime
    traffic_labels: TrafficLabels = NO_TRAFFIC_LABELS
    soft_labels: str = "online"  #: or "offline"


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version and the location of its directory."""

    version: str
    location: str


def job_key(job: Job) -> str:
    """Return the name of a job in a registry: its number, and digits that differ between databases.

    Example: `7-1f0c93ab`.
    """
    own = f"{job.enqueued_at.astimezone(UTC).isoformat()} {job.teacher_version} {job.student_version}"
    return f"{job.job_id}-{hashlib.sha256(own.encode()).hexdigest()[:8]}"


def registry_id(store: Store) -> str:
    """Return the id of the registry, which is given to it now if it has none.

    Raises:
        RegistryWriteError: it has none, and the registry cannot be written.
        ArtifactReadError: it cannot be read, or its registry.json is not one of Redistill's.
    """
    found = known_id(store)
    if found is not None:
        return found
    fresh = {"schema": REGISTRY_SCHEMA, "id": str(uuid.uuid4())}
    with _write_errors(store):
        return _id_in(
            store.create(REGISTRY_FILE, orjson.dumps(fresh, option=orjson.OPT_APPEND_NEWLINE)), store
        )


def known_id(store: Store) -> str | None:
    """Return the id of the registry, or None if it has none yet. Raises ArtifactReadError."""
    content = store.read(REGISTRY_FILE)
    return None if content is None else _id_in(content, store)


def _id_in(content: bytes, store: Store) -> str:
    try:
        return str(uuid.UUID(str(orjson.loads(content)["id"])))
    except (ValueError, KeyError, TypeError) as error:
        location = store.location(REGISTRY_FILE)
        raise ArtifactReadError(location=location, problem="it has no 'id' that is a UUID") from error


def stage(store: Store, candidate: Model, *, job: str, now: datetime) -> Path:
    """Save a candidate to a new local folder, which readers of the registry ignore.

    First, the leftovers of this job's earlier attempts (which have lost its lease) are removed, and those of
    other jobs that are older than a day. `job` is a `job_key`.

    Raises:
        RegistryWriteError: disk full, permission denied, …; nothing of the candidate is left.
    """
    with _write_errors(store):
        store.staging.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(store, job, now)
        folder = store.staging / f".tmp-{job}-{uuid.uuid4().hex}"
        folder.mkdir()
        with removed_on_error(folder), quiet():
            candidate.network.save_pretrained(folder)
            candidate.tokenizer.save_pretrained(folder)
    return folder


def add(store: Store, staged: Path, manifest: Manifest) -> Registered:
    """Turn a staged candidate into a version, which appears whole and durable, or not at all.

    `staged` no longer exists afterwards. An existing version stays as it is, with its first manifest:
    adding the same candidate again changes nothing.

    Raises:
        RegistryWriteError: disk full, permission denied, …; nothing of the candidate is left.
    """
    with _write_errors(store), removed(staged):
        version = fingerprint(staged)
        key = f"{VERSIONS}/{version}"
        write_private(staged / STEPS_FILE, packed(manifest.training.history))
        write_private(staged / MANIFEST, _json(version, manifest))
        store.put_directory(key, staged, last=MANIFEST)
    return Registered(version=version, location=store.location(key))


def point_current(artifacts: Artifacts, registry: Location, link: str, student: Location) -> bool:
    """Point the registry's link to a model directory, and return whether it was changed.

    The directory is a version of the registry, or a student that was deployed from elsewhere.

    Raises:
        LinkError: the directory holds no model, the registry cannot be written, or `link` is not a link.
    """
    store = artifacts.store(registry)
    try:
        if not artifacts.holds_model(student):
            problem = "it holds no model; put it back"
            raise LinkError(link=store.location(link), directory=student, problem=problem)
        if isinstance(registry, str) and isinstance(student, Path):
            problem = "readers of S3 do not have this folder; upload it, and set 'uri' in [student]"
            raise LinkError(link=store.location(link), directory=student, problem=problem)
        target = student.absolute() if isinstance(student, Path) else student
        return store.point(link, str(target))
    except (ArtifactReadError, ArtifactWriteError) as error:
        problem = f"{error.fields.get('problem', error)}; free space or fix the permissions in {registry}"
        raise LinkError(link=store.location(link), directory=student, problem=problem) from error


def _json(version: str, manifest: Manifest) -> bytes:
    libraries = {name: library_version(name) for name in _LIBRARIES}
    training = {"steps": manifest.training.steps, "epochs": manifest.training.epochs}
    content = {"schema": MANIFEST_SCHEMA, "version": version, **vars(manifest), "libraries": libraries}
    content["training"] = training  # the steps have a file of their own
    return orjson.dumps(content, default=float, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _remove_leftovers(store: Store, job: str, now: datetime) -> None:
    removed_before = now - LEFTOVER_AGE
    for path in store.staging.glob(".tmp-*"):
        with suppress(FileNotFoundError):  # another worker may have removed it meanwhile
            own = path.name.startswith(f".tmp-{job}-")
            if own or path.lstat().st_mtime < removed_before.timestamp():
                remove_tree(path)
    store.remove_incomplete(VERSIONS, last=MANIFEST, before=removed_before)


@contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """Remove a staged candidate if the block fails or is stopped."""
    try:
        yield
    except BaseException:
        remove_tree(path)
        raise


@contextmanager
def _write_errors(store: Store) -> Iterator[None]:
    try:
        yield
    except ArtifactWriteError as error:
        raise RegistryWriteError(registry=store.location(""), problem=error.fields["problem"]) from error
    except (OSError, SafetensorError) as error:
        problem = getattr(error, "strerror", None) or error
        raise RegistryWriteError(registry=store.location(""), problem=problem) from error
