"""A cycle's scored sample as a file: what the numbers can be recomputed from, and what a worker trains on.

FOLDER/<monitor>/<window end>.jsonl.gz holds a header line and then a line per request. The same sample
gives the same bytes. A file is there whole or not at all, and only its owner may read it.
"""

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from db.errors import RedistillError
from db.records import Archive, Slot
from monitor.recorded import NONE, Served
from monitor.sources.request import Request
from monitor.strata import Strata

SCHEMA = "redistill.sample/1"
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"\.?(\d{8}T\d{6}Z)\.jsonl\.gz(?:\..*\.tmp)?")
_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class ArchiveWriteError(RedistillError):
    """The archive {path} cannot be written: {problem}. Make room or mend the rights there; the cycle is
    tried again.
    """


class ArchiveReadError(RedistillError):
    """The archive {path} cannot be read: {problem}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredSample:
    """The sampled requests of a slot, and what both models answered to them."""

    slot: Slot
    labels: tuple[str, ...]  #: one per column of the logits
    teacher_version: str
    student_version: str
    temperature: float
    requests: tuple[Request, ...]
    strata: Strata
    stratum_labels: tuple[str | None, ...]  #: the recorded student label of each; None: there is none
    teacher_logits: NDArray[np.float32]  #: (n, labels)
    student_logits: NDArray[np.float32]  #: (n, labels), in the same order of labels
    served: Served | None = None  #: where recorded answers are used


def write(folder: Path, sample: ScoredSample) -> Archive:
    """Write the sample of a slot, in place of an earlier one of the same slot.

    Raises:
        ArchiveWriteError: disk full, no rights, …; an earlier file is still there, and nothing else is.
    """
    path = folder.absolute() / sample.slot.monitor / f"{sample.slot.window_end:{_STAMP}}.jsonl.gz"
    return put(str(path), packed(sample))


def packed(sample: ScoredSample) -> bytes:
    """The bytes of its file."""
    return gzip.compress(b"".join(_lines(sample)), mtime=0)


def put(uri: str, content: bytes) -> Archive:
    """Write the bytes of an archive, in place of earlier ones. Errors as for `write`."""
    path = Path(uri)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as descriptor:
            _write_all(descriptor, content)
        _sync_folder(path.parent)
    except OSError as error:
        raise ArchiveWriteError(path=path, problem=error.strerror or error) from error
    return Archive(uri=str(path), sha256=hashlib.sha256(content).hexdigest())


def read(uri: str, *, sha256: str | None = None) -> ScoredSample:
    """The sample that was written; the logits are the same to the last bit.

    Of the requests, id, time and text are kept. With `sha256` the bytes must be those that were written.

    Raises:
        ArchiveReadError: no such file, damaged, changed, or not an archive of this schema.
    """
    try:
        content = Path(uri).read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ArchiveReadError(path=uri, problem="it was changed after it was written")
        return _parse(gzip.decompress(content))
    except FileNotFoundError as error:
        raise ArchiveReadError(
            path=uri, problem="there is no such file; 'archive_days' may have passed"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveReadError(path=uri, problem=f"it is damaged ({error})") from error
    except (KeyError, TypeError, ValueError) as error:
        problem = f"it is not an archive of the schema {SCHEMA} ({error})"
        raise ArchiveReadError(path=uri, problem=problem) from error


def without(sample: ScoredSample, request_ids: Collection[str]) -> ScoredSample:
    """The sample less the requests of those ids."""
    kept = [index for index, request in enumerate(sample.requests) if request.id not in request_ids]
    return replace(
        sample,
        requests=tuple(sample.requests[index] for index in kept),
        strata=replace(sample.strata, of=sample.strata.of[kept]),
        teacher_logits=sample.teacher_logits[kept],
        student_logits=sample.student_logits[kept],
        served=sample.served and _rows_of(sample.served, kept),
    )


def expire(folder: Path, monitor: str, *, before: datetime) -> tuple[str, ...]:
    """Delete the monitor's archives of windows that ended before `before`; returns their uris.

    What a killed process left of one goes with it. Other files are left alone.

    Raises:
        ArchiveWriteError: a file cannot be deleted.
    """
    expired = [path for path in sorted(folder.absolute().glob(f"{monitor}/*")) if _ended_before(path, before)]
    for path in expired:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ArchiveWriteError(path=path, problem=error.strerror or error) from error
    return tuple(str(path) for path in expired if not path.name.startswith("."))


def _ended_before(path: Path, before: datetime) -> bool:
    name = _NAME.fullmatch(path.name)
    return name is not None and datetime.strptime(name[1], _STAMP).replace(tzinfo=UTC) < before


def _lines(sample: ScoredSample) -> Iterator[bytes]:
    yield orjson.dumps(
        {
            "schema": SCHEMA,
            "monitor": sample.slot.monitor,
            "window_start": sample.slot.window_start,
            "window_end": sample.slot.window_end,
            "labels": sample.labels,
            "teacher_version": sample.teacher_version,
            "student_version": sample.student_version,
            "temperature": sample.temperature,
            "n": len(sample.requests),
            "strata": [
                {"student_label": label, "n_seen": size}
                for label, size in zip(sample.stratum_labels, sample.strata.sizes, strict=True)
            ],
        },
        option=_JSON,
    )
    rows = zip(
        sample.requests,
        sample.strata.of.tolist(),
        sample.strata.weights.tolist(),
        sample.teacher_logits,
        sample.student_logits,
        strict=True,
    )
    for index, (request, stratum, weight, teacher, student) in enumerate(rows):
        row = {
            "id": request.id,
            "time": request.time,
            "text": request.text,
            "text_sha256": hashlib.sha256(request.text.encode()).hexdigest(),
            "stratum": stratum,
            "weight": weight,
            "teacher_logits": np.ascontiguousarray(teacher),
            "student_logits": np.ascontiguousarray(student),
            **({} if sample.served is None else _served(sample.labels, sample.served, index)),
        }
        yield orjson.dumps(row, option=_JSON)


def _served(labels: tuple[str, ...], served: Served, index: int) -> dict[str, str | None]:
    indices = (served.recorded[index], served.rescored[index])
    recorded, rescored = (None if each == NONE else labels[each] for each in indices)
    return {"recorded_label": recorded, "rescored_label": rescored}


def _rows_of(served: Served, rows: list[int]) -> Served:
    return Served(recorded=served.recorded[rows], rescored=served.rescored[rows])


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """A temporary file beside `path`, which takes its place when all went well and else is removed."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(content: bytes) -> ScoredSample:
    header, *rows = (orjson.loads(line) for line in content.splitlines())
    if header["schema"] != SCHEMA:
        raise ValueError(f"it says {header['schema']}")
    if header["n"] != len(rows):
        raise ValueError(f"it has {len(rows)} requests, not {header['n']}")
    labels = tuple(header["labels"])
    strata = header.get("strata", [{"student_label": None, "n_seen": len(rows)}])  # as before 0.2
    return ScoredSample(
        slot=Slot(
            monitor=header["monitor"],
            window_start=datetime.fromisoformat(header["window_start"]),
            window_end=datetime.fromisoformat(header["window_end"]),
        ),
        labels=labels,
        teacher_version=header["teacher_version"],
        student_version=header["student_version"],
        temperature=header["temperature"],
        requests=tuple(
            Request(id=row["id"], time=datetime.fromisoformat(row["time"]), text=row["text"]) for row in rows
        ),
        strata=Strata(
            sizes=tuple(each["n_seen"] for each in strata),
            of=np.array([row.get("stratum", 0) for row in rows], dtype=np.intp),
        ),
        stratum_labels=tuple(each["student_label"] for each in strata),
        teacher_logits=_logits(rows, "teacher_logits", len(labels)),
        student_logits=_logits(rows, "student_logits", len(labels)),
        served=_parse_served(rows, labels),
    )


def _parse_served(rows: list[dict[str, str | None]], labels: tuple[str, ...]) -> Served | None:
    if not rows or "recorded_label" not in rows[0]:
        return None
    number: dict[str | None, int] = {None: NONE, **{label: index for index, label in enumerate(labels)}}
    recorded, rescored = (
        np.array([number[row[name]] for row in rows], dtype=np.intp)
        for name in ("recorded_label", "rescored_label")
    )
    return Served(recorded=recorded, rescored=rescored)


def _logits(rows: list[dict[str, list[float]]], name: str, n_labels: int) -> NDArray[np.float32]:
    logits = np.array([row[name] for row in rows], dtype=np.float32).reshape(len(rows), n_labels)
    if not np.isfinite(logits).all():
        raise ValueError(f"not all {name} are finite")
    return logits
