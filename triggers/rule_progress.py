"""The evaluation of the rules at a cycle, from their stored state after the last one."""

from collections.abc import Sequence

from sqlalchemy import Connection

from db.cycles import cycle_points, rule_states
from db.records import Claim, CyclePoint, RuleOutcome
from db.states import CycleStatus
from triggers.rules import evaluation
from triggers.rules.observation import details_for
from triggers.rules.state import from_text
from triggers.settings import Rule


def evaluate_next(
    connection: Connection, claim: Claim, point: CyclePoint, configured: Sequence[Rule]
) -> tuple[RuleOutcome, ...]:
    """Return the outcomes of the configured rules at the cycle, and store the rules' state after it.

    If a rule or an older cycle has changed since, the state is computed again from the stored cycles.
    """
    details = details_for(configured)
    states = rule_states.read(connection, claim.slot, [rule.version for rule in configured])
    if states is not None:
        before = cycle_points.read(
            connection,
            claim.slot.monitor,
            after=states.window_end,
            until=claim.slot.window_end,
            details=details,
        )
    else:
        is_evaluated = point.status is CycleStatus.EVALUATED
        pair = (point.teacher_version or "", point.student_version or "") if is_evaluated else None
        before = cycle_points.of_pair(connection, claim.slot, pair, details=details)
    folds = [None if states is None else from_text(states.texts[rule.version]) for rule in configured]
    found = [
        evaluation.resume(rule, fold, (*before, point)) for rule, fold in zip(configured, folds, strict=True)
    ]
    rule_states.write(
        connection,
        claim,
        {rule.version: fold.text for rule, (_outcome, fold) in zip(configured, found, strict=True)},
    )
    return tuple(outcome for outcome, _fold in found)
