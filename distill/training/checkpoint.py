"""Checkpoints: the state of a training on disk, from which another process resumes it.

REGISTRY/.checkpoint-<job>/<step>-<sha256>.safetensors

A file is written whole or not at all, and its name has the SHA-256 of its bytes, so a truncated or changed
file is detected and not used; neither is one of another training. Nothing in it is executed or unpickled.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
import structlog
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from db.errors import RedistillError
from monitor.storage.disk import sync

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
        folder: Path,
        *,
        identity: Mapping[str, str],
        every_seconds: float,
        job_id: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create the checkpoints; trainings that would end with other weights have another `identity`."""
        self._folder = folder
        self._identity = dict(identity)
        self._every_seconds = every_seconds
        self._clock = clock
        self._due_at = clock() + every_seconds
        self._log = structlog.get_logger().bind(job_id=job_id)

    def load(self) -> Checkpoint | None:
        """Return the latest usable checkpoint of this training, or None; log why others are not used."""
        for path in sorted(self._files(), key=_step, reverse=True):
            try:
                found = self._read(path)
            except UnusableError as error:
                self._log.warning("checkpoint not used", file=path.name, reason=str(error))
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            except OSError as error:
                self._log.warning("checkpoint not used", file=path.name, reason=str(error))
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
        except (OSError, SafetensorError) as error:
            log.warning("checkpoint not written", reason=str(error))
            n_bytes = None
        ended = self._clock()
        seconds = ended - began
        self._due_at = ended + max(self._every_seconds, seconds / LARGEST_SHARE - seconds)
        if n_bytes is not None:
            log.info("checkpoint written", n_bytes=n_bytes, seconds=round(seconds, 3))

    def _files(self) -> Iterator[Path]:
        return (path for path in self._folder.glob("*.safetensors") if _NAME.fullmatch(path.name))

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
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".tmp-{uuid.uuid4().hex}"
        try:
            save_file(dict(checkpoint.tensors), temporary, metadata={_METADATA: json.dumps(asdict(header))})
            sync(temporary)
            path = self._folder / f"{checkpoint.step:09}-{_sha256(temporary)}.safetensors"
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(self._folder)
        self._remove_others(path)
        return path.stat().st_size

    def _remove_others(self, path: Path) -> None:
        """Remove earlier checkpoints and the files of killed writers, but no checkpoint of a later step."""
        for other in self._folder.iterdir():
            further = _NAME.fullmatch(other.name) and _step(other) > _step(path)
            if other != path and not further:
                other.unlink(missing_ok=True)


def folder(registry: Path, job_id: int) -> Path:
    """Return the folder of a job's checkpoints."""
    return registry / f"{_PREFIX}{job_id}"


def folders(registry: Path) -> Iterator[tuple[int, Path]]:
    """Yield each job that has a folder of checkpoints in the registry, with that folder."""
    for path in registry.glob(f"{_PREFIX}*"):
        number = path.name.removeprefix(_PREFIX)
        if number.isdecimal():
            yield int(number), path


def remove(path: Path) -> None:
    """Remove the checkpoints of a job; files that cannot be removed now stay until the next try."""
    shutil.rmtree(path, ignore_errors=True)


def untouched_since(path: Path, then: datetime) -> bool:
    """Return whether nothing was written to a folder of checkpoints since then; False if it is gone."""
    try:
        return path.stat().st_mtime < then.timestamp()
    except OSError:
        return False


def _step(path: Path) -> int:
    return int(path.name.partition("-")[0])


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
