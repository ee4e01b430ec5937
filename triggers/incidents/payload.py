"""The payload of a notification: one JSON document for all channels, schema `redistill.incident/1`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson

from db.records import Evaluation, GateOutcome, Job
from db.states import IncidentState
from triggers.incidents.figures import differing, gate_of, number_of
from triggers.incidents.lifecycle import Transition
from triggers.incidents.signals import Situation
from triggers.incidents.slice_words import first_slices
from triggers.settings import IncidentPolicy

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
    """Return the payload: event, severity, times and links, with the details of the occasion."""
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
        "opened_at": _opened_at(transition, at),
        "since": transition.since,
        "by": transition.by,
        "links": _links(transition, policy),
        **details,
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z).decode()


def _opened_at(transition: Transition, at: datetime) -> datetime:
    """Return when the incident fired; an incident that was pending opens now."""
    incident = transition.incident
    return at if incident is None or incident.state is IncidentState.PENDING else incident.opened_at


def _links(transition: Transition, policy: IncidentPolicy) -> dict[str, str]:
    runbook = {"runbook": f"{policy.runbook}#{transition.kind}"} if policy.runbook else {}
    return runbook | ({"page": policy.page} if policy.page else {})


def of_cycle(situation: Situation) -> dict[str, object]:
    """Return a cycle's details: rules with intervals, labels and slices that differ, and the order."""
    cycle, order = situation.cycle, situation.order
    return {
        "cycle_id": cycle.claim.cycle_id,
        "window_start": cycle.claim.slot.window_start,
        "window_end": cycle.claim.slot.window_end,
        "verdict": cycle.judgement.verdict,
        "moved": situation.moved,
        "rules": [number_of(outcome, cycle.measurement) for outcome in cycle.outcomes],
        "labels": differing(cycle.measurement),
        "slices": first_slices(cycle.measurement.slices if cycle.measurement else ()),
        "order": {
            "reason": order.reason,
            "job_id": order.job_id,
            "alpha_from": str(order.alpha_from),
            "alpha_to": str(order.alpha_to),
            "evidence": order.evidence.says if order.evidence else None,
        },
    }


def of_job(
    job: Job, gates: Sequence[GateOutcome] = (), evaluations: Sequence[Evaluation] = ()
) -> dict[str, object]:
    """Return a job's details, with the gates of its candidate, if any."""
    return {
        "gates": [gate_of(gate, evaluations) for gate in gates],
        "job": {
            "job_id": job.job_id,
            "reason": job.reason,
            "alpha_from": str(job.alpha_from),
            "alpha_to": str(job.alpha_to),
            "attempt": job.attempt,
        },
    }
