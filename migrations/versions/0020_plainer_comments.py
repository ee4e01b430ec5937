"""Plainer comments on tables, columns and views; the schema itself stays as it is."""

from alembic import op

revision = "0020"
down_revision = "0019"

#: By name: the comment before this revision, and the comment after it.
TABLES = {
    "cycles": (
        "One row a slot: what was measured and judged",
        "One row per slot: its measurements and its verdict",
    ),
    "leases": ("Who may write for a monitor or a job", "The right to write for a monitor or a job"),
    "promotions": (
        "Which version was the current one, and when",
        "Periods in which a version was the current one",
    ),
    "rule_texts": (
        "The rules that have judged cycles, as they were",
        "Texts of the rules that have judged cycles",
    ),
    "correctness": (
        "Who is right in a cycle, of the requests whose true label is known, the log's and imported ones",
        "Correctness of both models in a cycle, by the true labels of the log and imported ones",
    ),
    "erasures": (
        "Requests taken out of a cycle's archive by `redistill archive erase`; its numbers stay",
        "Requests erased from a cycle's archive by `redistill archive erase`; the cycle's numbers stay",
    ),
    "evidence": (
        "What a cycle's requests say against a level of KL, for sequential rules",
        "Log increments of a cycle's requests on a level of KL, for sequential rules",
    ),
    "input_drift": (
        "How the requests of a cycle differ from those of an earlier, healthy one",
        "Difference between a cycle's requests and those of an earlier, healthy cycle",
    ),
    "jobs": (
        "Orders for a re-distillation: the queue and its history",
        "Re-distillation jobs: the queue and its history",
    ),
    "labels": (
        (
            "True labels of sampled requests that `redistill labels import` brought; those that the "
            "request log had are in the archive"
        ),
        (
            "True labels of sampled requests from `redistill labels import`; those of the request log are "
            "in the archive"
        ),
    ),
    "rejects": (
        "Records of a window that could not be used, by reason",
        "Unusable records of a window, by reason",
    ),
    "rule_outcomes": ("What each rule said at each cycle", "Outcome of each rule at each cycle"),
    "rule_states": (
        "Where each rule stands after the last judged cycle; can be computed from the cycles",
        "State of each rule after the last judged cycle; it can be recomputed from the cycles",
    ),
    "strata": (
        (
            "How a cycle's sample was drawn: agreement is the sum of n_seen * (n - n_disagreements) / n, "
            "divided by that of n_seen"
        ),
        (
            "Strata of a cycle's sample: agreement is the sum of n_seen * (n - n_disagreements) / n, "
            "divided by the sum of n_seen"
        ),
    ),
    "teacher_metrics": (
        "What a cycle says about the teacher by itself",
        "Measurements of the teacher by itself in a cycle",
    ),
    "calibrations": (
        "How sure students should be: the temperatures that were fitted",
        "Temperatures fitted to students, so that their confidence matches their accuracy",
    ),
    "evaluations": (
        "What a job measured on its incumbent and its candidate",
        "Metrics that a job measured on its incumbent and its candidate",
    ),
    "gate_outcomes": (
        "What each gate said of a job's candidate",
        "Result of each gate for a job's candidate",
    ),
    "incidents": ("What the on-call was told", "Problems of which the on-call is notified"),
    "worker_tasks": (
        "The tasks that the daemon has started in ECS, or tried to, each to run a job's worker",
        "ECS tasks that the daemon started, or tried to start, each to run a job's worker",
    ),
    "deliveries": (
        "The outbox: messages written with the decision, sent after it",
        "The outbox: messages are written in the transaction of the decision and sent after it",
    ),
}
COLUMNS = {
    "cycles.verdict_reason": ("Why the verdict is what it is", "Reason for the verdict (see docs/states.md)"),
    "cycles.attempt": (
        "1 for the first try of the slot",
        "Number of the last attempt at the slot, from 1; 0 without an attempt",
    ),
    "cycles.error": (
        "What ended a failed attempt, in one line",
        "Error that ended a failed attempt, in one line",
    ),
    "cycles.agreement_exact": (
        "The same as a fraction of whole numbers",
        "The agreement as a fraction of integers",
    ),
    "cycles.n_recorded": (
        "Scored requests whose student logits the log has",
        "Scored requests whose student logits are in the log",
    ),
    "cycles.n_rescored": ("Of them scored by the student too", "Those of them that the student scored too"),
    "cycles.serving_skew": (
        "Share in [0, 1] to which it gives another label than was served",
        "Share in [0, 1] of requests for which the student's label differs from the one served",
    ),
    "cycles.alpha": (
        (
            "Weight of the KL term with which that student was distilled; lower alpha = more weight on "
            "hard labels; NULL if unknown"
        ),
        (
            "Weight of the KL term in the distillation of that student; a lower alpha puts more weight on "
            "hard labels; NULL if unknown"
        ),
    ),
    "cycles.archive": (
        "Where the sample lies (texts are there, never in SQL)",
        "Location of the archived sample (its texts are never stored in SQL)",
    ),
    "cycles.order_reason": (
        "Why a re-distillation was ordered or not (see docs/states.md); NULL: nothing was decided",
        "Reason for ordering a re-distillation or not (see docs/states.md); NULL without a decision",
    ),
    "cycles.order_detail": (
        "The same in one line, with the numbers",
        "The reason in one line, with the numbers",
    ),
    "leases.name": (
        "What is leased: monitor:NAME, job:ID or erasure:NAME",
        "The lease's name: monitor:NAME, job:ID or erasure:NAME",
    ),
    "leases.token": (
        "Fencing token; grows at each new holder",
        "Fencing token; it grows with each new holder",
    ),
    "leases.expires_at": (
        "UTC, by the database's clock; after it anyone may take the lease",
        "UTC, by the database's clock; after it any process may take the lease",
    ),
    "promotions.reason": (
        "configured, gates_passed, manual or rollback",
        "configured, gates_passed, manual, rollback or not_recovered",
    ),
    "promotions.promoted_at": ("UTC; current from here on", "UTC; when it became the current version"),
    "promotions.retired_at": (
        "UTC; current until here; NULL: it is the current one",
        "UTC; when it was replaced; NULL for the current version",
    ),
    "correctness.n_disagreements": (
        "Of them with different top-1 labels",
        "Those of them with different top-1 labels",
    ),
    "correctness.n_out_of_scope": (
        "Of these whose true label is none of the models' labels; both are wrong about them",
        "Disagreements whose true label is not one of the models' labels; both models are wrong",
    ),
    "correctness.tallies": (
        "JSON: count, weight and squared weight of each outcome, of which all was computed",
        "JSON: count, weight and squared weight of each outcome, from which all shares are computed",
    ),
    "erasures.sha256_after": (
        "SHA-256 of its archive's bytes now",
        "SHA-256 of the archive's bytes after the erasure",
    ),
    "erasures.sha256_before": (
        "SHA-256 of its bytes before",
        "SHA-256 of the archive's bytes before the erasure",
    ),
    "erasures.n": ("Requests that were taken out", "Number of erased requests"),
    "erasures.begun_at": ("UTC; when it was asked for", "UTC; when the erasure began"),
    "erasures.finished_at": (
        "UTC; when the new file was in its place",
        "UTC; when the new file was in place; NULL while unfinished",
    ),
    "evidence.gains": (
        "JSON: the log of what each bet on it has gained",
        "JSON: the log increment of each bet at this cycle",
    ),
    "input_drift.accuracy": (
        "Share in [0, 1] of texts that a classifier gives to the right one of the two; 0.5: chance",
        "Share in [0, 1] of texts that a classifier assigns to the right cycle; 0.5 is chance",
    ),
    "input_drift.p_value": (
        "How often as much comes of chance, in (0, 1]",
        "Probability of at least this accuracy by chance, in (0, 1]",
    ),
    "jobs.reason": ("Why, in one line, with the numbers", "Reason for the job in one line, with the numbers"),
    "jobs.attempt": ("How often a worker has taken it", "Number of attempts by workers"),
    "jobs.error": (
        "What ended the last failed attempt, in one line",
        "Error that ended the last failed attempt, in one line",
    ),
    "jobs.announced_at": (
        "UTC; when workers were called to it; NULL: not since it was queued or last taken",
        "UTC; when workers were notified of it; NULL if not since it was queued or last claimed",
    ),
    "jobs.decision_reason": (
        "Why, in one line, with the numbers",
        "Reason for the decision in one line, with the numbers",
    ),
    "jobs.evidence": (
        "JSON: what true labels said when it was ordered; NULL: there were none",
        "JSON: the evidence from true labels when it was ordered; NULL without labels",
    ),
    "jobs.recovery": (
        "recovered or not_recovered: what the watch found once its candidate served; NULL so far",
        "recovered or not_recovered, as measured once its candidate served; NULL until then",
    ),
    "labels.label": (
        "The true label; NULL: it is none of the models' labels",
        "The true label; NULL if it is not one of the models' labels",
    ),
    "labels.weight": (
        "How much it counts in the cycle, 1 in the mean",
        "Weight of the request in the cycle; 1 on average",
    ),
    "labels.imported_at": ("UTC; when that label came", "UTC; when that label was imported"),
    "objects.version": (
        "Its ETag: with other contents it has another",
        "The object's ETag, which changes with its contents",
    ),
    "rejects.reason": ("Why the records could not be used", "Reason for the rejection (see docs/states.md)"),
    "rejects.n": ("How many records", "Number of records"),
    "rule_outcomes.streak": (
        "Breached evaluated cycles in a row to here",
        "Consecutive breached evaluated cycles up to this one",
    ),
    "rule_outcomes.reason": ("Why it fired or did not", "Reason for the outcome (see docs/states.md)"),
    "rule_outcomes.statistic": (
        "Of a sequential rule: the log of its evidence; NULL otherwise",
        "Log of the mean wealth of a sequential rule's bets; NULL for other rules",
    ),
    "rule_states.cycle_id": ("The cycle after which it is so", "The cycle after which this is the state"),
    "rule_states.state": (
        "JSON: streak, evidence and what else the rule looks back at",
        "JSON: streak, log wealth and what else the rule depends on",
    ),
    "strata.student_label": (
        "The label that the log recorded; empty: none, or the sample is uniform",
        "The label recorded in the log; empty if none was recorded or the sample is uniform",
    ),
    "strata.n": ("Of them in the sample", "Those of them in the sample"),
    "strata.n_disagreements": (
        "Of those with different top-1 labels",
        "Sampled requests with different top-1 labels",
    ),
    "teacher_metrics.n_effective": (
        "Size of a uniform sample as sure of a share",
        "Size of a uniform sample with the same precision of a share",
    ),
    "teacher_metrics.label_gap": (
        "Jensen-Shannon divergence of its mix of labels from the student's, nats",
        "Jensen-Shannon divergence of the teacher's mix of labels from the student's, nats",
    ),
    "teacher_metrics.accuracy": (
        "Share right of the window's traffic, by true labels; NULL without",
        "Share in [0, 1] of the window's traffic that is right by true labels; NULL without labels",
    ),
    "teacher_metrics.label_shift": (
        "Jensen-Shannon divergence of its mix of labels from its reference's, nats; NULL without one",
        (
            "Jensen-Shannon divergence of the teacher's mix of labels from its reference's, nats; NULL "
            "without a reference"
        ),
    ),
    "teacher_metrics.familiar_shift": (
        "label_shift among those labels, nats; NULL without such requests",
        "label_shift of those labels, nats; NULL if no request has one of them",
    ),
    "teacher_metrics.reason": ("Why the health is what it is", "Reason for the health (see docs/states.md)"),
    "teacher_metrics.detail": (
        "The same in one line, with the numbers",
        "The reason in one line, with the numbers",
    ),
    "calibrations.id": (
        "A row number; a version's newest row has its temperature",
        "A row number; a version's newest row holds its temperature",
    ),
    "calibrations.temperature": (
        "By what its logits are divided for it to be as sure as it is right; in [0.05, 20]",
        "Divisor of the logits that makes confidence match accuracy; in [0.05, 20]",
    ),
    "calibrations.n": (
        "Labelled rows that it was fitted on, and the rest is of",
        "Labelled rows on which it was fitted and the errors were measured",
    ),
    "calibrations.sha256": ("Of that file", "SHA-256 of that file"),
    "calibrations.nll_after": (
        "The same at that temperature",
        "Mean -ln p(true label) at the fitted temperature, nats",
    ),
    "calibrations.ece_after": (
        "The same at that temperature",
        "Expected calibration error at the fitted temperature, in [0, 1]",
    ),
    "calibrations.ece_debiased_before": (
        "Its debiased estimate at T = 1",
        "Debiased estimate of the expected calibration error at T = 1",
    ),
    "calibrations.ece_debiased_after": (
        "The same at that temperature",
        "Debiased estimate of the expected calibration error at the fitted temperature",
    ),
    "calibrations.job_id": (
        "The job whose candidate it is, if that is why",
        "The job whose candidate it is, if a job calibrated it",
    ),
    "evaluations.job_id": ("The job that asked", "The job that ran the evaluation"),
    "evaluations.spread": (
        "How far apart a bound lies by different seeds; 0 if none is drawn",
        "Range of a bound over seeds; 0 if no seed is used",
    ),
    "gate_outcomes.metric": (
        "The metric in evaluations that the gate judged; NULL: that of the gate's name",
        "The metric in evaluations that the gate checked; NULL: the metric of the gate's name",
    ),
    "gate_outcomes.detail": (
        "How the value was measured, where that matters",
        "How the value was measured, if relevant",
    ),
    "incidents.kind": (
        "What it is about, such as drift or blind",
        "Kind of the problem, such as drift or blind (see docs/states.md)",
    ),
    "incidents.summary": (
        "What is wrong, in one line, with the numbers",
        "The problem in one line, with the numbers",
    ),
    "incidents.acknowledged_at": (
        "UTC; when a person took it; NULL so far",
        "UTC; when a person acknowledged it; NULL until then",
    ),
    "incidents.since": (
        "UTC; since when what it is about is so; NULL: since opened_at",
        "UTC; start of the problem; NULL: opened_at",
    ),
    "incidents.clearing_since": (
        "UTC; since when what it is about is over, while it keeps firing; NULL: it is not",
        "UTC; end of the problem while the incident still fires; NULL until then",
    ),
    "incidents.acknowledged_by": (
        "The person who took it, as they call themselves",
        "The person who acknowledged it, by the name that they gave",
    ),
    "worker_tasks.job_id": ("The job that wants a worker", "The job for which a worker is started"),
    "worker_tasks.token": (
        "With it ECS starts one task, however often it is asked (clientToken of RunTask)",
        "Client token of RunTask: ECS starts one task per token, however often it is called",
    ),
    "worker_tasks.turn": (
        "The fencing token of the job's lease then; once that is higher a worker has had the job",
        "Fencing token of the job's lease at the request; once it grows, a worker has had the job",
    ),
    "worker_tasks.arn": (
        "What ECS calls it; NULL: it did not say",
        "The task's ARN; NULL if ECS has not reported it",
    ),
    "worker_tasks.cluster": (
        "The cluster that it runs in, as ECS calls it",
        "The cluster in which it runs, as reported by ECS",
    ),
    "worker_tasks.last_status": (
        "What ECS last said of it: PROVISIONING, PENDING, RUNNING, ...",
        "Last status reported by ECS: PROVISIONING, PENDING, RUNNING, ...",
    ),
    "worker_tasks.asked_at": ("UTC; when ECS was asked for it", "UTC; when ECS was asked to start it"),
    "worker_tasks.started_at": ("UTC; when ECS took it on", "UTC; when ECS accepted it"),
    "worker_tasks.looked_at": (
        "UTC; when ECS was last asked how it does",
        "UTC; when its status was last requested from ECS",
    ),
    "worker_tasks.ended_at": (
        "UTC; from here on nothing is expected of it",
        "UTC; when the daemon stopped expecting anything of it",
    ),
    "worker_tasks.reason": ("Why it ended (see docs/states.md)", "Reason for its end (see docs/states.md)"),
    "worker_tasks.detail": (
        "The same in the words of ECS, in one line",
        "The reason as reported by ECS, in one line",
    ),
    "deliveries.attempts": ("How often it was sent", "Number of attempts to send it"),
    "deliveries.next_attempt_at": ("UTC; not sent before", "UTC; it is not sent before"),
    "deliveries.last_error": ("What the last failed attempt met", "Error of the last failed attempt"),
    "deliveries.severity": ("The incident's at that event", "The incident's severity at that event"),
    "deliveries.receipt": (
        "What the channel calls the message, where later ones can answer it",
        "The channel's identifier of the message, to which later messages can reply",
    ),
}
VIEWS = {
    "cycle_history": (
        "One row a cycle: its evidence, verdict and models; kl and js in nats, seconds is its run time",
        "One row per cycle: its measurements, verdict and models; kl and js in nats, seconds is its run time",
    ),
    "rule_history": (
        "What each rule said at each cycle, and why",
        "Outcome of each rule at each cycle, with its reason",
    ),
    "job_history": (
        "One row a re-distillation job; promoted_at is its candidate's latest promotion",
        "One row per re-distillation job; promoted_at is its candidate's latest promotion",
    ),
    "worker_task_history": (
        "One row a task that the daemon has started in ECS, or tried to, for the worker of a job",
        "One row per ECS task that the daemon started, or tried to start, for the worker of a job",
    ),
    "incident_history": (
        "One row an incident, with how many of its messages were delivered, wait or are dead",
        "One row per incident, with the numbers of its messages that are delivered, pending or dead",
    ),
    "model_history": (
        (
            "One row a model version and role: its scores on the labelled test set in the newest job that "
            "measured it (kl in nats), and the start and end of its latest time as the current version"
        ),
        (
            "One row per model version and role: its scores on the labelled test set in the newest job "
            "that measured it (kl in nats), and the start and end of its latest time as the current "
            "version"
        ),
    ),
    "calibration_history": (
        "How sure students should be; one row a calibration, of which a version's newest one holds",
        "Temperatures fitted to students; one row per calibration, of which a version's newest is in force",
    ),
    "strata_history": (
        "How each cycle's sample was drawn; weight is what a request counts, 1 in the mean",
        "Strata of each cycle's sample; weight is that of one request, 1 on average",
    ),
    "serving_history": (
        "Whether what is served is what the student answers; one row a cycle that used recorded answers",
        "Comparison of the served answers with the student's; one row per cycle that used recorded answers",
    ),
    "correctness_history": (
        "Who is right in each cycle whose sample has true labels",
        "Correctness of both models in each cycle whose sample has true labels",
    ),
    "teacher_history": (
        "The health of the teacher, one row a cycle in which something was scored",
        "Health of the teacher; one row per cycle in which requests were scored",
    ),
    "input_history": (
        "How what users write has moved since an earlier, healthy cycle; one row a cycle that has one",
        "Drift of the requests since an earlier, healthy cycle; one row per cycle that has such a reference",
    ),
    "reject_history": (
        "Records of each cycle's window that could not be used, by reason",
        "Unusable records of each cycle's window, by reason",
    ),
}


def upgrade() -> None:
    for kind, comments in _kinds():
        for name, (_, after) in comments.items():
            _comment(kind, name, after)


def downgrade() -> None:
    for kind, comments in _kinds():
        for name, (before, _) in comments.items():
            _comment(kind, name, before)


def _kinds() -> tuple[tuple[str, dict[str, tuple[str, str]]], ...]:
    return ("TABLE", TABLES), ("COLUMN", COLUMNS), ("VIEW", VIEWS)


def _comment(kind: str, name: str, comment: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        quoted = comment.replace("'", "''")
        op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")
