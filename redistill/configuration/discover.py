"""What a folder holds that a configuration can name: models, a request log, labelled files."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from monitor.sources.fields import guess_fields, guess_format, read_rows
from monitor.sources.formats.readers import ParquetMissingError

_DEEPEST: Final = 8  #: folders below the one that is looked through
_HEADS: Final = 20  #: data files of one folder that are looked into
_SUFFIXES: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".ndjson", ".parquet")
_COUNTED_ROWS: Final = 100_000
_RARE: Final = 0.75  #: of an even share
#: Folders of a log that a later day does not share: 2026, 24, 2026-11-24, dt=2026-11-24, hour=03.
_DATED: Final = re.compile(r"([A-Za-z_]+=)?[\d-]+")
_ROLES: Final = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A directory in the save_pretrained layout, of a classifier whose labels have names."""

    path: Path
    n_bytes: int  #: of its weights
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is, each in the order of its path."""

    folder: Path
    models: tuple[FoundModel, ...]
    logs: tuple[Path, ...]  #: files of requests with an id, a time and a text
    labelled: tuple[Path, ...]  #: files of texts with a label

    def teacher_and_student(self) -> tuple[FoundModel | None, FoundModel | None]:
        """By their names, else by their sizes: the teacher is the larger one. Of one model: the student."""
        by_size = sorted(self.models, key=lambda model: model.n_bytes)
        named = {name: self._named(name) for name in ("teacher", "student")}
        student = named["student"] or next((each for each in by_size if each != named["teacher"]), None)
        teacher = named["teacher"] or next((each for each in by_size[::-1] if each != student), None)
        return teacher, student

    def _named(self, name: str) -> FoundModel | None:
        return next(
            (model for model in self.models if name in str(model.path.relative_to(self.folder)).lower()), None
        )

    def log(self) -> Path | None:
        """The deepest folder that holds all, above those named by dates; a file that lies beside others."""
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
        """The labelled file whose name says train, validation or test."""
        return next((path for path in self.labelled if _is_named(path, _ROLES[role])), None)


def read_model(path: Path) -> FoundModel | None:
    """The model in a directory, judged by its config.json and its files; None if there is none."""
    try:
        config = orjson.loads((path / "config.json").read_bytes())
        labels = config.get("id2label")
        n_bytes = sum(weights.stat().st_size for weights in path.glob("*.safetensors"))
    except (OSError, AttributeError, orjson.JSONDecodeError):
        return None
    if not isinstance(labels, dict) or not n_bytes:
        return None
    return FoundModel(path=path, n_bytes=n_bytes, labels=tuple(map(str, labels.values())))


def look_through(folder: Path) -> Found:
    """Everything in `folder` and below it, without hidden folders; files are judged by their first rows."""
    models: list[FoundModel] = []
    logs: list[Path] = []
    labelled: list[Path] = []
    for parent, files in _walk(folder):
        model = read_model(parent)
        if model is not None:
            models.append(model)
            continue
        data = sorted(parent / name for name in files if name.endswith(_SUFFIXES))
        for path in data[:_HEADS]:
            if _is_log(path):
                logs.append(path)
            elif _is_labelled(path):
                labelled.append(path)
    return Found(folder=folder, models=tuple(models), logs=tuple(logs), labelled=tuple(labelled))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for parent, folders, files in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and depth < _DEEPEST)
        yield Path(parent), files


def _is_labelled(path: Path) -> bool:
    row = {} if guess_format(path) == "parquet" else next(read_rows(path), {})
    return isinstance(row.get("text"), str) and isinstance(row.get("label"), str)


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


def rare_labels(labelled: Path) -> tuple[str, ...]:
    """The labels with less than three quarters of an even share, the rarest first."""
    counts: Counter[str] = Counter()
    for row in islice(read_rows(labelled), _COUNTED_ROWS):
        label = row.get("label")
        counts.update([label] if isinstance(label, str) else [])
    even = counts.total() / max(len(counts), 1)
    return tuple(label for label, n in counts.most_common()[::-1] if n < _RARE * even)
