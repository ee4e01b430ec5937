"""The scored sample of a cycle, and its format: a header line, then one line per request, compressed.

Equal samples give equal bytes.
"""

import gzip
import hashlib
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import orjson
from numpy.typing import NDArray

from db.records import Slot
from monitor.scoring.recorded import NONE, Served
from monitor.sources.request import Request
from monitor.storage.zstandard import zstd
from monitor.strata import Strata

SCHEMA = "redistill.sample/1"
_GZIP_MAGIC = b"\x1f\x8b"  #: for archives that were written before 0.2
_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE


class NotASampleError(Exception):
    """The bytes are not an archive; the argument says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredSample:
    """The sampled requests of a slot, with the logits of both models."""

    slot: Slot
    labels: tuple[str, ...]  #: one per column of the logits
    teacher_version: str
    student_version: str
    temperature: float
    requests: tuple[Request, ...]
    strata: Strata
    stratum_labels: tuple[str | None, ...]  #: the recorded student label of each stratum; None: no label
    teacher_logits: NDArray[np.float32]  #: (n, labels)
    student_logits: NDArray[np.float32]  #: (n, labels), in the same order of labels
    served: Served | None = None  #: if recorded answers are used
    redacted: tuple[bool, ...] | None = (
        None  #: whether the text differs from the one that was scored; None: not known
    )


def without(sample: ScoredSample, request_ids: Collection[str]) -> ScoredSample:
    """Return the sample without the requests with these ids."""
    kept = [index for index, request in enumerate(sample.requests) if request.id not in request_ids]
    return replace(
        sample,
        requests=tuple(sample.requests[index] for index in kept),
        strata=sample.strata.at(np.array(kept, dtype=np.intp)),
        teacher_logits=sample.teacher_logits[kept],
        student_logits=sample.student_logits[kept],
        served=sample.served and _rows_of(sample.served, kept),
        redacted=sample.redacted and tuple(sample.redacted[index] for index in kept),
    )


def packed(sample: ScoredSample) -> bytes:
    """Return the sample as the bytes of a file."""
    return zstd.compress(b"".join(_lines(sample)), options={zstd.CompressionParameter.checksum_flag: 1})


def parsed(content: bytes) -> ScoredSample:
    """Return the sample from the bytes of a file, with logits that are identical to the last bit.

    Of the requests, only id, time, text and true label are stored.

    Raises:
        NotASampleError: the bytes are damaged, or have another schema.
    """
    try:
        is_gzip = content.startswith(_GZIP_MAGIC)
        return _parse(gzip.decompress(content) if is_gzip else zstd.decompress(content))
    except (OSError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise NotASampleError(f"it is damaged ({error})") from error
    except Exception as error:
        raise NotASampleError(f"it is not an archive of the schema {SCHEMA} ({error})") from error


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
            **({} if sample.redacted is None else {"redacted": sample.redacted[index]}),
            **({} if request.label is None else {"label": request.label}),
        }
        yield orjson.dumps(row, option=_JSON)


def _served(labels: tuple[str, ...], served: Served, index: int) -> dict[str, str | None]:
    indices = (served.recorded[index], served.rescored[index])
    recorded, rescored = (None if each == NONE else labels[each] for each in indices)
    return {"recorded_label": recorded, "rescored_label": rescored}


def _rows_of(served: Served, rows: list[int]) -> Served:
    return Served(recorded=served.recorded[rows], rescored=served.rescored[rows])


def _parse(content: bytes) -> ScoredSample:
    header, *rows = (orjson.loads(line) for line in content.splitlines())
    if header["schema"] != SCHEMA:
        raise ValueError(f"its schema is {header['schema']}")
    if header["n"] != len(rows):
        raise ValueError(f"it has {len(rows)} requests, not {header['n']}")
    labels = tuple(header["labels"])
    strata = header.get(
        "strata", [{"student_label": None, "n_seen": len(rows)}]
    )  # for archives from before 0.2
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
            Request(
                id=row["id"],
                time=datetime.fromisoformat(row["time"]),
                text=row["text"],
                label=row.get("label"),
            )
            for row in rows
        ),
        strata=Strata(
            sizes=tuple(each["n_seen"] for each in strata),
            of=np.array([row.get("stratum", 0) for row in rows], dtype=np.intp),
        ),
        stratum_labels=tuple(each["student_label"] for each in strata),
        teacher_logits=_logits(rows, "teacher_logits", len(labels)),
        student_logits=_logits(rows, "student_logits", len(labels)),
        served=_parse_served(rows, labels),
        redacted=tuple(row["redacted"] for row in rows) if rows and "redacted" in rows[0] else None,
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
