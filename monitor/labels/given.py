"""The labels of a file, by request: more than fit into memory, so on disk while they are joined."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from db.cycles.labels import request_hash
from monitor.labels.files import GivenLabel


class GivenLabels:
    """Of two labels of one request the later one counts. All of it is gone at the end."""

    def __init__(self, rows: sqlite3.Connection, labels: Iterable[GivenLabel]) -> None:
        self._rows = rows
        rows.execute("PRAGMA journal_mode = OFF")
        rows.execute("BEGIN")  # it never ends: nobody else reads it, and nothing is kept
        rows.execute("CREATE TABLE given (hash BLOB, label TEXT)")
        rows.execute("CREATE TABLE joined (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        pairs = ((_key(request_hash(each.request_id)), each.label) for each in labels)
        rows.executemany("INSERT INTO given VALUES (?, ?)", pairs)
        rows.execute("CREATE INDEX by_hash ON given (hash)")  # sorts, which random insertions would not
        self.n_requests = self._count("SELECT COUNT(DISTINCT hash) FROM given")

    @property
    def n_joined(self) -> int:
        """Requests that were found in a sample."""
        return self._count("SELECT COUNT(*) FROM joined")

    def of(self, hashes: Iterable[str]) -> Mapping[str, str]:
        """The labels of the requests of these hashes that have one."""
        query = "SELECT label FROM given WHERE hash = ? ORDER BY rowid DESC LIMIT 1"
        found = ((each, self._rows.execute(query, (_key(each),)).fetchone()) for each in hashes)
        return {each: row[0] for each, row in found if row}

    def mark_joined(self, hashes: Iterable[str]) -> None:
        """These are in a sample."""
        self._rows.executemany("INSERT OR IGNORE INTO joined VALUES (?)", ((_key(each),) for each in hashes))

    def _count(self, query: str) -> int:
        (count,) = self._rows.execute(query).fetchone()
        return int(count)


def _key(request_hash: str) -> bytes:
    return bytes.fromhex(request_hash)


@contextmanager
def labels_on_disk(labels: Iterable[GivenLabel]) -> Iterator[GivenLabels]:
    """The labels, in a file of SQLite's own that is deleted at the end."""
    rows = sqlite3.connect("", isolation_level=None)
    try:
        yield GivenLabels(rows, labels)
    finally:
        rows.close()
