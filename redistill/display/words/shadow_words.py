"""The shadow of a candidate, for `redistill status`, `models` and `jobs`."""

from collections.abc import Mapping

from sqlalchemy import Connection, select

from db.records import Shadow
from db.shadows import comparisons, runs
from db.views import view
from triggers.shadow.decision import numbers


def in_words(connection: Connection, shadow: Shadow, shadow_cycles: int) -> str:
    """Return the numbers of a running shadow in one line."""
    return numbers(shadow, comparisons.totals(connection, shadow), shadow_cycles)


def document(connection: Connection, monitor: str, shadow_cycles: int) -> Mapping[str, object] | None:
    """Return the monitor's running shadow for --json, with its `summary`; None without one."""
    shadow = runs.running(connection, monitor)
    if shadow is None:
        return None
    totals = comparisons.totals(connection, shadow)
    return {**vars(shadow), **vars(totals), "summary": numbers(shadow, totals, shadow_cycles)}


def of_job(connection: Connection, job_id: int, shadow_cycles: int) -> str | None:
    """Return the shadow of a job's candidate in one line, or None if it had none."""
    source = view("shadow_history")
    query = select(source).where(source.c.job_id == job_id).limit(1)
    found = connection.execute(query).mappings().one_or_none()
    if found is None:
        return None
    running = runs.running(connection, found["monitor"])
    if running is not None and running.shadow_id == found["shadow_id"]:
        return f"running: {in_words(connection, running, shadow_cycles)}"
    return f"{found['state']} ({found['reason']}): {found['detail']}"
