"""What the on-call reads: one JSON document for every channel, schema `redistill.incident/1`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import orjson

from db.records import Claim, Job, Measurement
from db.states import IncidentState
from triggers.figures import differing, number_of
from triggers.incidents import Transition
from triggers.settings import IncidentPolicy
from triggers.signals import Situation

SCHEMA: Final = "redistill.incident/1"


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
        "opened_at": at if transition.incident is None else transition.incident.opened_at,
        "since": transition.since,
        "by": transition.by,
        "links": _links(transition, policy),
        **details,
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()


def _links(transition: Transition, policy: IncidentPolicy) -> dict[str, str]:
    runbook = {"runbook": f"{policy.runbook}#{transition.kind}"} if policy.runbook else {}
    return runbook | ({"page": policy.page} if policy.page else {})


def of_cycle(
    claim: Claim, situation: Situation, measured: Measurement | None, job_id: int | None
) -> dict[str, object]:
    """The numbers against the thresholds, with intervals; which labels; what moved; what was ordered."""
    order = situation.order
    return {
        "cycle_id": claim.cycle_id,
        "window_start": claim.slot.window_start,
        "window_end": claim.slot.window_end,
        "verdict": situation.judgement.verdict,
        "moved": situation.moved,
        "rules": [number_of(outcome, measured) for outcome in situation.outcomes],
        "labels": differing(measured),
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
