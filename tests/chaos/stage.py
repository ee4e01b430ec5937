"""Two daemons and two workers in one installation, killed while a scenario goes on."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

import numpy as np
from sqlalchemy import Engine

from db.connection.session import connect
from db.connection.unavailable import UNAVAILABLE
from db.states import DeliveryState, IncidentState, JobStatus
from db.tables import cycles, deliveries, jobs
from tests.chaos.database_locks import name_at_the_database
from tests.chaos.kill_plan import drawn, of_daemons, of_workers
from tests.chaos.process_states import DaemonSight, WorkerSight
from tests.chaos.scenario import Scenario
from tests.support.processes.killer import Kill, Killer, hunt_at_once
from tests.support.processes.product import Process, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.conclusions import notified_incidents
from tests.support.records.cycles import n_evaluated, stored
from tests.support.servers.receiver import Answer, Receiver, receiving
from tests.support.world.installation import Site, webhook
from tests.support.world.tiny_world import World

CHANNELS: Final = ("pager", "desk", "phone", "wall")
#: Longer than a process that lives is ever away on a machine that is busy.
LEASE_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 0.3
#: So many die before one more window is due.
_PER_WINDOW: Final = 3
_ACT_SECONDS: Final = 900.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    scenario: Scenario
    site: Site
    engine: Engine
    receiver: Receiver
    prepare: Callable[[], None]  #: called in each process that may be killed, first

    def n_judged(self) -> int:
        return n_evaluated(self.engine)

    def is_over(self, act: int) -> bool:
        """All its windows are judged, and the student against its drift serves, or the last drift is over."""
        if self.n_judged() < self.scenario.due_in(act):
            return False
        ordered = stored(self.engine, jobs)
        if act < self.scenario.drifts:
            return (
                len(ordered) > act
                and {row["status"] for row in ordered} == {JobStatus.SUCCEEDED}
                and self.site.served == ordered[-1]["candidate_version"]
            )
        return {row["state"] for row in notified_incidents(self.engine)} == {IncidentState.RESOLVED}

    def is_quiet(self) -> bool:
        """No message waits, and nothing is left of the jobs."""
        states = {row["state"] for row in stored(self.engine, deliveries)}
        is_swept = not any(name.startswith(".checkpoint-") for name in self.site.store.names(""))
        return DeliveryState.PENDING not in states and is_swept


@contextmanager
def staged(
    scenario: Scenario,
    folder: Path,
    world: World,
    url: str,
    answer: Answer,
    *,
    tokens_per_batch: int,
    prepare: Callable[[], None] = name_at_the_database,
    through: str | None = None,
    **redistill: str,
) -> Iterator[Stage]:
    """An installation whose first window is judged; small batches make the cycles last. `through` is the URL
    by which the processes reach the database, if it is not that of the test.
    """
    engine, url = connect(url), through or url
    with receiving(wait_seconds=_ANSWER_SECONDS, answer=answer) as receiver:
        alerts = [webhook(f"{receiver.url}{name}", name=name) for name in CHANNELS]
        scoring = {"tokens_per_batch": tokens_per_batch}
        site = scenario.site(folder, world, url, redistill=redistill, alerts=alerts, scoring=scoring)
        run(fork, site, "cycle", "--at", site.timeline.start.isoformat(), prepare=prepare)
        yield Stage(scenario=scenario, site=site, engine=engine, receiver=receiver, prepare=prepare)
    engine.dispose()


@dataclass(kw_only=True)
class Hunt:
    """Kills `per_act` processes and more in each act, until the scenario is over."""

    stage: Stage
    seed: int
    per_act: int
    kills: list[Kill] = field(default_factory=list)
    act: int = 0
    _over: Event = field(default_factory=Event)

    def run(self) -> None:
        """Afterwards nobody is killed any more, all messages are out, and all have stopped when asked to."""
        killers = self._killers()
        try:
            with ThreadPoolExecutor(1) as pool:
                hunting = pool.submit(hunt_at_once, *killers)
                try:
                    for act in self.stage.scenario.acts:
                        self.act = act
                        self._play(hunting)
                finally:
                    self._over.set()
                hunting.result()
            self._wait(self.stage.is_quiet, "all messages out")
            stop(*killers)
        finally:
            for killer in killers:
                killer.process.kill()

    def _play(self, hunting: "Future[None]") -> None:
        """One act, window by window: who is started after some deaths finds one more to measure."""
        *steps, last = self.stage.scenario.steps_of(self.act)
        for n_due in steps:
            self.stage.scenario.open(self.stage.site, n_due)
            n_kills = len(self.kills) + _PER_WINDOW
            self._wait(
                lambda: (
                    hunting.done() or (len(self.kills) >= n_kills and self.stage.n_judged() >= n_due)  # noqa: B023
                ),
                f"{n_due} windows judged",
            )
        self.stage.scenario.open(self.stage.site, last)
        self._wait(lambda: hunting.done() or self._act_is_over(), f"the end of act {self.act}")

    def _act_is_over(self) -> bool:
        return len(self.kills) >= self.per_act * (self.act + 1) and self.stage.is_over(self.act)

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        def seen() -> bool:
            with suppress(*UNAVAILABLE):  # one is frozen with a lock that SQLite's readers want
                return holds()
            return False

        wait_until(seen, what, timeout=_ACT_SECONDS, every=0.2)

    def _killers(self) -> list[Killer]:
        stage = self.stage
        (first,) = stored(stage.engine, cycles)
        typical = (first["finished_at"] - first["started_at"]).total_seconds()
        look_at_daemon = DaemonSight(
            site=stage.site,
            engine=stage.engine,
            receiver=stage.receiver,
            kills=self.kills,
            messages_may_die=lambda: self.act < stage.scenario.drifts - 1,
        )
        look_at_worker = WorkerSight(site=stage.site, engine=stage.engine)
        kinds = (
            ("monitor", of_daemons(typical), look_at_daemon, 6.0),
            ("worker", of_workers(typical), look_at_worker, 60.0),  # a job is rarer than a window
        )
        rngs = np.random.default_rng(self.seed).spawn(4)
        return [
            Killer(
                site=stage.site,
                command=command,
                aims=drawn(kinds_of_aims, rngs.pop()),
                look=look,
                patience_seconds=patience_seconds,
                name=f"{command} {number}",
                options={"lease_seconds": LEASE_SECONDS, "prepare": stage.prepare},
                is_strict=True,
                is_over=self._over.is_set,
                kills=self.kills,
            )
            for command, kinds_of_aims, look, patience_seconds in kinds
            for number in (1, 2)
        ]


def play(stage: Stage, *acts: int, prepare: Callable[[], None] | None = None) -> None:
    """Let two daemons and a worker do these acts, which nobody disturbs, until all messages are out."""
    for act in acts:
        stage.scenario.open(stage.site, stage.scenario.due_in(act))
        with (
            running(fork, stage.site, "monitor", prepare=prepare) as one,
            running(fork, stage.site, "monitor", prepare=prepare) as other,
            running(fork, stage.site, "worker") as worker,
        ):
            wait_until(
                partial(_has_played, stage, act, one, other, worker), f"the end of act {act}", timeout=300
            )


def _has_played(stage: Stage, act: int, *processes: Process) -> bool:
    for process in processes:
        assert process.exit_code is None, f"it has ended by itself:\n{process.log.read_text()}"
    return stage.is_over(act) and stage.is_quiet()


def stop(*killers: Killer) -> None:
    """Ask all to stop, which they do cleanly, or by the signal itself if they were only just started."""
    young = [killer.is_young for killer in killers]
    for killer in killers:
        killer.process.signal(signal.SIGTERM)
    codes = [killer.process.wait(30) for killer in killers]
    clean = [{0, -signal.SIGTERM} if each else {0} for each in young]
    assert all(code in wanted for code, wanted in zip(codes, clean, strict=True)), f"{codes}, young: {young}"
