"""The rules in force: each in words, and whether it can do what it says."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Final

from db.errors import RedistillError
from monitor.sources.fields import read_rows
from monitor.sources.port import WindowSample
from redistill.checks.result import CheckResult, bad, good, warn
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.rule_words import bound, rule_in_words
from triggers.rules.observation import LABEL_SAMPLES
from triggers.settings import NOT_OF_STUDENT, Condition, Rule

_HIGH_IS_GOOD: Final = frozenset({"agreement", "class_agreement"})
_DISTANCES: Final = frozenset({"kl", "kl_t1", "js", "class_kl"})
#: What a metric cannot exceed; a KL has no such bound.
_HIGHEST: Final[Mapping[str, float]] = {
    **dict.fromkeys((*_HIGH_IS_GOOD, "serving_skew", "input_drift"), 1.0),
    "js": math.log(2),
}
_CHANCE: Final = 0.5  #: the input drift of requests in which nothing is new
_COUNTED_ROWS: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """What keeps a rule from doing what it says."""

    found: str
    mend: str
    is_certain: bool = True  #: a problem; else a warning


def in_force(
    settings: Settings, labels: Sequence[str], looked: Sequence[WindowSample]
) -> Iterator[CheckResult]:
    """Each rule in a line, with what is wrong with it; then what is wrong with all of them together.

    `labels` are the models', empty where no model could be loaded; `looked` holds the newest window.
    """
    for rule in settings.rules:
        yield _result(rule, list(_faults(rule, settings, labels, looked)))
    yield from _together(settings)


def _result(rule: Rule, faults: Sequence[_Fault]) -> CheckResult:
    check, words = f"rule {rule.name}", rule_in_words(rule)
    if not faults:
        return good(check, words)
    tell = bad if any(fault.is_certain for fault in faults) else warn
    found = "; ".join((words, *(fault.found for fault in faults)))
    return tell(check, found, "; ".join(dict.fromkeys(fault.mend for fault in faults)))


def _together(settings: Settings) -> Iterator[CheckResult]:
    rules, section, monitor = settings.rules, settings.redistill, settings.monitor
    ordering = [rule for rule in rules if rule.action == "redistill"]
    watched = {each.metric for rule in ordering for each in rule.conditions or (rule,)}
    if all(rule.watches in NOT_OF_STUDENT for rule in rules):
        found = "no rule is about the student, so each cycle is inconclusive (no_rule_evaluated)"
        yield bad("rules", found, "add one to [[rules]], such as the two defaults of docs/rules.md")
    elif not watched & {"agreement", "kl"}:
        found = (
            "[[rules]] replace the two default rules, and none on agreement or kl orders a re-distillation"
        )
        yield warn(
            "rules", found, "add the defaults of docs/rules.md to [[rules]] if a drift should order one"
        )
    if ordering and section.alpha <= section.alpha_floor:
        found = (
            f"alpha = {section.alpha} is not above alpha_floor = {section.alpha_floor}, so no job is ordered"
        )
        yield bad("alpha", found, "lower alpha_floor or raise alpha in [redistill]")
    if monitor.min_samples > monitor.sample_size:
        found = (
            f"min_samples = {monitor.min_samples} is above sample_size = {monitor.sample_size}, so no cycle"
        )
        yield bad("samples", f"{found} has a verdict", "lower min_samples or raise sample_size in [monitor]")


def _faults(
    rule: Rule, settings: Settings, labels: Sequence[str], looked: Sequence[WindowSample]
) -> Iterator[_Fault]:
    for condition in rule.conditions or (rule,):
        fault = _never(condition) or (None if rule.all else _always(condition))
        if fault is not None:
            yield fault
        if ":" in (condition.metric or "") and labels:
            yield from _label_faults(condition, settings, labels, looked)


def _never(condition: Condition) -> _Fault | None:
    """A threshold that no value lies beyond."""
    highest = _HIGHEST.get(_kind(condition), math.inf)
    threshold = float(condition.threshold)
    if condition.side == "below" and threshold <= 0:
        return _Fault(found=f"{bound(condition)} never happens", mend="raise 'below' above 0")
    if condition.side == "above" and threshold >= highest:
        most = f"{highest:.6g}"
        return _Fault(
            found=f"{bound(condition)} never happens, since it is at most {most}",
            mend=f"lower 'above' below {most}",
        )
    return None


def _always(condition: Condition) -> _Fault | None:
    """A threshold beyond which a healthy student's value lies."""
    kind, threshold = _kind(condition), float(condition.threshold)
    if kind in _HIGH_IS_GOOD and condition.side == "above":
        return _healthy(condition, "set 'below' instead of 'above'")
    if kind in _HIGH_IS_GOOD and threshold >= 1:
        return _Fault(
            found=f"{bound(condition)} holds from one disagreement on", mend="lower 'below' below 1"
        )
    if kind not in _HIGH_IS_GOOD and condition.side == "below":
        return _healthy(condition, "set 'above' instead of 'below'")
    if kind in _DISTANCES and threshold <= 0:
        return _Fault(
            found=f"{bound(condition)} holds for any two models that differ", mend="raise 'above' above 0"
        )
    if kind == "input_drift" and threshold < _CHANCE:
        return _healthy(condition, f"raise 'above' above {_CHANCE}, which is chance")
    return None


def _healthy(condition: Condition, mend: str) -> _Fault:
    return _Fault(found=f"{bound(condition)} holds at each healthy cycle", mend=mend)


def _kind(condition: Condition) -> str:
    return (condition.metric or "").partition(":")[0]


def _label_faults(
    condition: Condition, settings: Settings, labels: Sequence[str], looked: Sequence[WindowSample]
) -> Iterator[_Fault]:
    kind, _, label = (condition.metric or "").partition(":")
    if label not in labels:
        near = get_close_matches(label, labels, n=1)
        mend = f"write '{kind}:{near[0]}'" if near else f"name one of {', '.join(labels)}"
        yield _Fault(found=f"the label {label!r} is unknown to the models", mend=mend)
        return
    sample = looked[0] if looked and looked[0].requests else None
    found = _in_window(label, sample) or _in_test_set(label, settings, sample)
    if found is not None and found[0] < LABEL_SAMPLES:
        n, whence = found
        yield _Fault(
            found=f"a sample has about {show.counted(n, 'request')} of {label!r} {whence}, and with fewer "
            f"than {LABEL_SAMPLES} the rule is not evaluated",
            mend="choose a longer window (every), raise sample_size or label_floor, or keep a rule on all "
            "requests beside it",
            is_certain=False,
        )


def _in_window(label: str, sample: WindowSample | None) -> tuple[int, str] | None:
    """Return how many requests of the window's sample the student called so; None if that is not logged."""
    given = Counter(each.student_label for each in sample.requests) if sample else Counter()
    if not given.keys() - {None}:
        return None
    return given[label], "(by the student's answers in the newest window)"


def _in_test_set(label: str, settings: Settings, sample: WindowSample | None) -> tuple[int, str] | None:
    """Return how many requests to expect by the labelled test rows; None if these cannot be read."""
    counts = _label_counts(settings.redistill.test)
    if not counts:
        return None
    n_sampled = min(settings.monitor.sample_size, sample.traffic.n_seen if sample else math.inf)
    return int(n_sampled * counts[label] / counts.total()), "(by the labelled test rows)"


def _label_counts(path: Path | None) -> Counter[object]:
    try:
        rows = islice(read_rows(path), _COUNTED_ROWS) if path else ()
        return Counter(row.get("label") for row in rows)
    except (OSError, RedistillError):
        return Counter()  # the check of labelled data says what is wrong with it
