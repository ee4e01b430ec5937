"""The evaluation of a rule: one fold over the history, shared by the daemon and `replay`."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from operator import attrgetter

import numpy as np

from db.records import CyclePoint, RuleOutcome
from db.states import CycleStatus, OutcomeReason
from triggers.rules.observation import Value, interval_is_beyond, is_beyond, log_wealth_after, value_of
from triggers.rules.sequential import Floats, statistic
from triggers.rules.state import Fold, RuleFold
from triggers.settings import Condition, Rule

#: After this many slots in a row without evidence, streaks end and the monitor is blind.
BLIND_AFTER = 3

_by_window = attrgetter("window_end")


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One cycle's finding on a condition."""

    value: Value
    breached: bool
    statistic: float | None = None
    log_wealth: Floats | None = None


def evaluate(rule: Rule, history: Sequence[CyclePoint]) -> RuleOutcome:
    """Return the outcome of `rule` at the newest cycle of `history`: one point per window, in any order.

    The result depends on the arguments alone, so it is the same after a restart. Raises ValueError if the
    history is empty.

    Example:
        >>> from datetime import UTC, datetime
        >>> from triggers.settings import DEFAULT_RULES
        >>> cycles = [
        ...     CyclePoint(
        ...         window_end=datetime(2026, 11, 24, hour, tzinfo=UTC),
        ...         status=CycleStatus.EVALUATED,
        ...         n=1_000,
        ...         disagreements=60,
        ...     )
        ...     for hour in range(3)
        ... ]
        >>> outcome = evaluate(DEFAULT_RULES[0], cycles)
        >>> outcome.rule, outcome.value, outcome.streak, outcome.fired
        ('low-agreement', 0.94, 3, True)
    """
    outcome, _fold = resume(rule, None, history)
    return outcome


def resume(rule: Rule, fold: RuleFold | None, history: Sequence[CyclePoint]) -> tuple[RuleOutcome, RuleFold]:
    """Return the outcome of `rule` at the newest cycle of `history`, and the rule's state after it.

    `fold` is the state after all cycles before those of `history`; None: there are none. Raises as `evaluate`
    does.

    Example:
        >>> from datetime import UTC, datetime
        >>> from triggers.settings import DEFAULT_RULES
        >>> noon, one = datetime(2026, 11, 24, 12, tzinfo=UTC), datetime(2026, 11, 24, 13, tzinfo=UTC)
        >>> cycle = CyclePoint(window_end=noon, status=CycleStatus.EVALUATED, n=1_000, disagreements=60)
        >>> first, fold = resume(DEFAULT_RULES[0], None, [cycle])
        >>> second, _ = resume(DEFAULT_RULES[0], fold, [replace(cycle, window_end=one)])
        >>> first.streak, second.streak
        (1, 2)
    """
    if not history:
        raise ValueError(f"rule {rule.name!r} cannot be evaluated: the history has no cycle")
    *_, newest = _folded(rule, fold, history)
    return newest


def replay(rule: Rule, history: Sequence[CyclePoint]) -> Iterator[RuleOutcome]:
    """Yield the outcome of `rule` at each cycle of `history`, oldest window first.

    A cycle is evaluated for a rule if its status is `evaluated` and the rule's metric is a finite number; for
    a group, if its evaluated conditions decide the result. Agreement is a rational, (n - disagreements) / n
    or the weighted share of a stratified sample, and is compared with the threshold's decimal, so that a tie
    is a tie at every n. The other metrics are doubles and are compared with the double nearest to the
    threshold, so that a value written as 0.1 ties with a threshold written as 0.1. A tie is not a breach.

    The streak counts consecutive breached evaluated cycles of one (teacher, student) pair. The pair of an
    unevaluated cycle plays no part; `BLIND_AFTER` unevaluated cycles in a row end the streak, where a window
    with too few requests counts as all its slots.

    Example:
        >>> from datetime import UTC, datetime
        >>> from triggers.settings import DEFAULT_RULES
        >>> cycles = [
        ...     CyclePoint(window_end=datetime(2026, 11, n, tzinfo=UTC), status=CycleStatus.EVALUATED, kl=kl)
        ...     for n, kl in enumerate([0.08, 0.2, 0.15], start=1)
        ... ]
        >>> [str(outcome.reason) for outcome in replay(DEFAULT_RULES[1], cycles)]
        ['within', 'fired', 'within']
    """
    for outcome, _fold in _folded(rule, None, history):
        yield outcome


