"""The effect of a cycle on the running shadow, in the transaction of the cycle's conclusion."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from db import versions
from db.records import Shadow
from db.shadows import comparisons, runs
from db.states import PromotionReason, Role, ShadowState
from triggers.judged_cycle import JudgedCycle
from triggers.shadow.decision import ShadowStep


def advance(
    connection: Connection, cycle: JudgedCycle, *, shadow_cycles: int, now: datetime
) -> ShadowStep | None:
    """Add this latest cycle to the running shadow, and carry out what is decided; None without a shadow.

    Only an evaluated cycle counts, in which the candidate was compared with the shadow's incumbent. A shadow
    that another process ends meanwhile, by a promotion, is left to it.
    """
    shadow = runs.running(connection, cycle.claim.slot.monitor)
    if shadow is None:
        return None
    result = cycle.result
    scores = result.shadow if result and result.student_version == shadow.incumbent_version else None
    is_counted = cycle.is_evaluated and scores is not None and scores.shadow_id == shadow.shadow_id
    if not is_counted or scores is None:
        return _step(connection, shadow, shadow_cycles)
    cycle_id = cycle.claim.cycle_id
    comparisons.add_cycle(connection, cycle_id, scores)
    step = replace(_step(connection, shadow, shadow_cycles), error=scores.error)
    if scores.numbers is not None:
        comparisons.set_e_values(
            connection, shadow, cycle_id, log_better=step.log_better, log_worse=step.log_worse
        )
    return step if step.reason is None else _ended(connection, step, now)


def _step(connection: Connection, shadow: Shadow, shadow_cycles: int) -> ShadowStep:
    found = comparisons.totals(connection, shadow)
    return ShadowStep(shadow=shadow, totals=found, shadow_cycles=shadow_cycles)


def _ended(connection: Connection, step: ShadowStep, now: datetime) -> ShadowStep:
    shadow, reason = step.shadow, step.reason
    versions.lock_promotions(connection, shadow.monitor, Role.STUDENT)
    is_ended = reason is not None and runs.end(
        connection, shadow, state=step.state, reason=reason, detail=step.detail, now=now
    )
    if not is_ended:
        return replace(step, is_superseded=True)
    if step.state is ShadowState.PROMOTED:
        candidate = versions.by_prefix(connection, shadow.monitor, shadow.candidate_version)
        versions.promote(connection, candidate, PromotionReason.SHADOW_PASSED, now)
    return step
