"""The time to enqueue, claim and end a job, and its growth with the history, compared with other queues.

    python bench/job_queue.py

A turn takes one job through the queue in one process: it is enqueued, claimed and ended, in the transactions
that the queue uses for that. On PostgreSQL the peer is procrastinate, on SQLite huey, which keeps no history.
The floor is the same in bare SQL: INSERT, SELECT … FOR UPDATE SKIP LOCKED with UPDATE, and UPDATE. The
contenders take turns in short rounds. For redistill the time of a cycle's read of its monitor's jobs, a
hundredth of all jobs, is shown as well.
"""

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psycopg
from sqlalchemy import Engine, insert

from db import leases, queue
from db.connection.migrate import upgrade
from db.connection.session import connect, reading, writing
from db.records import NewJob
from db.states import JobStatus
from db.tables import jobs
from db.tables import leases as lease_table
from tests.support.servers.postgres import running

HISTORY = (0, 1_000, 10_000, 100_000)
ROUNDS, TURNS, MONITORS = 8, 15, 100
NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)


class Contender(Protocol):
    """A queue with a history of ended jobs."""

    name: str

    def remember(self, n: int) -> None: ...

    def turns(self, n: int) -> None: ...


class Redistill:
    """The product's queue, with lease and fencing token."""

    name = "redistill"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def remember(self, n: int) -> None:
        ended = {"soft_labels": "online", "status": JobStatus.REJECTED, "attempt": 1, "enqueued_at": NOW}
        with writing(self.engine) as connection:
            numbers = connection.scalars(
                insert(jobs).returning(jobs.c.id),
                [{**vars(_order(number)), **ended, "finished_at": NOW} for number in range(n)],
            ).all()
            held = [{"name": queue.lease_name(number), "owner": "w", "token": 1} for number in numbers]
            connection.execute(insert(lease_table), [{**each, "expires_at": NOW} for each in held])
        _tidy(self.engine)

    def turns(self, n: int) -> None:
        for _ in range(n):
            with writing(self.engine) as connection:
                queue.enqueue(connection, _order(0), NOW)
            with writing(self.engine) as connection:
                claimed = queue.claim(connection, _order(0).monitor, owner="w", lease_seconds=60, now=NOW)
            if claimed is None:
                raise RuntimeError("the job was not claimed")
            with writing(self.engine) as connection:
                queue.lock_for_write(connection, *claimed)
                queue.finish(connection, claimed[0], JobStatus.REJECTED, now=NOW)
            with writing(self.engine) as connection:
                leases.release(connection, claimed[1])

    def ladder_ms(self) -> float:
        def read() -> None:
            with reading(self.engine) as connection:
                queue.of_monitor(connection, _order(1).monitor)

        return 1_000 * min(_seconds(read) for _ in range(5))


class Floor:
    """One table with an index on the queued jobs; no lease, reason or numbers."""

    name = "bare SQL"
    _TABLE = "CREATE TABLE floor (id {id} PRIMARY KEY, status TEXT NOT NULL, body TEXT NOT NULL)"
    _INDEX = "CREATE INDEX ix_floor ON floor (id) WHERE status = 'queued'"

    def __init__(self, connection: Any, mark: str, row_id: str, lock: str) -> None:  # noqa: ANN401 - a connection of either driver
        self.connection, self.mark, self.lock = connection, mark, lock
        connection.execute(self._TABLE.format(id=row_id))
        connection.execute(self._INDEX)

    def remember(self, n: int) -> None:
        body = json.dumps(vars(_order(0)), default=str)
        statement = f"INSERT INTO floor (status, body) VALUES ('ended', {self.mark})"  # noqa: S608 - a mark
        with self._block():
            self.connection.cursor().executemany(statement, [(body,)] * n)
        self.connection.execute("ANALYZE floor")

    def turns(self, n: int) -> None:
        run, mark = self.connection.execute, self.mark
        body = json.dumps(vars(_order(0)), default=str)
        for _ in range(n):
            run(f"INSERT INTO floor (status, body) VALUES ('queued', {mark})", (body,))  # noqa: S608 - as above
            with self._block():
                chosen = f"SELECT id FROM floor WHERE status = 'queued' ORDER BY id LIMIT 1 {self.lock}"  # noqa: S608
                (number,) = run(chosen).fetchone()
                run(f"UPDATE floor SET status = 'running' WHERE id = {mark}", (number,))  # noqa: S608
            run(f"UPDATE floor SET status = 'ended' WHERE id = {mark}", (number,))  # noqa: S608

    @contextmanager
    def _block(self) -> Iterator[None]:
        self.connection.execute("BEGIN" if self.lock else "BEGIN IMMEDIATE")
        yield
        self.connection.execute("COMMIT")


