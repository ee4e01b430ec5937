"""CloudWatch's embedded metric format (EMF): a line of JSON from which CloudWatch Logs takes metrics."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from db.records import Claim, CycleResult, Measurement
from db.states import Verdict
from monitor.clock import utc_now

NAMESPACE: Final = "Redistill"
_JUDGED: Final = {Verdict.HEALTHY, Verdict.BREACHED}


def write(claim: Claim, verdict: Verdict, result: CycleResult | None) -> None:
    """Write the line of a cycle that has ended to standard output, which may be full or closed."""
    with suppress(OSError, ValueError):
        sys.stdout.write(f"{line(claim, verdict, result, now=utc_now())}\n")
        sys.stdout.flush()


def line(claim: Claim, verdict: Verdict, result: CycleResult | None, *, now: datetime) -> str:
    """Return the line of a cycle; `result` is None if it failed.

    Agreement and KL are in it only if the student was judged, as in /metrics.
    """
    found = [each for each in _metrics(verdict, result) if math.isfinite(each[1])]
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["monitor"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, _, unit in found],
    }
    return json.dumps(
        {
            "_aws": {"Timestamp": round(now.timestamp() * 1_000), "CloudWatchMetrics": [directive]},
            "monitor": claim.slot.monitor,
            "cycle_id": claim.cycle_id,
            "window_end": claim.slot.window_end.isoformat(),
            "verdict": verdict,
            **{name: value for name, value, _ in found},
        }
    )


def _metrics(verdict: Verdict, result: CycleResult | None) -> Iterator[tuple[str, float, str]]:
    """Yield the name, the value and CloudWatch's unit of each metric."""
    for each in Verdict:
        yield each.value, int(each is verdict), "Count"
    if result is None:
        return
    yield "records_rejected", result.traffic.n_rejected, "Count"
    yield "requests_scored", result.measurement.n if result.measurement else 0, "Count"
    yield "cycle_seconds", sum(result.stage_seconds.values()), "Seconds"
    if result.measurement is not None and verdict in _JUDGED:
        yield from _measured(result.measurement)


def _measured(measured: Measurement) -> Iterator[tuple[str, float, str]]:
    for name, interval, unit in (("agreement", measured.agreement, "ratio"), ("kl", measured.kl, "nats")):
        yield f"{name}_{unit}", interval.estimate, "None"
        yield f"{name}_low_{unit}", interval.low, "None"
        yield f"{name}_high_{unit}", interval.high, "None"
    if measured.input_drift is not None:
        yield "input_drift_ratio", measured.input_drift.accuracy, "None"
