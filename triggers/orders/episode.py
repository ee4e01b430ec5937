"""The beginning of a drift's episode, at which alpha is that of the configuration again."""

from datetime import datetime

from sqlalchemy import Connection

from db import queue
from db.cycles import history
from triggers.settings import AlphaPolicy


def last_job_before_episode(
    connection: Connection,
    monitor: str,
    policy: AlphaPolicy,
    *,
    ladder_since: datetime | None,
    until: datetime | None = None,
) -> int | None:
    """Return the number of the last job before the present episode; None if it is the ladder's first episode.

    An episode is a drift, from its first breach until its recovery has held for `watch_cycles` evaluated
    cycles in a row. With `until`, later windows do not count. With `alpha_reset = "never"` none ends. Jobs
    belong to episodes by the windows that ordered them, as the clocks of the daemons may differ. The number
    is 0 if no job was ordered before.
    """
    if policy.alpha_reset == "never":
        return None
    found = history.newest_recovery(connection, monitor, n=policy.watch_cycles, until=until)
    if found is None or found.finished_at is None:
        return None
    if ladder_since is not None and found.finished_at < ladder_since:
        return None
    return queue.last_by_window(connection, monitor, found.window_end)
