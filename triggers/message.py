"""What the on-call reads: one JSON document for every channel, schema `redistill.incident/1`."""

from datetime import datetime

import orjson

from db.records import Claim
from triggers.figures import differing, number_of
from triggers.incidents import Situation, Transition


def message(
    claim: Claim,
    transition: Transition,
    situation: Situation,
    *,
    dedup_key: str,
    job_id: int | None,
    now: datetime,
) -> str:
    """What happened, since when, the numbers against the thresholds, what moved, and what was ordered."""
    order = situation.order
    document = {
        "schema": "redistill.incident/1",
        "dedup_key": dedup_key,
        "event": transition.to_state,
        "kind": transition.kind,
        "severity": transition.severity,
        "summary": transition.summary,
        "monitor": claim.slot.monitor,
        "at": now,
        "opened_at": situation.opened_at(transition.incident_id) or now,
        "cycle_id": claim.cycle_id,
        "window_start": claim.slot.window_start,
        "window_end": claim.slot.window_end,
        "verdict": situation.judgement.verdict,
        "moved": situation.moved,
        "rules": [number_of(outcome, situation.measured) for outcome in situation.outcomes],
        "labels": differing(situation.measured),
        "order": {
            "reason": order.reason,
            "job_id": job_id,
            "alpha_from": str(order.alpha_from),
            "alpha_to": str(order.alpha_to),
            "evidence": order.evidence.says if order.evidence else None,
        },
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()
