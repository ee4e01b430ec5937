"""The data that a candidate is trained and judged on: labelled files and texts of archived samples.

Two texts are the same if their normalised forms are (NFC, stripped, case-folded, each run of white
space one space). No text of the labelled test set is used for training.
"""

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.errors import RedistillError, quoted
from distill.settings import LabelSource
from distill.training.archived import (
    NO_TRAFFIC_LABELS,
    ArchivedRow,
    KnownLogits,
    TrafficLabels,
    in_scope,
    is_labelled,
    traffic_labels,
)
from distill.training.fields import TEXT_AND_LABEL, LabelledFields
from monitor.archive.redaction import Redact
from monitor.labels.spelling import or_alike
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.named_rows import Malformed, NamedRow, NoColumnError, named_rows
from monitor.sources.stores.port import BrokenObjectError

#: The share of the distinct texts of an archived sample that is held out from training.
HELD_OUT_SHARE: Final = 0.3

_HASH_RANGE: Final = 2**64
_MAX_BYTES: Final = 2**40  #: of a labelled file, decompressed
_OPTIONS: Final = "text_field and label_field in [redistill], or --text-field and --label-field"


class DatasetUnreadableError(RedistillError):
    """The labelled file {path} cannot be read: {problem}. Use JSON Lines with rows such as
    {{"text": "where is my order?", "label": "order_tracking"}}, or CSV (.csv) with such columns; both may be
    compressed with gzip or zstandard.
    """


class DatasetRowError(RedistillError):
    """{path}, line {line}: {problem}."""


class DatasetEmptyError(RedistillError):
    """The labelled file {path} has no rows: add labelled rows."""


