"""What the on-call reads: one JSON document for every channel, schema `redistill.incident/1`."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Final

import orjson

from db.records import Claim, Job, LabelMeasurement, Measurement
from db.states import IncidentState
from triggers.incidents import Transition
from triggers.settings import IncidentPolicy
from triggers.signals import Situation

SCHEMA: Final = "redistill.incident/1"
#: So many labels are named, those first that disagree most often.
_LABELS: Final = 5


def message(
    transition: Transition,
    event: IncidentState,
    *,
    monitor: str,
    incident_id: int,
    dedup_key: str,
    policy: IncidentPolicy,
    at: datetime,
    details: Mapping[str, object],
) -> str:
    """What happened, since when, how loud, where to read on; and what the occasion adds to it."""
    document = {
        "schema": SCHEMA,
        "dedup_key": dedup_key,
        "event": event,
        "kind": transition.kind,
        "severity": transition.severity,
        "summary": transition.summary,
        "monitor": monitor,
        "incident_id": incident_id,
        "at": at,
        "since": transition.since,
        "by": transition.by,
        "links": {"runbook": f"{policy.runbook}#{transition.kind}", "page": policy.page},
        **details,
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()


def of_cycle(
    claim: Claim, situation: Situation, measured: Measurement | None, job_id: int | None
) -> dict[str, object]:
    """The numbers against the thresholds, with intervals; which labels; what moved; what was ordered."""
    order = situation.order
    intervals = {} if measured is None else {"agreement": measured.agreement, "kl": measured.kl}
    return {
        "cycle_id": claim.cycle_id,
        "window_start": claim.slot.window_start,
        "window_end": claim.slot.window_end,
        "verdict": situation.judgement.verdict,
        "moved": situation.moved,
        "rules": [
            {
                **asdict(outcome),
                "low": intervals[outcome.metric].low if outcome.metric in intervals else None,
                "high": intervals[outcome.metric].high if outcome.metric in intervals else None,
            }
            for outcome in situation.outcomes
        ],
        "labels": [] if measured is None else [_label(each) for each in _worst(measured)],
        "order": {
            "reason": order.reason,
            "job_id": job_id,
            "alpha_from": str(order.alpha_from),
            "alpha_to": str(order.alpha_to),
            "evidence": order.evidence.says if order.evidence else None,
        },
    }


def of_job(job: Job) -> dict[str, object]:
    """Which job it was, and how it changes alpha."""
    return {
        "job": {
            "job_id": job.job_id,
            "reason": job.reason,
            "alpha_from": str(job.alpha_from),
            "alpha_to": str(job.alpha_to),
            "attempt": job.attempt,
        }
    }


def _worst(measured: Measurement) -> list[LabelMeasurement]:
    """By how much of the window's disagreement is theirs."""
    missed = {each.label: each.share * (1 - each.agreement.estimate) for each in measured.per_label}
    found = sorted(measured.per_label, key=lambda each: missed[each.label], reverse=True)
    return [each for each in found[:_LABELS] if missed[each.label] > 0]


def _label(each: LabelMeasurement) -> dict[str, object]:
    return {
        "label": each.label,
        "n": each.n,
        "share": each.share,
        "agreement": each.agreement.estimate,
        "agreement_low": each.agreement.low,
        "agreement_high": each.agreement.high,
        "kl": each.kl,
    }
