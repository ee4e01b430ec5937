"""The end of a cycle whose window waits for the next slot, as it has too few requests for a verdict."""

from datetime import datetime

from sqlalchemy import Engine

from db import leases
from db.connection.session import writing
from db.cycles import history, ledger
from db.records import Claim, Lease, QuietResult
from db.states import Verdict
from triggers.incidents import signals
from triggers.incidents.announce import Audience, Occasion, announce
from triggers.rules import evaluation


def conclude_quiet(
    engine: Engine, lease: Lease, claim: Claim, result: QuietResult, audience: Audience, *, now: datetime
) -> None:
    """Record that the window is quiet: it is counted, and judged with the next slots.

    Quiet traffic is not blindness, but a request log without a record is: `BLIND_AFTER` empty slots in a row
    raise `blind`, as slots without a verdict do.

    Raises:
        LeaseLostError: another process holds the monitor's lease; nothing was written.
        AttemptEndedError: an earlier call has written the cycle; nothing more was written.
    """
    slot = claim.slot
    with writing(engine) as connection:
        leases.guard(connection, lease)
        ledger.lock_for_write(connection, claim)
        n_empty = ledger.wait(connection, claim, result.traffic, now)
        if not n_empty or history.has_later_result(connection, slot, or_unjudged=True):
            return
        recent = history.newest_statuses(
            connection, slot.monitor, evaluation.BLIND_AFTER, until=slot.window_end
        )
        signal = signals.of_empty_slots(n_empty, evaluation.unevaluated_in_a_row(recent))
        details = {
            "cycle_id": claim.cycle_id,
            "window_start": slot.window_start,
            "window_end": slot.window_end,
            "verdict": Verdict.INCONCLUSIVE,
        }
        occasion = Occasion(at=slot.window_end, now=now, cycle_id=claim.cycle_id, details=details)
        announce(connection, audience, [signal], occasion)