class Huey:
    """The storage of huey, without pickling; a task is deleted when it is claimed."""

    name = "huey"

    def __init__(self, path: Path) -> None:
        from huey.storage import SqliteStorage

        self.storage = SqliteStorage("q", filename=str(path))
        self.body = json.dumps(vars(_order(0)), default=str).encode()

    def remember(self, n: int) -> None:
        del n

    def turns(self, n: int) -> None:
        for _ in range(n):
            self.storage.enqueue(self.body)
            self.storage.dequeue()
            self.storage.put_data("result", b"rejected")


class Procrastinate:
    """The job manager of procrastinate, which its workers call."""

    name = "procrastinate"

    def __init__(self, url: str) -> None:
        from procrastinate import App, PsycopgConnector

        self.app = App(connector=PsycopgConnector(conninfo=url.replace("+psycopg", "")))
        self.task = self.app.task(name="distil")(lambda **_: None)
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()
        self.worker = await self.app.job_manager.register_worker()

    def remember(self, n: int) -> None:
        self.loop.run_until_complete(self._remember(n))

    async def _remember(self, n: int) -> None:
        await self.app.connector.execute_query_async(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, attempts) "
            "SELECT 'default', 'distil', %(args)s, 'succeeded', 1 FROM generate_series(1, %(n)s)",
            args=self._arguments(),
            n=n,
        )
        await self.app.connector.execute_query_async("ANALYZE procrastinate_jobs")

    def turns(self, n: int) -> None:
        self.loop.run_until_complete(self._turns(n))

    async def _turns(self, n: int) -> None:
        from procrastinate.jobs import Status

        for _ in range(n):
            await self.task.configure(queue="default").defer_async(**self._arguments())
            job = await self.app.job_manager.fetch_job(queues=None, worker_id=self.worker)
            await self.app.job_manager.finish_job(job, Status.SUCCEEDED, delete_job=False)

    @staticmethod
    def _arguments() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(json.dumps(vars(_order(0)), default=str))
        return found

    def close(self) -> None:
        self.loop.run_until_complete(self.app.close_async())
        self.loop.close()


def _order(number: int) -> NewJob:
    return NewJob(
        monitor=f"monitor-{number % MONITORS}",
        cycle_id=None,
        rule="low-agreement",
        reason="agreement 0.94 below 0.95 for 3 cycles",
        teacher_version="t" * 64,
        student_version="s" * 64,
        alpha_from=Decimal("0.7"),
        alpha_to=Decimal("0.6"),
        temperature=3.0,
    )


def _tidy(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _compare(title: str, contenders: Sequence[Contender], redistill: Redistill) -> None:
    print(f"\n{title}: ms per turn, and redistill's as a multiple of each other's (best of {ROUNDS} rounds)")
    first: dict[str, float] = {}
    done = 0
    for n in HISTORY:
        for contender in contenders:
            if n > done:
                contender.remember(n - done)
            contender.turns(TURNS)  # caches, prepared statements
        done = n
        spent: dict[str, list[float]] = {each.name: [] for each in contenders}
        for _ in range(ROUNDS):
            for each in contenders:
                spent[each.name].append(1_000 * _seconds(partial(each.turns, TURNS)) / TURNS)
        found = {name: min(times) for name, times in spent.items()}
        first = first or found
        own = found["redistill"]
        shown = (
            f"{name} {ms:.2f}" + (f" ({own / ms:.1f}x)" if name != "redistill" else "")
            for name, ms in found.items()
        )
        growth = ", ".join(f"{name} {ms / first[name]:.2f}" for name, ms in found.items())
        print(f"{n:>7,} rows: {'; '.join(shown)}; relative to no history: {growth}", flush=True)
        print(f"              a cycle reads its monitor's jobs in {redistill.ladder_ms():.1f} ms", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder)
        upgrade(f"sqlite:///{path / 'redistill.db'}")
        own = Redistill(connect(f"sqlite:///{path / 'redistill.db'}"))
        stack.callback(own.engine.dispose)
        bare = sqlite3.connect(path / "floor.db", isolation_level=None)
        bare.execute("PRAGMA journal_mode = WAL")
        stack.callback(bare.close)
        floor = Floor(bare, "?", "INTEGER", "")
        _compare("SQLite", [own, Huey(path / "huey.db"), floor], own)
    with running() as server, ExitStack() as stack:
        url, other, third = (stack.enter_context(server.database()) for _ in range(3))
        upgrade(url)
        own = Redistill(connect(url))
        stack.callback(own.engine.dispose)
        peer = Procrastinate(other)
        stack.callback(peer.close)
        bare_postgres = psycopg.connect(third.replace("+psycopg", ""), autocommit=True)
        stack.callback(bare_postgres.close)
        lock = "FOR UPDATE SKIP LOCKED"
        floor = Floor(bare_postgres, "%s", "BIGINT GENERATED ALWAYS AS IDENTITY", lock)
        _compare("PostgreSQL", [own, peer, floor], own)


if __name__ == "__main__":
    main()
