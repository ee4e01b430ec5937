"""Files of true labels: JSON Lines, or CSV with a header if the file name says so."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from db.errors import RedistillError
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.named_rows import Malformed, NamedRow, NoColumnError, is_text, named_rows
from monitor.sources.stores.port import BrokenObjectError
from monitor.sources.values import request_id, true_label

__all__ = ["GivenLabel", "LabelsFileError", "Malformed", "read_labels"]

_MAX_BYTES: Final = 2**40  #: decompressed
_STANDARD_INPUT: Final = Path("-")

#: Receives the number of bytes read and the size of the file.
Progress = Callable[[int, int], None]


class LabelsFileError(RedistillError):
    """The labels {path} cannot be read: {problem}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenLabel:
    """The true label of a request, from a file."""

    request_id: str
    label: str


def read_labels(
    path: Path, *, id_name: str, label_name: str, progress: Progress
) -> Iterator[GivenLabel | Malformed]:
    """Yield the content of each row, in the order of the file, which may be plain, gzip or zstandard.

    Ids are strings or whole numbers. Blank lines are skipped. The path `-` is the standard input.

    Raises:
        LabelsFileError: the file does not exist or is damaged, or a CSV file does not have the columns.
    """
    names = (id_name, label_name)
    try:
        with (Path("/dev/stdin") if path == _STANDARD_INPUT else path).open("rb") as file:
            chunks = _with_progress(read_chunks(file, max_bytes=_MAX_BYTES), file, progress)
            for row in named_rows(path.name, chunks, names, options="--id or --label"):
                yield row if isinstance(row, Malformed) else _given(row, id_name, label_name)
    except (OSError, BrokenObjectError, NoColumnError) as error:
        problem: object = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, BrokenObjectError):
            problem = error.fields["problem"]
        raise LabelsFileError(path=path, problem=str(problem or error).rstrip(".")) from error


def _with_progress(chunks: Iterable[bytes], file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    if not file.seekable():  # a pipe, whose size nobody knows
        yield from chunks
        return
    size = file.seek(0, 2)
    file.seek(0)
    for chunk in chunks:
        yield chunk
        progress(file.tell(), size)


def _given(row: NamedRow, id_name: str, label_name: str) -> GivenLabel | Malformed:
    known_as, true = request_id(row.values.get(id_name)), true_label(row.values.get(label_name))
    if known_as is None:
        return Malformed(line=row.line, problem=f"no {id_name}")
    if true is None:
        return Malformed(line=row.line, problem=f"no {label_name}")
    if not is_text(known_as + true):
        return Malformed(line=row.line, problem="invalid UTF-8")
    return GivenLabel(request_id=known_as, label=true)
