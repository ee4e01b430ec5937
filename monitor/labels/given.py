"""The labels of a file by request, on disk while they are joined: they may not fit into memory."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from db.cycles.labels import request_hash
from monitor.labels.files import GivenLabel


class GivenLabels:
    """The labels of a file; of several labels of one request, the last one counts."""

    def __init__(self, rows: sqlite3.Connection, labels: Iterable[GivenLabel]) -> None:
        self._rows = rows
        rows.execute("PRAGMA journal_mode = OFF")
        rows.execute("BEGIN")  # never committed: no other connection reads it, and nothing is kept
        rows.execute("CREATE TABLE given (hash BLOB, label TEXT)")
        rows.execute("CREATE TABLE joined (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        pairs = ((_key(request_hash(each.request_id)), each.label) for each in labels)
        rows.executemany("INSERT INTO given VALUES (?, ?)", pairs)
        rows.execute("CREATE INDEX by_hash ON given (hash)")  # sorts, which random insertions would not
        self.n_requests = self._count("SELECT COUNT(DISTINCT hash) FROM given")

    @property
    def n_joined(self) -> int:
        """Return the number of requests that were found in a sample."""
        return self._count("SELECT COUNT(*) FROM joined")

    def of(self, hashes: Iterable[str]) -> Mapping[str, str]:
        """Return the labels of these requests, by hash, for those that have one."""
        query = "SELECT label FROM given WHERE hash = ? ORDER BY rowid DESC LIMIT 1"
        found = ((each, self._rows.execute(query, (_key(each),)).fetchone()) for each in hashes)
        return {each: row[0] for each, row in found if row}

    def mark_joined(self, hashes: Iterable[str]) -> None:
        """Record that these requests are in a sample."""
        self._rows.executemany("INSERT OR IGNORE INTO joined VALUES (?)", ((_key(each),) for each in hashes))

    def _count(self, query: str) -> int:
        (count,) = self._rows.execute(query).fetchone()
        return int(count)


def _key(request_hash: str) -> bytes:
    return bytes.fromhex(request_hash)


@contextmanager
def labels_on_disk(labels: Iterable[GivenLabel]) -> Iterator[GivenLabels]:
    """Store the labels in a temporary database of SQLite, which is deleted at the end."""
    rows = sqlite3.connect("", isolation_level=None)
    try:
        yield GivenLabels(rows, labels)
    finally:
        rows.close()
