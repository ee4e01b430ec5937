"""The measures of bench/history.py: views, commands, ticks, decisions, and statements of idle processes."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import httpx
import structlog
from sqlalchemy import Connection, Engine, event, select
from typer.testing import CliRunner

from db import leases
from db.connection.session import reading, writing
from db.cycles import ledger
from db.records import CycleResult, Slot
from db.views import VIEWS, view
from monitor.clock import utc_now
from monitor.daemon.watchdog import Watchdog
from redistill import assembly
from redistill.cli import app
from redistill.configuration.settings import Settings
from redistill.display.progress import show_nothing
from redistill.web.collector import Watched
from tests.support.records.factories import make_measurement, make_result
from tests.support.records.long_history import KEYS, LABELS, MONITOR
from tests.support.servers.metrics import serving
from triggers.conclude import Policy, conclude
from triggers.settings import Rule

RUNS, DECISIONS, IDLE_SECONDS = 5, 3, 60


class Value(NamedTuple):
    """One measured value."""

    name: str
    goal: float
    value: float  #: ms, or statements


def times(settings: Settings, engine: Engine, config: str, newest: datetime) -> Iterator[Value]:
    """Yield the times in ms; `newest` is the end of the last window in the ledger."""
    for name in VIEWS:
        for monitor in (None, MONITOR):
            shown = f"{name}, {'one monitor' if monitor else 'all'}"
            yield Value(shown, 50, _median(partial(_newest, engine, name, monitor)))
    yield Value("redistill status", 200, _median(partial(_run, config, "status")))
    yield Value(
        "redistill history --since 7d", 500, _median(partial(_run, config, "history", "--since", "7d"))
    )
    yield from _scrapes(settings, engine)
    yield from _ticks(settings, engine)
    policy = assembly.policy(settings)
    slots = _slots(newest)
    for name, goal, policies, teachers in (
        ("no stored states", 1_000, [policy], ["teacher-1"]),
        ("stored states", 150, [policy] * DECISIONS, ["teacher-1"] * DECISIONS),
        ("a new rule", 1_000, [_with_rule(policy, n) for n in range(DECISIONS)], ["teacher-1"] * DECISIONS),
        ("a new sequential rule", 1_000, [_with_rule(policy, 3, mode="sequential")], ["teacher-1"]),
        ("a new teacher", 150, [policy] * DECISIONS, [f"teacher-{n + 2}" for n in range(DECISIONS)]),
    ):
        found = [
            _decide(engine, next(slots), replaced, _result(teacher))
            for replaced, teacher in zip(policies, teachers, strict=True)
        ]
        yield Value(f"decision with {name}: transaction", goal, median(inside for _, inside in found))
        yield Value(f"decision with {name}: in all", 20_000, median(whole for whole, _ in found))


def _median(work: Callable[[], object]) -> float:
    work()
    return median(_ms(work) for _ in range(RUNS))


def _ms(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return 1_000 * (perf_counter() - began)


def _newest(engine: Engine, name: str, monitor: str | None) -> None:
    source = view(name)
    query = select(source).order_by(source.c[KEYS.get(name, ("window_end",))[0]].desc()).limit(100)
    if monitor is not None:
        query = query.where(source.c.monitor == monitor)
    with reading(engine) as connection:
        connection.execute(query).all()


def _run(config: str, *arguments: str) -> None:
    found = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*arguments, "--config", config])
    if found.exit_code:
        raise RuntimeError(found.output)


def _scrapes(settings: Settings, engine: Engine) -> Iterator[Value]:
    with serving({MONITOR: Watched(settings, engine)}) as url:
        scrape = partial(httpx.get, f"{url}/metrics")
        yield Value("an answer of /metrics", 50, _median(scrape))
        with _parsing():
            yield Value("an answer of /metrics, while a thread parses JSON", 50, _median(scrape))


@contextmanager
def _parsing() -> Iterator[None]:
    """Parse records in another thread, as a cycle does while it reads."""
    stop = threading.Event()
    record = json.dumps({"id": "r-1", "text": "where is my order?", "student_logits": [0.1] * 10})

    def parse() -> None:
        while not stop.is_set():
            json.loads(record)

    thread = threading.Thread(target=parse)
    thread.start()
    yield
    stop.set()
    thread.join()


def _ticks(settings: Settings, engine: Engine) -> Iterator[Value]:
    runner = assembly.slot_runner(settings, engine, show_nothing)
    watchdog = Watchdog(
        engine,
        settings.monitor,
        assembly.audience(settings),
        calibration=settings.calibration_watched,
        started_at=utc_now(),
    )
    outbox, stop = assembly.outbox(settings, engine), threading.Event()
    yield Value("tick: slots, nothing due", 20, _median(lambda: runner.run_due(lambda: False)))
    yield Value("tick: watchdog", 20, _median(lambda: watchdog.check(utc_now())))
    yield Value("tick: messages of a channel", 20, _median(lambda: outbox.deliver("pager", utc_now, stop)))


def _slots(newest: datetime) -> Iterator[Slot]:
    while True:
        newest += timedelta(hours=1)
        yield Slot(monitor=MONITOR, window_start=newest - timedelta(hours=1), window_end=newest)


def _with_rule(policy: Policy, number: int, **more: Any) -> Policy:  # noqa: ANN401 - any key of a rule
    threshold = Decimal("0.5") + Decimal(number) / 100
    rule = Rule(name=f"new-{number}", metric="agreement", below=threshold, action="alert", **more)
    return replace(policy, rules=(*policy.rules, rule))


def _result(teacher: str) -> CycleResult:
    return make_result(measurement=make_measurement(labels=LABELS), teacher_version=teacher)


def _decide(engine: Engine, slot: Slot, policy: Policy, result: CycleResult) -> tuple[float, float]:
    """Return the ms of a decision, and those of its longest write transaction."""
    with writing(engine) as connection:
        lease = leases.acquire(connection, f"monitor:{MONITOR}", owner="bench", seconds=600)
    if lease is None:
        raise RuntimeError("the lease is taken")
    with writing(engine) as connection:
        claim = ledger.claim(connection, slot, utc_now())
    if claim is None:
        raise RuntimeError("the slot is taken")
    with _writes(engine) as lengths:
        whole = _ms(lambda: conclude(engine, lease, claim, result, policy, now=utc_now()))
    with writing(engine) as connection:
        leases.release(connection, lease)
    return whole, max(lengths)


@contextmanager
def _writes(engine: Engine) -> Iterator[list[float]]:
    """Yield a list that the lengths in ms of the committed transactions of the block are added to."""
    lengths: list[float] = []
    began: dict[int, float] = {}

    def begin(connection: Connection) -> None:
        began[id(connection)] = perf_counter()

    def commit(connection: Connection) -> None:
        lengths.append(1_000 * (perf_counter() - began[id(connection)]))

    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", commit)
    try:
        yield lengths
    finally:
        event.remove(engine, "begin", begin)
        event.remove(engine, "commit", commit)


def idle(settings: Settings, engine: Engine, counted: Callable[[], int]) -> Iterator[Value]:
    """Yield the statements a minute of a daemon and of a worker without work, as the database counts them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    stop = threading.Event()
    daemon = assembly.daemon(settings, engine, show_nothing, stop)
    worker = assembly.worker(settings, engine, show_nothing)
    serve = partial(worker.serve, assembly.job_transport(settings, engine), stop)
    thread = threading.Thread(target=serve)
    for name, begin, end in (
        ("daemon", daemon.start, daemon.stop),
        ("worker", thread.start, lambda: (stop.set(), thread.join())),
    ):
        stop.clear()
        begin()
        stop.wait(IDLE_SECONDS / 2)  # its first statements are those of a start
        before = counted()
        stop.wait(IDLE_SECONDS)
        yield Value(f"idle {name}: statements a minute", 200, (counted() - before) * 60 / IDLE_SECONDS)
        end()
