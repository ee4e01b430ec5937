"""Messages of the outbox, as they are stored."""

import json
from typing import Any, Final

from db.records import Delivery
from db.states import IncidentState

#: What channels make of it must not change what it says, nor who is called by it.
ODD: Final = 'a <b> & "c" <!channel> @here *x* _y_ 👩\u200d🚀\n\tétagère \x07 | end'

_RULES: Final = [
    {
        "window_end": "2026-11-24T11:00:00Z",
        "rule": "low-agreement",
        "metric": "agreement",
        "value": 0.924,
        "threshold": 0.95,
        "breached": True,
        "streak": 3,
        "fired": True,
        "reason": "fired",
        "statistic": None,
        "rule_version": "ab" * 32,
        "side": "below",
        "low": 0.912,
        "high": 0.935,
    },
    {
        "window_end": "2026-11-24T11:00:00Z",
        "rule": "high-kl",
        "metric": "kl",
        "value": 0.08,
        "threshold": 0.15,
        "breached": False,
        "streak": 0,
        "fired": False,
        "reason": "within",
        "statistic": None,
        "rule_version": "cd" * 32,
        "side": "above",
        "low": 0.066,
        "high": 0.095,
    },
]


def make_document(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """A drift that ordered a job."""
    usual = {
        "schema": "redistill.incident/1",
        "dedup_key": "redistill:mangaassist:7:20261124T110000Z:5e0c93ab41d7",
        "event": "firing",
        "kind": "drift",
        "severity": "error",
        "summary": "agreement 0.924 below 0.95 for 3 cycles; ordered: re-distillation with alpha 0.7 -> 0.6",
        "monitor": "mangaassist",
        "incident_id": 7,
        "at": "2026-11-24T11:10:00Z",
        "opened_at": "2026-11-24T11:10:00Z",
        "since": "2026-11-24T09:00:00Z",
        "by": None,
        "cycle_id": 12,
        "window_start": "2026-11-24T10:00:00Z",
        "window_end": "2026-11-24T11:00:00Z",
        "verdict": "breached",
        "moved": "returns 2% -> 14%; label mix PSI 0.210 [0.150, 0.270]",
        "rules": _RULES,
        "labels": [
            {"label": "returns", "share": 0.14, "agreement": 0.61, "low": 0.55, "high": 0.67},
            {"label": "faq", "share": 0.31, "agreement": 0.93, "low": 0.9, "high": 0.95},
        ],
        "slices": [
            {
                "kind": "label",
                "name": "returns",
                "student_label": None,
                "part": 0.72,
                "share": 0.14,
                "rate": 0.39,
                "reference_share": 0.02,
                "reference_rate": 0.05,
                "moved": True,
            },
        ],
        "order": {
            "reason": "ordered",
            "job_id": 3,
            "alpha_from": "0.7",
            "alpha_to": "0.6",
            "evidence": None,
        },
        "links": {"runbook": "https://example.org/runbook#drift", "page": "https://example.org/?a=1&b=2"},
    }
    return {**usual, **changes}


def make_odd_document() -> dict[str, Any]:
    """Long where it can be, and with what means something to a channel in each text."""
    rules = [{**rule, "rule": f"{ODD} {index}"} for index in range(60) for rule in _RULES]
    return make_document(
        dedup_key=f"redistill:{ODD}:{'x' * 300}",
        summary=f"{ODD} {'&<>😀' * 3_000}",
        monitor=f"my monitor {ODD} {'é😀' * 200}",
        moved=ODD * 200,
        rules=rules,
        slices=[{**each, "name": ODD * 50, "student_label": ODD} for each in make_document()["slices"]],
        labels=[{"label": ODD * 50, "share": 0.5, "agreement": 0.5, "low": None, "high": None}],
        order={**make_document()["order"], "evidence": ODD * 100},
        links={"runbook": "https://example.org/a|b>c<d e&f", "page": "https://example.org/" + "p" * 4_000},
    )


def make_delivery(document: dict[str, Any] | None = None, *, thread: str | None = None) -> Delivery:
    found = document or make_document()
    return Delivery(
        delivery_id=1,
        incident_id=7,
        channel="a",
        event=IncidentState.RESOLVED if found["event"] == "resolved" else IncidentState.FIRING,
        dedup_key=found["dedup_key"],
        payload=json.dumps(found),
        attempts=1,
        thread=thread,
    )
