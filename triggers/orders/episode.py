"""The beginning of a drift's episode, at which alpha is that of the configuration again."""

from datetime import datetime

from sqlalchemy import Connection

from db.cycles import history
from triggers.settings import AlphaPolicy


def alpha_reset_at(
    connection: Connection,
    monitor: str,
    policy: AlphaPolicy,
    *,
    ladder_since: datetime | None,
    until: datetime | None = None,
) -> datetime | None:
    """Return when the last episode ended, if the ladder's student has served longer; else None.

    An episode is a drift, from its first breach until its recovery has held for `watch_cycles` evaluated
    cycles in a row. With `until`, later windows do not count. With `alpha_reset = "never"` none ends.
    """
    if policy.alpha_reset == "never":
        return None
    held_at = history.recovery_held_at(connection, monitor, n=policy.watch_cycles, until=until)
    is_of_student = held_at is not None and (ladder_since is None or held_at >= ladder_since)
    return held_at if is_of_student else None
