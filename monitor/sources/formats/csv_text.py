"""Text with comma-separated values, whatever its line ends."""

import csv
import io
from collections.abc import Iterable, Iterator

from monitor.sources.formats.lines import MAX_LINE_BYTES

InvalidCsvError = csv.Error

csv.field_size_limit(MAX_LINE_BYTES)  # by default 131,072 characters, beyond which a row would be lost


def first_fields(text: str) -> list[str]:
    r"""Return the fields of the first row; line breaks are those of CSV, and no other character is one.

    Raises:
        InvalidCsvError: the row is not CSV.

    Example:
        >>> first_fields('"a\u2028b",1\r2,3')
        ['a\u2028b', '1']
    """
    return next(csv.reader(io.StringIO(text, newline=""), strict=True), [])


def with_line_feeds(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks with a line feed for each line end: CR, LF or both."""
    ended_with_cr = False
    for chunk in chunks:
        whole = chunk[1:] if ended_with_cr and chunk.startswith(b"\n") else chunk
        ended_with_cr = chunk.endswith(b"\r")
        yield whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
