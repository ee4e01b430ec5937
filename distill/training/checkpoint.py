"""The state of a training on disk, so that another process goes on with it.

REGISTRY/.checkpoint-<job>/<step>-<sha256>.safetensors

A file is there whole or not at all, and its name says what its bytes must be: one that was torn, changed
or made by another training is found out and not used. Nothing in it is executed or unpickled.
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

#: Changes with what the file holds; what a step does is in the identity.
CHECKPOINT_SCHEMA: Final = "redistill.checkpoint/1"
#: Of the time of a training that saving may take, however slow the disk is.
LARGEST_SHARE: Final = 0.02

_METADATA: Final = "training"
_PREFIX: Final = ".checkpoint-"
_NAME: Final = re.compile(r"(\d+)-([0-9a-f]{64})\.safetensors")


class UnusableError(RedistillError):
    """{problem}"""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training between two steps."""

    step: int  #: so many are done
    steps: int  #: of so many
    epochs: int  #: that are over, with what follows the last step of each
    tensors: Mapping[str, Tensor]  #: all that the rest of the training depends on, by name
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
    """Those of one training. They are a convenience: a disk that does not take one stops nothing."""

    def __init__(
        self,
        folder: Path,
        *,
        identity: Mapping[str, str],
        every_seconds: float,
        job_id: int,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`identity` tells one training from all others that would end with other weights."""
        self._folder = folder
        self._identity = dict(identity)
        self._every_seconds = every_seconds
        self._clock = clock
        self._due_at = clock() + every_seconds
        self._log = structlog.get_logger().bind(job_id=job_id)

    def load(self) -> Checkpoint | None:
        """The furthest that is whole and of this training; None if there is none, and why is logged."""
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
        """Whether it is time to save: `every_seconds` after the last, and longer where saving is slow."""
        return self._clock() >= self._due_at

    def save(self, checkpoint: Checkpoint) -> None:
        """Write it in place of earlier ones; a failure is logged, and leaves those as they are."""
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
            raise UnusableError(problem="it is torn or was changed: its SHA-256 is not that of its name")
        try:
            with safe_open(path, framework="pt") as file:
                header = _header(file.metadata())
                self._check(header)
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UnusableError(problem=f"it is no safetensors file: {error}") from error
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
            raise UnusableError(problem=f"it is of another training: {', '.join(differing)} differ")

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
        """Earlier ones and what killed writers left, but none that another worker has brought further."""
        for other in self._folder.iterdir():
            further = _NAME.fullmatch(other.name) and _step(other) > _step(path)
            if other != path and not further:
                other.unlink(missing_ok=True)


def folder(registry: Path, job_id: int) -> Path:
    """Where the checkpoints of a job lie."""
    return registry / f"{_PREFIX}{job_id}"


def folders(registry: Path) -> Iterator[tuple[int, Path]]:
    """Each job that has a folder for checkpoints in the registry."""
    for path in registry.glob(f"{_PREFIX}*"):
        number = path.name.removeprefix(_PREFIX)
        if number.isdecimal():
            yield int(number), path


def remove(path: Path) -> None:
    """Remove the checkpoints of a job; what cannot be removed stays, and is tried again."""
    shutil.rmtree(path, ignore_errors=True)


def untouched_since(path: Path, then: datetime) -> bool:
    """Whether nothing was written to a folder of checkpoints since then; False if it is gone."""
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
        raise UnusableError(problem=f"it is no checkpoint of a training: {error!r}") from error
    if header.schema != CHECKPOINT_SCHEMA:
        raise UnusableError(problem=f"it is {header.schema}, and this version knows {CHECKPOINT_SCHEMA}")
    return header
