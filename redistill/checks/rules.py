"""Checks of the configured rules: each in words, with the reasons why it would not work as written."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice, product
from typing import Final

from db.errors import RedistillError, quoted
from monitor.labels.spelling import alike
from monitor.reference.baseline import MIN_TEXTS
from monitor.sources.fields import read_rows
from monitor.sources.port import WindowSample
from redistill.artifacts import artifacts
from redistill.checks.result import CheckResult, ok, problem, warning
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.words.rule_words import bound, rule_in_words
from triggers.rules.observation import LABEL_SAMPLES
from triggers.settings import NOT_OF_STUDENT, Condition, Rule

_HIGH_IS_GOOD: Final = frozenset({"agreement", "class_agreement"})
_DISTANCES: Final = frozenset({"kl", "kl_t1", "js", "class_kl"})
#: The largest possible value of a metric; a KL divergence has none.
_HIGHEST: Final[Mapping[str, float]] = {
    **dict.fromkeys((*_HIGH_IS_GOOD, "serving_skew", "input_drift"), 1.0),
    "js": math.log(2),
}
_CHANCE: Final = 0.5  #: the input drift of requests that do not differ from the reference
_COUNTED_ROWS: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """A reason why a rule would not work as written."""

    found: str
    fix: str
    is_certain: bool = True  #: a problem; else a warning


def in_force(
    settings: Settings, labels: Sequence[str], samples: Sequence[WindowSample]
) -> Iterator[CheckResult]:
    """Yield one result per rule, then the faults of all rules together.

    `labels` are those of the models, or empty if none could be loaded; `samples` has the newest window, or is
    empty if it could not be read.
    """
    for rule in settings.rules:
        yield _result(rule, list(_faults(rule, settings, labels, samples)))
    yield from _together(settings)


def _result(rule: Rule, faults: Sequence[_Fault]) -> CheckResult:
    check, words = f"rule {rule.name}", rule_in_words(rule)
    if not faults:
        return ok(check, words)
    result = problem if any(fault.is_certain for fault in faults) else warning
    found = "; ".join((words, *(fault.found for fault in faults)))
    return result(check, found, "; ".join(dict.fromkeys(fault.fix for fault in faults)))


def _together(settings: Settings) -> Iterator[CheckResult]:
    rules = settings.rules
    ordering = [rule for rule in rules if rule.action == "redistill"]
    watched = {each.metric for rule in ordering for each in rule.conditions or (rule,)}
    if all(rule.watches in NOT_OF_STUDENT for rule in rules):
        found = "no rule is about the student, so every cycle is inconclusive (no_rule_evaluated)"
        yield problem("rules", found, "add one to [[rules]], such as the two defaults of docs/rules.md")
    elif not watched & {"agreement", "kl"}:
        found = (
            "[[rules]] replace the two default rules, and none on agreement or kl orders a re-distillation"
        )
        fix = "add the defaults of docs/rules.md to [[rules]] if a drift should order a re-distillation"
        yield warning("rules", found, fix)


def _faults(
    rule: Rule, settings: Settings, labels: Sequence[str], samples: Sequence[WindowSample]
) -> Iterator[_Fault]:
    yield from _contradictions(rule.all or ())
    for condition in rule.conditions or (rule,):
        fault = _never(condition) or (None if rule.all else _always(condition))
        fault = fault or _not_measured(condition, settings)
        if fault is not None:
            yield fault
        if ":" in (condition.metric or "") and labels:
            yield from _label_faults(condition, settings, labels, samples)


def _contradictions(conditions: Sequence[Condition]) -> Iterator[_Fault]:
    """Yield the pairs of conditions that no value meets together; all of them would have to hold."""
    for low, high in product(conditions, conditions):
        is_pair = (low.metric, low.side, high.side) == (high.metric, "below", "above")
        if is_pair and low.threshold <= high.threshold:
            yield _Fault(
                found=f"{bound(low)} and {bound(high)} never hold together",
                fix="name these conditions with 'any', or in rules of their own",
            )


def _not_measured(condition: Condition, settings: Settings) -> _Fault | None:
    """Return the fault of a metric that the configuration does not measure, or not from enough requests."""
    kind, _, label = (condition.metric or "").partition(":")
    texts, sampled = settings.metrics.input_sample, settings.monitor.sample_size
    if kind == "serving_skew" and settings.student.scores != "recorded":
        fix = "set scores = 'recorded' in [student], or remove the rule"
        return _Fault(found="serving_skew is measured only where recorded answers are used", fix=fix)
    if kind == "input_drift" and min(texts, sampled) < MIN_TEXTS:
        found = f"input_drift needs {MIN_TEXTS} texts, and input_sample = {texts}, sample_size = {sampled}"
        return _Fault(found=found, fix="raise them in [metrics] and [monitor], or remove the rule")
    if label and sampled < LABEL_SAMPLES:
        found = f"a label needs {LABEL_SAMPLES} requests in the sample, and sample_size = {sampled}"
        return _Fault(found=found, fix="raise sample_size in [monitor], or add a rule on all requests")
    return None


def _never(condition: Condition) -> _Fault | None:
    """Return the fault of a threshold that no value can cross."""
    highest = _HIGHEST.get(_kind(condition), math.inf)
    threshold = float(condition.threshold)
    if condition.side == "below" and threshold <= 0:
        return _Fault(found=f"{bound(condition)} never happens", fix="raise 'below' above 0")
    if condition.side == "above" and threshold >= highest:
        most = f"{highest:.6g}"
        return _Fault(
            found=f"{bound(condition)} never happens, because the metric is at most {most}",
            fix=f"lower 'above' below {most}",
        )
    return None


def _always(condition: Condition) -> _Fault | None:
    """Return the fault of a threshold that a healthy student crosses."""
    kind, threshold = _kind(condition), float(condition.threshold)
    if kind in _HIGH_IS_GOOD and condition.side == "above":
        return _healthy(condition, "set 'below' instead of 'above'")
    if kind in _HIGH_IS_GOOD and threshold >= 1:
        return _Fault(
            found=f"{bound(condition)} holds as soon as there is one disagreement",
            fix="lower 'below' below 1",
        )
    if kind not in _HIGH_IS_GOOD and condition.side == "below":
        return _healthy(condition, "set 'above' instead of 'below'")
    if kind in _DISTANCES and threshold <= 0:
        return _Fault(
            found=f"{bound(condition)} holds for any two models that differ", fix="raise 'above' above 0"
        )
    if kind == "input_drift" and threshold < _CHANCE:
        return _healthy(condition, f"raise 'above' above {_CHANCE}, the value of unchanged requests")
    return None


def _healthy(condition: Condition, fix: str) -> _Fault:
    return _Fault(found=f"{bound(condition)} holds in every healthy cycle", fix=fix)


def _kind(condition: Condition) -> str:
    return (condition.metric or "").partition(":")[0]


def _label_faults(
    condition: Condition, settings: Settings, labels: Sequence[str], samples: Sequence[WindowSample]
) -> Iterator[_Fault]:
    kind, _, label = (condition.metric or "").partition(":")
    if label not in labels:
        meant = alike(label, labels)
        near = [meant] if meant else get_close_matches(label, labels, n=1)
        fix = f"write '{kind}:{near[0]}'" if near else f"name one of {', '.join(labels)}"
        yield _Fault(found=f"the label {quoted(label)} is unknown to the models", fix=fix)
        return
    sample = samples[0] if samples and samples[0].requests else None
    estimate = _in_window(label, sample) or _in_test_set(label, settings, sample)
    if estimate is not None and estimate[0] < LABEL_SAMPLES:
        n, source = estimate
        yield _Fault(
            found=f"a sample has about {show.counted(n, 'request')} of {quoted(label)} {source}, and with "
            f"fewer than {LABEL_SAMPLES} the rule is not evaluated",
            fix="choose a longer window (every), raise sample_size or label_floor, or add a rule on all "
            "requests",
            is_certain=False,
        )


def _in_window(label: str, sample: WindowSample | None) -> tuple[int, str] | None:
    """Return the requests in the window's sample with that student label; None if the log has no labels."""
    given = Counter(each.student_label for each in sample.requests) if sample else Counter()
    if not given.keys() - {None}:
        return None
    return given[label], "(by the student's answers in the newest window)"


def _in_test_set(label: str, settings: Settings, sample: WindowSample | None) -> tuple[int, str] | None:
    """Return the expected requests by the labelled test rows; None if those cannot be read."""
    counts = _label_counts(settings)
    if not counts:
        return None
    n_sampled = min(settings.monitor.sample_size, sample.traffic.n_seen if sample else math.inf)
    return int(n_sampled * counts[label] / counts.total()), "(by the labelled test rows)"


def _label_counts(settings: Settings) -> Counter[object]:
    test = settings.redistill.test
    try:
        rows = islice(read_rows(artifacts(settings).file(test)), _COUNTED_ROWS) if test else ()
        return Counter(row.get("label") for row in rows)
    except (OSError, RedistillError):
        return Counter()  # the check of labelled data reports the error