class DatasetOverlapError(RedistillError):
    """The test set {test} overlaps the {role} set {other}: {n} texts are in both, the first on line
    {test_line} of the test set and line {other_line} of the {role} set. Remove them from one of the files.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledSet:
    """The rows of one labelled file, in its order; all sequences are (n,)."""

    path: Path
    sha256: str  #: of the file's bytes on disk
    texts: tuple[str, ...]
    labels: NDArray[np.int64]  #: indices into the label names that the file was read with
    lines: tuple[int, ...]  #: the 1-based line of each row (blank lines are skipped)


@dataclass(frozen=True, kw_only=True)
class ArchiveSplit:
    """An archived sample, split into two parts that share no text, each in the sample's order."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]
    rows: tuple[int, ...]  #: the indices of the held-out texts in the sample


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """The rows of the labelled file, followed by archived requests; all sequences are (n,)."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]  #: 0 where `labelled` is false
    labelled: NDArray[np.bool_]
    label_weights: NDArray[np.float32] | None = None  #: 0 where `labelled` is false; None: 1 in the others
    traffic_labels: TrafficLabels = NO_TRAFFIC_LABELS
    known_logits: KnownLogits | None = None
    n_fenced: int = 0  #: archived requests left out because their text is in the test set


def text_hash(text: str) -> bytes:
    """Return the SHA-256 digest of the normalised text, which is equal for texts that count as the same."""
    normalised = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).digest()


def read_labelled(
    path: Path, label_names: Sequence[str], fields: LabelledFields = TEXT_AND_LABEL
) -> LabelledSet:
    """Read the rows of a labelled file: JSON Lines, or CSV with a header if the name ends in .csv.

    It may be compressed with gzip or zstandard, as its first bytes show. Blank lines are skipped and further
    fields ignored.

    Raises:
        DatasetUnreadableError: the file does not exist, is not readable, is damaged or truncated, or is CSV
            without one of the columns.
        DatasetRowError: a row cannot be decoded, has no usable text, or has a label that is not in
            `label_names`; the error names the first such row.
        DatasetEmptyError: the file has no rows.
    """
    raw = _read(path)
    index = {name: number for number, name in enumerate(label_names)}
    rows = list(_rows(path, raw, fields, index))
    if not rows:
        raise DatasetEmptyError(path=path)
    lines, texts, labels = zip(*rows, strict=True)
    return LabelledSet(
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        texts=texts,
        labels=np.array(labels, dtype=np.int64),
        lines=lines,
    )


def chosen(rows: LabelledSet, n: int) -> LabelledSet:
    """Return the n rows with the smallest text hashes, or all rows if there are fewer, in the file's order.

    The choice does not depend on the order of the rows in the file.
    """
    ranked = sorted(range(len(rows.texts)), key=lambda index: text_hash(rows.texts[index]))
    kept = sorted(ranked[:n])
    return replace(
        rows,
        texts=tuple(rows.texts[index] for index in kept),
        labels=rows.labels[kept],
        lines=tuple(rows.lines[index] for index in kept),
    )


def split_archive(texts: Sequence[str], share: float = HELD_OUT_SHARE) -> ArchiveSplit:
    """Hold out about `share` of the distinct texts, chosen by their hash alone.

    A text is on the same side in every sample, whatever the order, and in every attempt. An empty sample
    gives two empty parts, and a very small one may give one empty part.
    """
    held_out = [int.from_bytes(text_hash(text)[:8]) < share * _HASH_RANGE for text in texts]
    return ArchiveSplit(
        training=tuple(text for text, out in zip(texts, held_out, strict=True) if not out),
        held_out=tuple(text for text, out in zip(texts, held_out, strict=True) if out),
        rows=tuple(index for index, out in enumerate(held_out) if out),
    )


def training_set(
    train: LabelledSet,
    archived: Sequence[ArchivedRow],
    test: LabelledSet,
    *,
    redact: Redact = str,
    label_source: LabelSource = "random",
) -> TrainingSet:
    """Return the labelled rows, followed by the archived requests whose texts are not in the test set.

    An archived request whose true label is known is a labelled row, with the weight of `traffic_labels`. One
    whose label the models do not have is left out and counted.

    Archived requests whose text is in the test set are left out and counted, as production traffic repeats
    texts of the test set. `redact` is the function that was applied to texts before they were archived. A
    labelled row in the test set is an error in the data.

    Raises:
        DatasetOverlapError: a labelled row of `train` is in `test`.
    """
    refuse_overlap(train, test, role="train")
    fence = {text_hash(form) for text in test.texts for form in (text, redact(text))}
    outside = [row for row in archived if text_hash(row.text) not in fence]
    kept = in_scope(outside)
    n_train = len(train.texts)
    labelled = np.concatenate([np.ones(n_train, dtype=np.bool_), is_labelled(kept)])
    found = traffic_labels(outside, kept, n_train, label_source)
    weights = np.where(np.arange(len(labelled)) < n_train, 1.0, found.weight)
    return TrainingSet(
        texts=(*train.texts, *(row.text for row in kept)),
        labels=np.concatenate([train.labels, np.array([row.label or 0 for row in kept], dtype=np.int64)]),
        labelled=labelled,
        label_weights=np.where(labelled, weights, 0).astype(np.float32),
        traffic_labels=found,
        known_logits=KnownLogits.of(kept, first=n_train),
        n_fenced=len(archived) - len(outside),
    )


def refuse_overlap(rows: LabelledSet, test: LabelledSet, *, role: str) -> None:
    """Check that no row, of the set that has that role, is in the test set.

    Raises:
        DatasetOverlapError: one is.
    """
    row_lines = {text_hash(text): line for text, line in zip(rows.texts[::-1], rows.lines[::-1], strict=True)}
    shared = {
        digest: line
        for text, line in zip(test.texts[::-1], test.lines[::-1], strict=True)
        if (digest := text_hash(text)) in row_lines
    }
    if shared:
        first = min(shared, key=lambda digest: shared[digest])
        raise DatasetOverlapError(
            test=test.path,
            role=role,
            other=rows.path,
            n=len(shared),
            test_line=shared[first],
            other_line=row_lines[first],
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetUnreadableError(path=path, problem=error.strerror or error) from error


def _rows(
    path: Path, raw: bytes, fields: LabelledFields, index: Mapping[str, int]
) -> Iterator[tuple[int, str, int]]:
    try:
        chunks = read_chunks(BytesIO(raw), max_bytes=_MAX_BYTES)
        for row in named_rows(path.name, chunks, (fields.text, fields.label), options=_OPTIONS):
            if isinstance(row, Malformed):
                raise DatasetRowError(path=path, line=row.line, problem=row.problem)
            yield row.line, *_values(path, row, fields, index)
    except (BrokenObjectError, NoColumnError) as error:
        problem = error.fields["problem"] if isinstance(error, BrokenObjectError) else error
        raise DatasetUnreadableError(path=path, problem=problem) from error


def _values(path: Path, row: NamedRow, fields: LabelledFields, index: Mapping[str, int]) -> tuple[str, int]:
    try:
        return _text(row, fields.text), _label(_text(row, fields.label), fields.label, index)
    except ValueError as error:
        raise DatasetRowError(path=path, line=row.line, problem=error) from error


def _text(row: NamedRow, field: str) -> str:
    value = row.values.get(field)
    if not isinstance(value, str):
        raise ValueError(f"field {field!r}: expected a string, not {_kind(value)}")  # noqa: TRY004 - the data is wrong, not the call
    if not value.strip():
        raise ValueError(f"field {field!r}: empty")
    return value


def _label(label: str, field: str, index: Mapping[str, int]) -> int:
    if label not in index:
        known = or_alike(label, index) or f" ({', '.join(index)})"
        raise ValueError(f"field {field!r}: {quoted(label)} is not one of the models' labels{known}")
    return index[label]


def _kind(value: object) -> str:
    return "a missing or null value" if value is None else f"a {type(value).__name__}"
