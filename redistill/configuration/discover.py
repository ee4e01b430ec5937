"""Discovery of the models, the request log and the labelled files in a folder."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from distill.training.fields import TEXT_AND_LABEL, LabelledFields
from monitor.sources.fields import guess_fields, guess_format, read_rows
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.named_rows import NamedRow, NoColumnError, is_csv, named_rows
from monitor.sources.formats.readers import ParquetMissingError
from monitor.sources.stores.port import BrokenObjectError

_DEEPEST: Final = 8  #: levels of folders that are scanned
_HEADS: Final = 20  #: data files of one folder that are opened
_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".ndjson", ".parquet")
_MAX_BYTES: Final = 2**40  #: of a file, decompressed
_RARE: Final = 0.75  #: a label is rare below this fraction of an even share
#: Names of folders that are specific to a date or hour: 2026, 24, 2026-11-24, dt=2026-11-24, hour=03.
_DATED: Final = re.compile(r"([A-Za-z_]+=)?[\d-]+")
_ROLES: Final = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True, kw_only=True)
class ModelDirectory:
    """A save_pretrained directory of a classifier with named labels."""

    path: Path
    n_bytes: int  #: size of the weights
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FolderContents:
    """The models and data files of a folder, each in the order of its path."""

    folder: Path
    models: tuple[ModelDirectory, ...]
    logs: tuple[Path, ...]  #: files of requests with an id, a time and a text
    labelled: tuple[Path, ...]  #: files of texts with a label

    def teacher_and_student(self) -> tuple[ModelDirectory | None, ModelDirectory | None]:
        """Return teacher and student by their names, else by size: the larger model is the teacher.

        A single model is the student.
        """
        by_size = sorted(self.models, key=lambda model: model.n_bytes)
        named = {name: self._named(name) for name in ("teacher", "student")}
        student = named["student"] or next((each for each in by_size if each != named["teacher"]), None)
        teacher = named["teacher"] or next((each for each in by_size[::-1] if each != student), None)
        return teacher, student

    def _named(self, name: str) -> ModelDirectory | None:
        return next(
            (model for model in self.models if name in str(model.path.relative_to(self.folder)).lower()), None
        )

    def log(self) -> Path | None:
        """Return the deepest folder of all logs, above those named by dates; or a log beside other files."""
        if not self.logs:
            return None
        above = Path(os.path.commonpath([path.parent for path in self.logs]))
        while _DATED.fullmatch(above.name) and above != self.folder:
            above = above.parent
        is_alone = len(self.logs) == 1 and (above == self.folder or self._holds_labelled(above))
        return self.logs[0] if is_alone else above

    def _holds_labelled(self, folder: Path) -> bool:
        return any(path.is_relative_to(folder) for path in self.labelled)

    def labelled_as(self, role: str) -> Path | None:
        """Return the labelled file whose name contains the role: train, validation or test."""
        return next((path for path in self.labelled if _is_named(path, _ROLES[role])), None)


def read_model(path: Path) -> ModelDirectory | None:
    """Return the model in a directory, by its config.json and its weights, or None without them."""
    try:
        config = orjson.loads((path / "config.json").read_bytes())
        labels = config.get("id2label")
        n_bytes = sum(weights.stat().st_size for weights in path.glob("*.safetensors"))
    except (OSError, AttributeError, orjson.JSONDecodeError):
        return None
    if not isinstance(labels, dict) or not n_bytes:
        return None
    return ModelDirectory(path=path, n_bytes=n_bytes, labels=tuple(map(str, labels.values())))


def scan(folder: Path, fields: LabelledFields = TEXT_AND_LABEL) -> FolderContents:
    """Return the contents of `folder` and its subfolders, except hidden ones. First rows decide on a file."""
    models: list[ModelDirectory] = []
    logs: list[Path] = []
    labelled: list[Path] = []
    for parent, files in _walk(folder):
        model = read_model(parent)
        if model is not None:
            models.append(model)
            continue
        data = sorted(parent / name for name in files if name.endswith(_SUFFIXES) or is_csv(name))
        for path in data[:_HEADS]:
            if not is_csv(path.name) and _is_log(path):
                logs.append(path)
            elif _is_labelled(path, fields):
                labelled.append(path)
    return FolderContents(folder=folder, models=tuple(models), logs=tuple(logs), labelled=tuple(labelled))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for parent, folders, files in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and depth < _DEEPEST)
        yield Path(parent), files


def _is_labelled(path: Path, fields: LabelledFields) -> bool:
    row = next(labelled_rows(path, fields), {})
    return isinstance(row.get(fields.text), str) and isinstance(row.get(fields.label), str)


def labelled_rows(path: Path, fields: LabelledFields) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a file in a format of labelled files, up to any damage; none of another file."""
    if not is_csv(path.name):
        yield from () if guess_format(path) == "parquet" else read_rows(path)
        return
    with suppress(OSError, BrokenObjectError, NoColumnError), path.open("rb") as file:
        chunks = read_chunks(file, max_bytes=_MAX_BYTES)
        for row in named_rows(path.name, chunks, (fields.text, fields.label), options=""):
            if isinstance(row, NamedRow):
                yield row.values


def _is_log(path: Path) -> bool:
    if guess_format(path) == "sagemaker-capture":
        return True
    try:
        fields = guess_fields(path)
    except ParquetMissingError:
        return False
    return None not in {fields.id, fields.time, fields.text}


def _is_named(path: Path, names: tuple[str, ...]) -> bool:
    stem = path.name.lower().partition(".")[0]
    return any(name in stem.replace("-", "_").split("_") for name in names)


def rare_labels(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the labels with less than three quarters of an even share, rarest first."""
    counts = Counter(label for label in labels if isinstance(label, str))
    even = counts.total() / max(len(counts), 1)
    return tuple(label for label, n in counts.most_common()[::-1] if n < _RARE * even)