def unevaluated_in_a_row(newest_first: Sequence[CycleStatus]) -> int:
    """Return the number of cycles without a verdict since the last evaluated one.

    Example:
        >>> unevaluated_in_a_row([CycleStatus.FAILED, CycleStatus.INCONCLUSIVE, CycleStatus.EVALUATED])
        2
    """
    return sum(1 for _ in takewhile(lambda status: status is not CycleStatus.EVALUATED, newest_first))


def _folded(
    rule: Rule, fold: RuleFold | None, history: Sequence[CyclePoint]
) -> Iterator[tuple[RuleOutcome, RuleFold]]:
    conditions, version = _conditions(rule), rule.version
    fold = fold or RuleFold(members=(Fold(),) * len(conditions))
    for point in sorted(history, key=_by_window):
        fold = _step(rule, conditions, fold, point)
        yield _outcome(rule, version, fold, point), fold


def _conditions(rule: Rule) -> tuple[Condition, ...]:
    """Return a group's conditions; combined sequential ones share the group's false-alarm rate.

    With its share of the rate, no single condition holds before the group does.
    """
    if rule.mode != "sequential":
        return rule.conditions
    rate = rule.false_alarm_rate / max(1, len(rule.conditions))
    return tuple(each.model_copy(update={"false_alarm_rate": rate}) for each in rule.conditions)


def _step(rule: Rule, conditions: Sequence[Condition], before: RuleFold, point: CyclePoint) -> RuleFold:
    carried = _of_pair(before.whole, point)
    members = tuple(
        _next(each, fold, _look(each, _of_pair(fold, point), point), point)
        for each, fold in zip(conditions, before.members, strict=True)
    )
    is_group = bool(conditions)
    look = _look_at_group(rule, conditions, carried, members) if is_group else _look(rule, carried, point)
    whole = _next(rule, before.whole, look, point)
    if rule.mode == "sequential" and carried.is_open and not whole.is_open:
        members = (Fold(),) * len(members)
    if whole.value is None:
        return replace(before, whole=whole, members=members, is_firing=before.is_firing and whole.is_open)
    same_pair = whole.pair == before.whole.pair
    last_fired = before.last_fired if same_pair else None
    is_firing = whole.is_open and (
        (same_pair and before.is_firing)
        or last_fired is None
        or point.window_end - last_fired >= rule.cooldown
    )
    return RuleFold(
        whole=whole,
        members=members,
        is_firing=is_firing,
        last_fired=point.window_end if is_firing else last_fired,
    )


def _of_pair(before: Fold, point: CyclePoint) -> Fold:
    return before if before.pair == _pair(point) else Fold()


def _pair(point: CyclePoint) -> tuple[str | None, str | None]:
    return point.teacher_version, point.student_version


def _next(condition: Condition, before: Fold, look: _Step | None, point: CyclePoint) -> Fold:
    if look is None:
        gap = before.gap + point.n_slots
        kept = before if gap < BLIND_AFTER else replace(before, streak=0, recent=(), is_open=False)
        return replace(kept, value=None, breached=False, statistic=None, gap=gap)
    carried = _of_pair(before, point)
    recent = (*carried.recent, look.breached)[-condition.window :]
    return Fold(
        value=look.value,
        breached=look.breached,
        statistic=look.statistic,
        streak=carried.streak + 1 if look.breached else 0,
        recent=recent,
        is_open=look.breached and (carried.is_open or sum(recent) >= condition.for_cycles),
        log_wealth=look.log_wealth,
        pair=_pair(point),
    )


