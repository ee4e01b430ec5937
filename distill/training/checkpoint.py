"""Checkpoints: the state of a training in the registry, from which another process resumes it.

REGISTRY/.checkpoint-<job>/<step>-<sha256>.safetensors, where the job is named as in distill/registry.py

A file is written whole or not at all, and its name has the SHA-256 of its bytes, so a truncated or changed
file is detected and not used; neither is one of another training. Nothing in it is executed or unpickled.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
import structlog
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from db.errors import RedistillError
from monitor.storage.local_store import remove_tree, removed
from monitor.storage.store import ArtifactReadError, ArtifactWriteError, Store

#: Changes with the contents of the file; the code of a step is part of the identity.
CHECKPOINT_SCHEMA: Final = "redistill.checkpoint/1"
#: The largest share of the time of a training that saving may take, however slow the disk is.
LARGEST_SHARE: Final = 0.02

_METADATA: Final = "training"
_PREFIX: Final = ".checkpoint-"
_NAME: Final = re.compile(r"(\d+)-([0-9a-f]{64})\.safetensors")


class UnusableError(RedistillError):
    """{problem}"""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training between two steps."""

    step: int  #: the number of steps done
    steps: int  #: the number of steps of the whole training
    epochs: int  #: the number of epochs that have ended, their validation included
    tensors: Mapping[str, Tensor]  #: everything that the rest of the training depends on, by name
    log: str  #: the training's log so far, in its own format


@dataclass(frozen=True, kw_only=True)
class _Header:
    schema: str
    identity: dict[str, str]
    step: int
    steps: int
    epochs: int
    journal: str  #: the log


class Checkpoints:
    """The checkpoints of one training; the training continues if none can be written."""

    def __init__(
        self,
        store: Store,
        job: str,
        *,
        identity: Mapping[str, str],
        every_seconds: float,
        job_id: int | None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create the checkpoints of a job, by its key in the registry; `job_id` is None outside of jobs.

        Trainings that would end with other weights have another `identity`.
        """
        self._store = store
        self._job = job
        self._prefix = f".tmp-{job}-checkpoint-"
        # Version 0.5 and earlier named the folder by the job's number alone.
        self._folders = (folder(job),) if job_id is None else (folder(job), folder(str(job_id)))
        self._identity = dict(identity)
        self._every_seconds = every_seconds
        self._clock = clock
        self._due_at = clock() + every_seconds
        self._log = structlog.get_logger().bind(job_id=job_id)

    def load(self) -> Checkpoint | None:
        """Return the latest usable checkpoint of this training, or None; log why others are not used."""
        for key in sorted(self._keys(), key=_step, reverse=True):
            file = key.rpartition("/")[2]
            try:
                found = self._read(self._store.fetch(key))
            except UnusableError as error:
                self._log.warning("checkpoint not used", file=file, reason=str(error))
                with suppress(ArtifactWriteError):
                    self._store.remove(key)
            except (OSError, ArtifactReadError) as error:
                self._log.warning("checkpoint not used", file=file, reason=str(error))
            else:
                self._log.info("training resumed", step=found.step, steps=found.steps)
                return found
        return None

    def due(self) -> bool:
        """Return whether to save now: `every_seconds` after the last time, or later where saving is slow."""
        return self._clock() >= self._due_at

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the checkpoint and remove earlier ones; a failure is logged and leaves those in place."""
        began = self._clock()
        log = self._log.bind(step=checkpoint.step, steps=checkpoint.steps)
        try:
            n_bytes = self._write(checkpoint)
        except (OSError, SafetensorError, ArtifactReadError, ArtifactWriteError) as error:
            log.warning("checkpoint not written", reason=str(error))
            n_bytes = None
        ended = self._clock()
        seconds = ended - began
        self._due_at = ended + max(self._every_seconds, seconds / LARGEST_SHARE - seconds)
        if n_bytes is not None:
            log.info("checkpoint written", n_bytes=n_bytes, seconds=round(seconds, 3))

    def _keys(self) -> list[str]:
        try:
            return [
                f"{folder}/{name}"
                for folder in self._folders
                for name in self._store.names(folder)
                if _NAME.fullmatch(name)
            ]
        except ArtifactReadError as error:
            self._log.warning("checkpoint not used", file=self._folders[0], reason=str(error))
            return []

    def _read(self, path: Path) -> Checkpoint:
        if _sha256(path) not in path.name:
            raise UnusableError(problem="it is truncated or was changed: its SHA-256 differs from its name")
        try:
            with safe_open(path, framework="pt") as file:
                header = _header(file.metadata())
                self._check(header)
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UnusableError(problem=f"it is not a safetensors file: {error}") from error
        return Checkpoint(
            step=header.step,
            steps=header.steps,
            epochs=header.epochs,
            tensors=tensors,
            log=header.journal,
        )

    def _check(self, header: _Header) -> None:
        own, theirs = self._identity, header.identity
        differing = sorted(name for name in {*own, *theirs} if own.get(name) != theirs.get(name))
        if differing:
            raise UnusableError(problem=f"it belongs to another training: {', '.join(differing)} differ")

    def _write(self, checkpoint: Checkpoint) -> int:
        header = _Header(
            schema=CHECKPOINT_SCHEMA,
            identity=self._identity,
            step=checkpoint.step,
            steps=checkpoint.steps,
            epochs=checkpoint.epochs,
            journal=checkpoint.log,
        )
        staging = self._store.staging
        staging.mkdir(parents=True, exist_ok=True)
        staged = staging / f"{self._prefix}{uuid.uuid4().hex}"
        with removed(staged):
            save_file(dict(checkpoint.tensors), staged, metadata={_METADATA: json.dumps(asdict(header))})
            n_bytes = staged.stat().st_size
            key = f"{self._folders[0]}/{checkpoint.step:09}-{_sha256(staged)}.safetensors"
            self._store.put(key, staged)
        self._remove_others(key)
        return n_bytes

    def _remove_others(self, key: str) -> None:
        """Remove earlier checkpoints and the files of killed writers, but no checkpoint of a later step."""
        for path in self._store.staging.glob(f"{self._prefix}*"):
            remove_tree(path)
        for other in self._keys():
            if other != key and _step(other) <= _step(key):
                self._store.remove(other)


def folder(job: str) -> str:
    """Return the key of a job's checkpoints in the registry."""
    return f"{_PREFIX}{job}"


def jobs(store: Store) -> list[str]:
    """Return the keys of the jobs that have checkpoints in the registry."""
    return [name.removeprefix(_PREFIX) for name in store.names("") if name.startswith(_PREFIX)]


def _step(key: str) -> int:
    return int(key.rpartition("/")[2].partition("-")[0])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(metadata: Mapping[str, str] | None) -> _Header:
    try:
        header = msgspec.json.decode((metadata or {})[_METADATA], type=_Header)
    except (KeyError, msgspec.MsgspecError) as error:
        raise UnusableError(problem=f"it is not a checkpoint of a training: {error!r}") from error
    if header.schema != CHECKPOINT_SCHEMA:
        raise UnusableError(problem=f"its format is {header.schema}: this version reads {CHECKPOINT_SCHEMA}")
    return header
