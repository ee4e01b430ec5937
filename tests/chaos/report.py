"""The counts of a run."""

from collections import Counter
from collections.abc import Iterator, Sequence

from db.tables import cycles, jobs
from tests.chaos.delivery_checks import accepted, outbox, turned_away
from tests.chaos.stage import Stage
from tests.support.processes.killer import Kill
from tests.support.records.cycles import stored


def report(stage: Stage, kills: Sequence[Kill], *, seed: int, seconds: float) -> str:
    database = stage.engine.dialect.name
    lines = [f"chaos on {database}, seed {seed}: {len(kills)} kills in {seconds:.0f} s"]
    return "\n  ".join([*lines, *_of_kills(kills), *_of_work(stage), *_of_messages(stage)])


def _of_kills(kills: Sequence[Kill]) -> Iterator[str]:
    yield _counted("killed", (kill.name for kill in kills))
    for command in ("monitor", "worker"):
        own = [kill for kill in kills if kill.name.startswith(command)]
        yield _counted(f"{command}: in the middle of", (kill.sight.state for kill in own))
        yield _counted(f"{command}: and", (mark for kill in own for mark in kill.sight.marks))
    decisions = (
        f"{kill.sight.state}, {mark}" for kill in kills for mark in kill.sight.marks if kill.sight.row
    )
    yield _counted("both at once", decisions)


def _of_work(stage: Stage) -> Iterator[str]:
    site = stage.site
    yield _counted("attempts at a slot", (row["attempt"] for row in stored(stage.engine, cycles)))
    attempts = [row["attempt"] for row in stored(stage.engine, jobs)]
    yield f"attempts at each job: {attempts}"
    resumed = [f"{row['step']} of {row['steps']}" for row in site.events("training resumed")]
    yield f"trainings resumed from a checkpoint: {len(resumed)} (after step {', '.join(resumed)})"
    lost = sum(len(site.events(f"{work} left to another process")) for work in ("cycle", "job"))
    yield f"leases lost by a process that lived: {lost}"


def _of_messages(stage: Stage) -> Iterator[str]:
    sent = outbox(stage.engine)
    came, refused = accepted(stage.receiver), turned_away(stage.receiver)
    n_sent = sum(row["attempts"] for row in sent.values())
    n_came = came.total() + refused.total()
    yield (
        f"messages: {len(sent)}; taken to be sent {n_sent} times, of which {n_came} came in and"
        f" {n_sent - n_came} died with their sender"
    )
    kinds = _counted("", (str(status and status.value) for _, status in stage.receiver.turned_away))
    yield f"accepted {came.total()}, turned away {refused.total()} (None: reset){kinds}"
    yield f"accepted more than once, under the same key: {sum(n > 1 for n in came.values())}"


def _counted(what: str, things: Iterator[object]) -> str:
    counts = Counter(things)
    return f"{what}: " + ", ".join(f"{thing} {n}" for thing, n in sorted(counts.items(), key=str))
