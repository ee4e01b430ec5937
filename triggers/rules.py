"""What a rule says of each cycle: one fold over the history, for the daemon and for `replay` alike."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import takewhile
from operator import attrgetter

from db.records import CyclePoint, RuleOutcome
from db.states import CycleStatus, OutcomeReason
from triggers.settings import Metric, Rule

#: At this many cycles in a row without evidence a streak ends and the monitor is blind.
BLIND_AFTER = 3

_by_window = attrgetter("window_end")


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """What one rule remembers from cycle to cycle; a gap is a run of cycles without evidence."""

    value: Fraction | float | None = None
    breached: bool = False
    streak: int = 0
    gap: int = 0
    pair: tuple[str | None, str | None] | None = None


def evaluate(rule: Rule, history: Sequence[CyclePoint]) -> RuleOutcome:
    """What `rule` says at the newest cycle of `history`, which may come in any order, one point a window.

    The answer depends on the arguments alone: asking twice, or after a restart, gives the same. Raises
    ValueError when there is no cycle at all.
    """
    if not history:
        raise ValueError(f"rule {rule.name!r} cannot be evaluated: the history holds no cycle")
    *_, newest = replay(rule, history)
    return newest


def replay(rule: Rule, history: Sequence[CyclePoint]) -> Iterator[RuleOutcome]:
    """What `rule` said at each cycle of `history`, oldest window first.

    A cycle is evaluated for a rule when its status says so and the rule's metric is a finite number.
    Agreement is compared as a rational, (n - disagreements) / n or what a stratified sample gives, with
    the threshold's decimal, so that a tie is a tie at every n. The other metrics are doubles and are compared
    with the double nearest to the threshold, so that a value written as 0.1 ties with a threshold written as
    0.1. A tie is not a breach.

    The streak counts breached evaluated cycles in a row of one (teacher, student) pair. Which pair an
    unevaluated cycle would have had plays no part.
    """
    fold = _Fold()
    for point in sorted(history, key=_by_window):
        fold = _step(rule, fold, point)
        yield _outcome(rule, fold, point)


def unevaluated_in_a_row(history: Sequence[CyclePoint]) -> int:
    """How many of the newest cycles in a row, in any order given, were not evaluated; 0 of none."""
    newest_first = sorted(history, key=_by_window, reverse=True)
    return sum(1 for _ in takewhile(lambda point: point.status is not CycleStatus.EVALUATED, newest_first))


def _step(rule: Rule, before: _Fold, point: CyclePoint) -> _Fold:
    value = _value(rule.metric, point)
    if value is None:
        gap = before.gap + 1
        return _Fold(streak=0 if gap >= BLIND_AFTER else before.streak, gap=gap, pair=before.pair)
    pair = (point.teacher_version, point.student_version)
    breached = _is_breach(rule, value)
    carried = before.streak if pair == before.pair else 0
    return _Fold(value=value, breached=breached, streak=carried + 1 if breached else 0, pair=pair)


def _value(metric: Metric, point: CyclePoint) -> Fraction | float | None:
    if point.status is not CycleStatus.EVALUATED:
        return None
    if metric == "agreement":
        return _agreement(point)
    value: float | None = getattr(point, metric)
    return value if value is not None and math.isfinite(value) else None


def _agreement(point: CyclePoint) -> Fraction | None:
    if point.agreement is not None:
        return point.agreement
    if not point.n or point.disagreements is None:
        return None
    return Fraction(point.n - point.disagreements, point.n)


def _is_breach(rule: Rule, value: Fraction | float) -> bool:
    exact = isinstance(value, Fraction)
    bound = Fraction(rule.threshold) if exact else float(rule.threshold)
    return value < bound if rule.below is not None else value > bound


def _outcome(rule: Rule, fold: _Fold, point: CyclePoint) -> RuleOutcome:
    reason = _reason(rule, fold)
    return RuleOutcome(
        window_end=point.window_end,
        rule=rule.name,
        metric=rule.metric,
        value=None if fold.value is None else float(fold.value),
        threshold=float(rule.threshold),
        breached=fold.breached,
        streak=fold.streak,
        fired=reason is OutcomeReason.FIRED,
        reason=reason,
    )


def _reason(rule: Rule, fold: _Fold) -> OutcomeReason:
    if fold.value is None:
        return OutcomeReason.STREAK_EXPIRED if fold.gap >= BLIND_AFTER else OutcomeReason.NOT_EVALUATED
    if not fold.breached:
        return OutcomeReason.WITHIN
    return OutcomeReason.FIRED if fold.streak >= rule.for_cycles else OutcomeReason.BREACHED
