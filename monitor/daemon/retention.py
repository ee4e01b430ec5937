"""The deletion of old history by the daemon, while nothing is due."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from db import leases
from db.connection import clock
from db.connection.session import writing
from db.cycles import retention, rule_states
from db.cycles.retention import Past
from monitor.clock import utc_now
from monitor.stop import Stopped
from triggers.rule_progress import fold_into_bases
from triggers.settings import Rule

#: The pause after nothing was left to delete.
PAUSE_SECONDS: Final = 3_600.0
#: The time after which the daemon looks again whether a slot is due.
TURN_SECONDS: Final = 1.0
#: The cycles that one transaction includes in the bases of the rules.
_FOLDED_AT_ONCE: Final = 50


@dataclass(kw_only=True)
class Retention:
    """The deletion of what is older than `keep` in one monitor's history, some rows in each transaction.

    Each transaction takes the monitor's lease for itself, so that no decision reads a history that changes,
    and leaves a state from which any process can continue. A cycle is deleted after its part in the state of
    each rule was stored.
    """

    engine: Engine
    monitor: str
    rules: Sequence[Rule]
    keep: timedelta
    reference_cycles: int  #: of a teacher, which stay
    _owner: str = field(default_factory=leases.new_owner, init=False)
    _from: float = field(default=0.0, init=False)  #: a time on the monotonic clock
    _past: Past | None = field(default=None, init=False)
    _deleted: Counter[str] = field(default_factory=Counter, init=False)

    def delete_some(self, stopped: Stopped) -> bool:
        """Delete for a second at most; return whether more may be left to delete now.

        Another process that holds the monitor's lease has precedence.
        """
        until = monotonic() + TURN_SECONDS
        while monotonic() >= self._from:
            if stopped() or monotonic() >= until:
                return True
            with writing(self.engine) as connection:
                name = f"monitor:{self.monitor}"
                if leases.acquire(connection, name, owner=self._owner, seconds=0) is None:
                    return False
                is_done = not self._delete_step(connection)
            if is_done:
                self._end_pass()
        return False

    def _delete_step(self, connection: Connection) -> bool:
        """Do the work of one transaction; return False if there is none left."""
        if self._past is None:
            now = clock.capped_by_database(connection, utc_now())
            self._past = retention.past(
                connection, self.monitor, self.keep, now, reference_cycles=self.reference_cycles
            )
        past = self._past
        if past is None:
            return False
        deleted = retention.delete_incidents(connection, past) or retention.delete_worker_tasks(
            connection, past
        )
        included = rule_states.base_end(connection, self.monitor) if self.rules else past.before
        if not deleted and included is not None:
            deleted = retention.delete_cycles(connection, past, until=included)
        self._deleted.update(deleted)
        return bool(deleted) or fold_into_bases(
            connection, self.monitor, self.rules, before=past.before, oldest=_FOLDED_AT_ONCE
        )

    def _end_pass(self) -> None:
        if self._deleted and self._past is not None:
            before, rows = self._past.before.isoformat(), dict(sorted(self._deleted.items()))
            structlog.get_logger().info("old history deleted", monitor=self.monitor, before=before, rows=rows)
        self._past, self._from = None, monotonic() + PAUSE_SECONDS
        self._deleted.clear()
