"""Deliberate breaks of the product, each with the tests that must notice it."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Break:
    """One replacement in one file; the old text occurs there exactly once."""

    file: str
    old: str
    new: str
    tests: str


BREAKS: Final = (
    # The rules and the verdict.
    Break(
        "triggers/rules/evaluation.py",
        "kept = before if gap < BLIND_AFTER else",
        "kept = before if gap <= BLIND_AFTER else",
        "tests/unit/triggers/rules/test_rules_oracle.py",
    ),
    Break(
        "triggers/rules/evaluation.py",
        "sum(recent) >= condition.for_cycles)",
        "sum(recent) > condition.for_cycles)",
        "tests/unit/triggers/rules/test_rules_oracle.py",
    ),
    Break(
        "triggers/rules/evaluation.py",
        "return before if before.pair == _pair(point) else Fold()",
        "return before",
        "tests/unit/triggers/rules/test_rules_oracle.py",
    ),
    Break(
        "triggers/rules/evaluation.py",
        "point.window_end - last_fired >= rule.cooldown",
        "point.window_end - last_fired > rule.cooldown",
        "tests/unit/triggers/rules/test_rules_modes.py",
    ),
    Break(
        "triggers/rules/verdict.py",
        "    outcomes = [outcome for outcome in outcomes if is_about_student(outcome)]\n    if all(",
        "    if all(",
        "tests/unit/triggers/rules/test_verdict.py",
    ),
    Break(
        "triggers/rules/state.py",
        '"gap": fold.gap,',
        '"gap": 0,',
        "tests/unit/triggers/rules/test_state.py",
    ),
    # Orders.
    Break(
        "triggers/orders/alpha.py",
        "max(alpha_from - step, policy.alpha_floor)",
        "alpha_from - step",
        "tests/unit/triggers/rules/test_rules_oracle.py",
    ),
    Break(
        "triggers/orders/alpha.py",
        "abs(now - ladder.last_finished_at) < policy.cooldown",
        "abs(now - ladder.last_finished_at) <= policy.cooldown",
        "tests/unit/triggers/rules/test_rules_oracle.py",
    ),
    Break(
        "triggers/orders/alpha.py",
        "job.enqueued_at >= began_at]",
        "job.enqueued_at > began_at]",
        "tests/unit/triggers/rules/test_rules_oracle.py",
    ),
    # Teacher health.
    Break(
        "triggers/teacher/trust.py",
        "if measured.confidence.high < floor:",
        "if measured.confidence.estimate < floor:",
        "tests/unit/triggers/teacher/test_trust.py",
    ),
    Break(
        "triggers/teacher/trust.py",
        "accuracy.low >= policy.min_accuracy",
        "accuracy.high >= policy.min_accuracy",
        "tests/unit/triggers/teacher",
    ),
    Break(
        "triggers/teacher/mix.py",
        "        return alone or apart",
        "        return alone",
        "tests/unit/triggers/teacher",
    ),
    # Incidents and notifications.
    Break(
        "triggers/incidents/lifecycle.py",
        "if at - since >= keep_firing_for:",
        "if at - since > keep_firing_for:",
        "tests/unit/triggers/incidents/test_lifecycle.py",
    ),
    Break(
        "triggers/incidents/lifecycle.py",
        "if signal.state is not SignalState.UNKNOWN and incident.clearing_since is not None:",
        "if incident.clearing_since is not None:",
        "tests/unit/triggers/incidents/test_lifecycle.py",
    ),
    Break(
        "triggers/backoff.py",
        "max(rng.uniform(0, ceiling), retry_after_seconds or 0)",
        "rng.uniform(0, ceiling)",
        "tests/unit/triggers/test_backoff.py",
    ),
    # Sampling and metrics.
    Break(
        "monitor/sampling.py",
        "if digest <= cutoffs[stratum]",
        "if digest < cutoffs[stratum]",
        "tests/unit/monitor/test_sampling.py",
    ),
    Break(
        "monitor/sampling.py",
        "self._floor = min(floor, k // (2 * strata))",
        "self._floor = floor",
        "tests/unit/monitor/test_sampling.py",
    ),
    Break(
        "monitor/divergence.py",
        "(np.exp(p) * (p - q)).sum(axis=1)",
        "(np.exp(q) * (q - p)).sum(axis=1)",
        "tests/unit/monitor/test_divergence.py",
    ),
    Break(
        "monitor/divergence.py",
        "return np.clip(both / 2, 0.0, math.log(2))",
        "return np.clip(both, 0.0, math.log(2))",
        "tests/unit/monitor/test_divergence.py",
    ),
    Break(
        "triggers/wilson.py",
        "z * z / (4 * n * n))",
        "z * z / (4 * n))",
        "tests/unit/monitor/test_intervals.py",
    ),
    Break(
        "monitor/strata.py",
        "weights.sum() ** 2 / np.square(weights).sum()",
        "float(weights.size)",
        "tests/unit/monitor/test_strata.py",
    ),
    Break(
        "monitor/measure.py",
        "float((values * weights).mean())",
        "float(values.mean())",
        "tests/unit/monitor/test_measure.py",
    ),
    Break(
        "monitor/daemon/schedule.py",
        "slot.window_end + lateness < now - catch_up",
        "slot.window_end < now - catch_up",
        "tests/unit/monitor/daemon/test_schedule.py",
    ),
    # Training.
    Break(
        "distill/losses.py",
        "return temperature**2 * terms.kl + terms.ce",
        "return temperature * terms.kl + terms.ce",
        "tests/unit/distill/test_losses.py",
    ),
    Break(
        "distill/losses.py",
        "ce=(hard * ce).mean()",
        "ce=(hard * ce).sum() / labelled.sum()",
        "tests/unit/distill/test_losses.py",
    ),
    # Storage.
    Break(
        "db/leases.py",
        "    if token != lease.token:\n",
        "    if token is None:\n",
        "tests/integration/db/test_leases.py",
    ),
    Break(
        "db/queue.py",
        "attempt = job.attempt if error else job.attempt - 1",
        "attempt = job.attempt",
        "tests/integration/db/test_queue.py",
    ),
    Break(
        "db/outbox.py",
        "            earlier.c.id < deliveries.c.id,",
        "            earlier.c.id < 0,",
        "tests/integration/triggers/channels/test_outbox.py",
    ),
    Break(
        "db/cycles/ledger.py",
        "return _claim_again(connection, row, now) if row.status in UNFINISHED else None",
        "return _claim_again(connection, row, now)",
        "tests/integration/db/cycles",
    ),
    Break(
        "db/cycles/ledger.py",
        "if claim.extended is not None:",
        "if claim.extended is not None and False:",
        "tests/integration/db/cycles/test_merged_windows.py",
    ),
    Break(
        "db/archives/erasures.py",
        ".one_or_none() != (cycle.uri, cycle.sha256):",
        ".one_or_none() is None:",
        "tests/integration/monitor/archive/test_erasure.py",
    ),
    # The checks of doctor.
    Break(
        "redistill/checks/result.py",
        "ok=False, level=Level.PROBLEM",
        "ok=True, level=Level.PROBLEM",
        "tests/unit/redistill/checks",
    ),
)
