"""kill -9 at random moments: what comes out is what comes out of a run that nobody disturbs."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select

from db.connection.session import connect, reading
from db.cycles import windows
from db.records import Slot
from db.states import CycleStatus, DeliveryState, IncidentState
from db.tables import cycles, deliveries, jobs, promotions, rule_outcomes
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.processes.killer import Aim, Kill, Killer, Moment, daemon_sight, hunt_at_once, worker_sight
from tests.support.processes.product import fork, run
from tests.support.processes.waiting import wait_until
from tests.support.records.conclusions import notified_incidents
from tests.support.records.cycles import stored
from tests.support.servers.receiver import Receiver, receiving
from tests.support.world.installation import LONG_TRAINING, MONITOR, Site, make_site, now, seconds, webhook
from tests.support.world.reruns import measured, rerun
from tests.support.world.tiny_world import World


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2025])
def test_thirty_kills_change_nothing(database_url: str, world: World, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    slowly: dict[str, Any] = {"tokens_per_batch": 4, "wait_seconds": 0.3, **LONG_TRAINING}
    with disturbed(tmp_path, world, database_url, **slowly) as (site, engine, receiver):
        typical = seconds_of_a_cycle(engine)
        daemon = Killer(
            site=site,
            command="monitor",
            aims=aims(rng, 30, typical, {Moment.START: 0.2, Moment.CYCLE: 0.4, Moment.VERDICT: 0.4}),
            look=partial(daemon_sight, site, engine, deaths=2, while_sending=True),
            patience_seconds=5,
        )
        worker = Killer(
            site=site,
            command="worker",
            aims=[Aim(moment=Moment.START, delay_seconds=1.0), *worker_aims(rng, typical)],
            look=partial(worker_sight, site, engine, deaths=4),
            patience_seconds=120,
        )
        report(*hunted(site, engine, daemon, worker, timeout=400), seed=seed)
        assert len(daemon.kills) + len(worker.kills) >= 30
        assert_as_if_undisturbed(tmp_path, site, engine, receiver, daemon.kills, worker.kills)


def test_a_few_kills_change_nothing(sqlite_url: str, world: World, tmp_path: Path) -> None:
    """The same in short: the daemon dies in a cycle and at a verdict, the worker in a training."""
    rng = np.random.default_rng(7)
    with disturbed(tmp_path, world, sqlite_url, tokens_per_batch=20, wait_seconds=0.0) as (
        site,
        engine,
        receiver,
    ):
        typical = seconds_of_a_cycle(engine)
        daemon = Killer(
            site=site,
            command="monitor",
            aims=[
                Aim(moment=moment, delay_seconds=float(rng.uniform(0, longest)))
                for moment, longest in (
                    (Moment.CYCLE, typical),
                    (Moment.VERDICT, 0.02),
                    (Moment.CYCLE, typical),
                )
            ],
            look=partial(daemon_sight, site, engine, deaths=1, while_sending=False),
            patience_seconds=5,
        )
        worker = Killer(
            site=site,
            command="worker",
            aims=[Aim(moment=Moment.JOB, delay_seconds=float(rng.uniform(0, typical)))],
            look=partial(worker_sight, site, engine, deaths=4),
            patience_seconds=120,
        )
        report(*hunted(site, engine, daemon, worker, timeout=120), seed=7)
        assert_as_if_undisturbed(tmp_path, site, engine, receiver, daemon.kills, worker.kills)


@contextmanager
def disturbed(
    folder: Path,
    world: World,
    url: str,
    *,
    tokens_per_batch: int,
    wait_seconds: float,
    **redistill: float,
) -> Iterator[tuple[Site, Engine, Receiver]]:
    """An installation whose windows end in real time, with its first cycle run; cycles are made to last."""
    engine = connect(url)
    with receiving(wait_seconds=wait_seconds) as receiver:
        site = make_site(
            folder / "disturbed",
            world,
            seconds(3, past=2, healthy=3, drifted=120),
            url=url,
            scoring={"tokens_per_batch": tokens_per_batch},
            redistill=redistill,
            alerts=[webhook(receiver.url)],
        )
        run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
        yield site, engine, receiver
    engine.dispose()


def seconds_of_a_cycle(engine: Engine) -> float:
    (first,) = stored(engine, cycles)
    return float((first["finished_at"] - first["started_at"]).total_seconds())


def aims(rng: np.random.Generator, n: int, typical: float, shares: dict[Moment, float]) -> list[Aim]:
    longest = {Moment.START: 0.5, Moment.CYCLE: 1.2 * typical, Moment.VERDICT: 0.03}
    drawn = [Moment(name) for name in rng.choice(list(shares), size=n, p=list(shares.values()))]
    return [Aim(moment=each, delay_seconds=float(rng.uniform(0, longest[each]))) for each in drawn]


def worker_aims(rng: np.random.Generator, typical: float) -> list[Aim]:
    order = (Moment.JOB, Moment.STAGED, Moment.JOB, Moment.ADDED)
    longest = {Moment.JOB: 2 * typical, Moment.STAGED: typical, Moment.ADDED: 0.05}
    return [Aim(moment=each, delay_seconds=float(rng.uniform(0, longest[each]))) for each in order]


def hunted(
    site: Site, engine: Engine, daemon: Killer, worker: Killer, *, timeout: float
) -> tuple[list[Kill], list[Kill]]:
    """Both were killed as often as they should be, then left alone until all is well; they stop cleanly."""
    try:
        hunt_at_once(daemon, worker)
        wait_until(lambda: is_over(site, engine), "all judged, repaired and told", timeout=timeout)
        for killer in (daemon, worker):
            killer.process.signal(signal.SIGTERM)
        assert [killer.process.wait(10) for killer in (daemon, worker)] == [0, 0]
    finally:
        for killer in (daemon, worker):
            killer.process.kill()
    return daemon.kills, worker.kills


def is_over(site: Site, engine: Engine) -> bool:
    if [row["state"] for row in notified_incidents(engine)] != [IncidentState.RESOLVED]:
        return False
    with reading(engine) as connection:
        waiting = connection.scalar(
            select(deliveries.c.id).where(deliveries.c.state == DeliveryState.PENDING)
        )
        unfinished = windows.unfinished(connection, MONITOR, since=site.timeline.start, ended_by=now())
    cut_off = [each for each in unfinished if each.attempt > 1]
    return waiting is None and not cut_off and site.served == stored(engine, jobs)[0]["candidate_version"]


def report(daemon: list[Kill], worker: list[Kill], *, seed: int) -> None:
    for name, kills in (("daemon", daemon), ("worker", worker)):
        where = Counter(kill.sight.state for kill in kills)
        print(f"seed {seed}: {len(kills)} kills of the {name}: {dict(where)}")  # noqa: T201 - pytest -s shows it


def assert_as_if_undisturbed(
    folder: Path, site: Site, engine: Engine, receiver: Receiver, daemon: list[Kill], worker: list[Kill]
) -> None:
    candidate = assert_one_of_each(engine)
    slots = assert_no_slot_is_missing(site, engine)
    assert_no_cycle_is_half(site, engine)
    assert_attempts_are_deaths_and_one(engine, daemon, worker)
    assert_told_what_is_so(engine, receiver)
    assert_the_same_numbers(folder, site, engine, slots, candidate)


def assert_one_of_each(engine: Engine) -> str:
    (job,) = stored(engine, jobs)
    assert (job["status"], job["decision"], str(job["alpha_to"])) == ("succeeded", "promoted", "0.6")
    promoted = [row["version"] for row in stored(engine, promotions) if row["reason"] == "gates_passed"]
    assert promoted == [job["candidate_version"]]
    (incident,) = notified_incidents(engine)
    assert (incident["kind"], incident["state"], incident["job_id"]) == ("drift", "resolved", job["id"])
    return str(job["candidate_version"])


def assert_no_slot_is_missing(site: Site, engine: Engine) -> list[Slot]:
    found = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    slots = site.slots[: len(found)]
    assert [row["window_end"] for row in found] == [slot.window_end for slot in slots]
    assert {row["status"] for row in found} == {CycleStatus.EVALUATED}
    return list(slots)


def assert_no_cycle_is_half(site: Site, engine: Engine) -> None:
    """Who has a verdict has all that was decided with it."""
    n_rules = len(site.settings.rules)
    outcomes = Counter(row["cycle_id"] for row in stored(engine, rule_outcomes))
    assert outcomes == {row["id"]: n_rules for row in stored(engine, cycles)}
    fired = {row["cycle_id"] for row in stored(engine, rule_outcomes) if row["fired"]}
    (job,) = stored(engine, jobs)
    (incident,) = notified_incidents(engine)
    assert min(fired) == job["cycle_id"] == incident["cycle_id"]


def assert_attempts_are_deaths_and_one(engine: Engine, daemon: list[Kill], worker: list[Kill]) -> None:
    deaths = Counter(kill.sight.row for kill in daemon)
    assert {row["id"]: row["attempt"] - 1 for row in stored(engine, cycles)} == {
        row["id"]: deaths[row["id"]] for row in stored(engine, cycles)
    }
    (job,) = stored(engine, jobs)
    assert job["attempt"] == 1 + sum(kill.sight.row == job["id"] for kill in worker)


def assert_told_what_is_so(engine: Engine, receiver: Receiver) -> None:
    """Each message of the outbox came in, at least once and unchanged, and nothing else did."""
    messages = {
        f"{row['dedup_key']}:{row['event']}:{row['severity']}": row for row in stored(engine, deliveries)
    }
    assert {row["state"] for row in messages.values()} == {DeliveryState.DELIVERED}
    assert receiver.refused == []
    assert {(each.key, each.body) for each in receiver.received} == {
        (key, row["payload"]) for key, row in messages.items()
    }
    events = [key.split(":")[-2] for key in dict.fromkeys(each.key for each in receiver.received)]
    assert events == ["firing", "resolved"]


def assert_the_same_numbers(
    folder: Path, site: Site, engine: Engine, slots: list[Slot], candidate: str
) -> None:
    """Each cycle's are those of a run that nobody disturbs, with the student that it had; and the first of
    two such runs orders the same job and makes the same candidate.
    """
    found = measured(engine)
    first, second = site.settings.student.uri, site.registry / "versions" / candidate
    before = [slot for slot in slots if (slot.window_end, candidate) not in found]
    after = [slot for slot in slots if slot not in before]
    with rerun(site, folder / "first", student={"uri": first}) as (settings, reference):
        assembly.slot_runner(settings, reference, show_nothing).run(before, never_stopped)
        expected = measured(reference)
        assert assembly.worker(settings, reference, show_nothing).run_once(never_stopped)
        (job,) = stored(reference, jobs)
        assert job["candidate_version"] == candidate
    with rerun(site, folder / "second", student={"uri": second}) as (settings, reference):
        assembly.slot_runner(settings, reference, show_nothing).run(after, never_stopped)
        expected |= measured(reference)
    assert after
    assert found == expected