def _look(condition: Condition, carried: Fold, point: CyclePoint) -> _Step | None:
    value = value_of(condition.metric or "", point)
    if value is None:
        return None
    if condition.mode == "sequential":
        return _look_at_evidence(condition, carried, point, value)
    bound = condition.cleared_at if carried.is_open else condition.threshold
    if condition.mode == "point" or carried.is_open:
        return _Step(value=value, breached=is_beyond(condition, value, bound))
    breached = interval_is_beyond(condition, point, bound)
    return None if breached is None else _Step(value=value, breached=breached)


def _look_at_evidence(condition: Condition, carried: Fold, point: CyclePoint, value: Value) -> _Step | None:
    """Step a sequential condition; after an alarm the value itself decides when to clear and start again."""
    if carried.is_open:
        return _Step(value=value, breached=is_beyond(condition, value, condition.cleared_at))
    log_wealth = log_wealth_after(condition, point, carried.log_wealth)
    if log_wealth is None:
        return None
    found = float(statistic(log_wealth))
    return _Step(
        value=value,
        breached=found >= math.log(condition.alarm_threshold),
        statistic=found,
        log_wealth=log_wealth,
    )


def _look_at_group(
    rule: Rule, conditions: Sequence[Condition], carried: Fold, members: Sequence[Fold]
) -> _Step | None:
    if rule.mode == "sequential":
        return _look_at_joint_evidence(rule, conditions, carried, members)
    holds = [each.holds for each in members]
    decided = any(holds) if rule.any else all(each is not False for each in holds)
    if None in holds and decided is not bool(rule.any):
        return None
    return _Step(value=float(sum(each is True for each in holds)), breached=decided)


def _look_at_joint_evidence(
    rule: Rule, conditions: Sequence[Condition], carried: Fold, members: Sequence[Fold]
) -> _Step | None:
    seen = [
        (condition, each.value)
        for condition, each in zip(conditions, members, strict=True)
        if each.value is not None
    ]
    if not seen:
        return None
    beyond = [is_beyond(condition, value, condition.cleared_at) for condition, value in seen]
    value = float(sum(beyond))
    if carried.is_open:
        return _Step(value=value, breached=any(beyond))
    # A condition without evidence yet has zero wealth, and counts in the average.
    won = [-math.inf if each.log_wealth is None else float(statistic(each.log_wealth)) for each in members]
    found = float(statistic(np.array(won)))
    return _Step(value=value, breached=found >= math.log(rule.alarm_threshold), statistic=found)


def _outcome(rule: Rule, version: str, fold: RuleFold, point: CyclePoint) -> RuleOutcome:
    whole = fold.whole
    reason = _reason(fold)
    return RuleOutcome(
        window_end=point.window_end,
        rule=rule.name,
        metric=rule.watches,
        value=None if whole.value is None else float(whole.value),
        threshold=_threshold(rule),
        breached=whole.breached,
        streak=whole.streak,
        fired=reason is OutcomeReason.FIRED,
        reason=reason,
        statistic=whole.statistic,
        rule_version=version,
        side="" if rule.conditions else rule.side,
    )


def _threshold(rule: Rule) -> float:
    """Return the threshold of a condition, or the number of a group's conditions that must hold."""
    if not rule.conditions:
        return float(rule.threshold)
    return 1.0 if rule.any else float(len(rule.conditions))


def _reason(fold: RuleFold) -> OutcomeReason:
    whole = fold.whole
    if whole.value is None:
        return OutcomeReason.STREAK_EXPIRED if whole.gap >= BLIND_AFTER else OutcomeReason.NOT_EVALUATED
    if not whole.breached:
        return OutcomeReason.WITHIN
    if fold.is_firing:
        return OutcomeReason.FIRED
    return OutcomeReason.COOLDOWN if whole.is_open else OutcomeReason.BREACHED
