"""The evaluation of the rules at a cycle, from their stored state after the last one."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from db.connection.session import reading
from db.cycles import cycle_points, rule_states
from db.cycles.rule_states import RuleStates
from db.records import Claim, CyclePoint, RuleOutcome, Slot
from triggers.rules import evaluation
from triggers.rules.observation import details_for
from triggers.rules.state import RuleFold, from_text
from triggers.settings import Rule

#: The states of rules by the rule's version; a rule that has seen no cycle has none.
Folds = Mapping[str, RuleFold]

#: The number of cycles that are read at once.
_CHUNK: Final = 500
_INSTANT: Final = timedelta(microseconds=1)


def folds_before(engine: Engine, slot: Slot, rules: Sequence[Rule]) -> Folds:
    """Return the states of the rules after the last cycle before the slot.

    They are stored with the last judged cycle. Where a rule or an older cycle has changed since, the state is
    computed from the stored cycles. That takes seconds if there are many, so it is not part of the decision's
    transaction. The caller holds the monitor's lease, so that no other process changes these cycles.
    """
    with reading(engine) as connection:
        states = rule_states.read(connection, slot, [rule.version for rule in rules])
    known = _from_texts(states, rules)
    unknown = [rule for rule in rules if rule.version not in known]
    until = slot.window_end if states is None else states.window_end + _INSTANT
    folds = {**known, **_computed(engine, slot.monitor, unknown, until)}
    if states is None:
        return folds
    return _folded(engine, slot.monitor, rules, folds, after=states.window_end, until=slot.window_end)


def evaluate_next(
    connection: Connection, claim: Claim, point: CyclePoint, configured: Sequence[Rule], folds: Folds
) -> tuple[RuleOutcome, ...]:
    """Return the outcomes of the rules at the cycle, and store their states after it.

    `folds` are their states before it.
    """
    found = [evaluation.resume(rule, folds.get(rule.version), (point,)) for rule in configured]
    states = {rule.version: fold.text for rule, (_outcome, fold) in zip(configured, found, strict=True)}
    rule_states.write(connection, claim, states)
    return tuple(outcome for outcome, _fold in found)


def fold_into_bases(
    connection: Connection, monitor: str, rules: Sequence[Rule], *, before: datetime, oldest: int
) -> bool:
    """Include the next cycles, `oldest` at most, whose windows ended `before`, in the bases of the rules.

    Return whether there was one. A rule without a base starts with the next cycle, as it would once the
    earlier ones are deleted. The caller holds the monitor's lease.
    """
    base = rule_states.read_base(connection, monitor)
    done = None if base is None else base.window_end
    points = cycle_points.read(
        connection, monitor, after=done, until=before, oldest=oldest, details=details_for(rules)
    )
    if not points or not rules:
        return False
    folds = _from_texts(base, rules)
    states = {
        rule.version: evaluation.resume(rule, folds.get(rule.version), points)[1].text for rule in rules
    }
    rule_states.write_base(connection, monitor, points[-1].window_end, states)
    return True


def _computed(engine: Engine, monitor: str, rules: Sequence[Rule], until: datetime) -> Folds:
    """Return the states after the windows before `until`, from all cycles on which they depend.

    The base of a rule stands for the cycles before it, some of which may have been deleted.
    """
    if not rules:
        return {}
    with reading(engine) as connection:
        start = cycle_points.streak_start(connection, monitor, until=until)
        base = rule_states.read_base(connection, monitor)
    if base is None or base.window_end >= until or (start is not None and start > base.window_end):
        return _folded(engine, monitor, rules, {}, after=start and start - _INSTANT, until=until)
    return _folded(engine, monitor, rules, _from_texts(base, rules), after=base.window_end, until=until)


def _from_texts(states: RuleStates | None, rules: Sequence[Rule]) -> Folds:
    texts = {} if states is None else states.texts
    return {rule.version: from_text(texts[rule.version]) for rule in rules if rule.version in texts}


def _folded(
    engine: Engine,
    monitor: str,
    rules: Sequence[Rule],
    folds: Folds,
    *,
    after: datetime | None,
    until: datetime,
) -> Folds:
    """Return the states after the cycles with after < window_end < until, which are read some at a time."""
    details, found = details_for(rules), dict(folds)
    while rules:
        with reading(engine) as connection:
            points = cycle_points.read(
                connection, monitor, after=after, until=until, oldest=_CHUNK, details=details
            )
        if not points:
            break
        for rule in rules:
            _, found[rule.version] = evaluation.resume(rule, found.get(rule.version), points)
        after = points[-1].window_end
    return found
