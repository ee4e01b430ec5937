"""The metrics of /metrics: the name, kind, labels and meaning of each."""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["gauge", "counter", "histogram", "info"]
_UNITS: Final = ("seconds", "ratio", "nats", "cycles")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A metric. Its name is the one in queries; a histogram's also has _bucket, _count and _sum."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()  #: besides `monitor`

    @property
    def family(self) -> str:
        """The name without the suffix that its kind adds."""
        return self.name.removesuffix({"counter": "_total", "info": "_info"}.get(self.kind, ""))

    @property
    def unit(self) -> str:
        """The unit in which the name ends, or an empty string."""
        if self.kind not in {"gauge", "histogram"}:
            return ""
        return next((unit for unit in _UNITS if self.family.endswith(f"_{unit}")), "")


def _gauge(name: str, text: str, *labels: str) -> Definition:
    return Definition(name=f"redistill_{name}", kind="gauge", help=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Definition:
    return Definition(name=f"redistill_{name}", kind="counter", help=text, labels=labels)


def _histogram(name: str, text: str, *labels: str) -> Definition:
    return Definition(name=f"redistill_{name}", kind="histogram", help=text, labels=labels)


def _info(name: str, text: str, *labels: str) -> Definition:
    return Definition(name=f"redistill_{name}", kind="info", help=text, labels=labels)


_DEFINITIONS: Final = (
    _gauge("database_up", "1 if the monitor's database could be read for this answer, otherwise 0."),
    _info("build_info", "The version of Redistill that answers; the value is 1.", "version"),
    _gauge("lateness_seconds", "Time from the end of a window until its cycle is due, in seconds."),
    _gauge(
        "window_end_timestamp_seconds",
        "End of the newest window whose cycle has a verdict of any kind, in seconds since 1970.",
    ),
    _gauge("window_seconds", "Length of that window, in seconds."),
    _gauge(
        "verdict",
        "1 for the verdict of the cycle of the newest window, 0 for all others.",
        "verdict",
    ),
    _gauge(
        "judged_window_end_timestamp_seconds",
        "End of the newest window whose student was judged healthy or breached, in seconds since 1970.",
    ),
    _gauge(
        "agreement_ratio",
        "Share of the requests of the newest judged window on which teacher and student have the same top-1 "
        "label, from 0 to 1.",
    ),
    _gauge("agreement_low_ratio", "Lower end of the 95% interval of the agreement, from 0 to 1."),
    _gauge("agreement_high_ratio", "Upper end of the 95% interval of the agreement, from 0 to 1."),
    _gauge(
        "kl_nats",
        "Mean KL divergence of the student from the teacher in the newest judged window, at the configured "
        "temperature and without the factor T squared, in nats.",
    ),
    _gauge("kl_low_nats", "Lower end of the 95% interval of the mean KL divergence, in nats."),
    _gauge("kl_high_nats", "Upper end of the 95% interval of the mean KL divergence, in nats."),
    _gauge(
        "class_agreement_ratio",
        "Agreement on the requests with this label of the teacher in the newest judged window, from 0 to 1.",
        "label",
    ),
    _gauge(
        "class_share_ratio",
        "Share of the requests with this label of the teacher in the newest judged window, from 0 to 1.",
        "label",
    ),
    _gauge(
        "input_drift_ratio",
        "Share of texts that a classifier assigns to the right window, the newest judged one or an earlier "
        "healthy one; 0.5 is chance.",
    ),
    _gauge(
        "label_mix_psi_nats",
        "Population stability index of the teacher's labels, between the newest judged window and an earlier "
        "healthy one, in nats.",
    ),
    _gauge(
        "rule_streak_cycles",
        "Breached evaluated cycles in a row of this rule, as of the newest measured cycle.",
        "rule",
    ),
    _gauge(
        "rule_threshold",
        "Configured threshold of this rule, in the unit of its metric.",
        "rule",
        "metric",
    ),
    _gauge("teacher_healthy", "0 if the newest cycle that checked the teacher found a fault, otherwise 1."),
    _gauge(
        "student_alpha_ratio",
        "Weight of the KL term in the distillation of the student in service, from 0 to 1; a lower alpha "
        "puts more weight on hard labels.",
    ),
    _info("student_info", "The version of the student in service; the value is 1.", "version"),
    _gauge("jobs_open", "Re-distillation jobs that are queued or running.", "status"),
    _gauge("job_enqueued_timestamp_seconds", "Time at which the open job was queued, in seconds since 1970."),
    _gauge(
        "lease_expires_timestamp_seconds",
        "Time at which this lease expires or was released, in seconds since 1970 by the database's clock; a "
        "daemon that works takes the lease named monitor every 10 seconds.",
        "lease",
    ),
    _gauge("incidents_open", "Open incidents of which the on-call was notified.", "kind"),
    _gauge(
        "deliveries_pending",
        "Messages about incidents that wait for this channel to accept them.",
        "channel",
    ),
    _counter(
        "cycles_total",
        "Cycles that have ended with this verdict. A cycle that fails and is retried counts at each end, and "
        "a skipped window counts as inconclusive.",
        "verdict",
    ),
    _counter("jobs_total", "Re-distillation jobs that have ended with this status.", "status"),
    _counter(
        "deliveries_total",
        "Messages about incidents that this channel has accepted (delivered) or that were given up (dead).",
        "channel",
        "state",
    ),
    _counter(
        "records_rejected_total",
        "Records of the request log that could not be used, for this reason.",
        "reason",
    ),
    _histogram(
        "cycle_stage_seconds",
        "Time that this stage of a measured cycle took, in seconds.",
        "stage",
    ),
    _histogram("training_seconds", "Time that the training of a candidate took, in seconds."),
    _histogram(
        "delivery_seconds",
        "Time until this channel answered an attempt to send a message, in seconds.",
        "channel",
    ),
)
METRICS: Final = {each.name: each for each in _DEFINITIONS}
