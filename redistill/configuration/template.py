"""The redistill.toml that `redistill init` writes: the keys that people set, with what they mean."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.settings import Format
from monitor.sources.fields import FieldNames

_TEMPLATE = """\
# What redistill watches, and what it does about it. `redistill doctor` checks this file.
# Every key can also be set in the environment: REDISTILL__MONITOR__EVERY=1h

[monitor]
name = {name}  # in SQL, logs and messages
every = {every}  # a cycle looks at the traffic of so long a window
lateness = "10m"  # how long after its end a window's traffic may still arrive
catch_up = "24h"  # a window that was missed longer ago is skipped
sample_size = 10000  # requests of a window that both models score
label_floor = 150  # at least so many of each label that the log records; 0: a uniform sample
min_samples = 1000  # with fewer there is no verdict
archive = "archive"  # or "s3://bucket/prefix": where the samples lie, on which a candidate is trained
archive_days = 30
# redact_patterns = ['CUST-\\d+']  # beside e-mail addresses and long numbers, kept out of the archive

[traffic]  # kind = "s3" and kind = "sql" are other places: see docs/traffic.md
uri = {traffic}{traffic_note}
{format}{fields}key = "redistill"  # of the hash that draws the sample; keep it

[teacher]
uri = {teacher}{teacher_note}
reference_cycles = 3  # what it is held to: its own first ones; beyond the bounds nothing is judged
min_accuracy = 0.8  # by true labels, where there are some
confidence_fall = 0.08  # of its mean confidence, in [0, 1]
entropy_rise = 0.25  # of its mean entropy, in nats
label_shift = 0.3  # of its mix of labels from the reference, in nats of Jensen-Shannon
label_gap = 0.05  # the same, of the labels that the student knows, where its answers did not move along
# accept = "0123456789ab"  # a new version, vouched for, that is not held to the one before it

[student]
uri = {student}{student_note}
# scores = "recorded"  # take its answers from the log, where that has the logits; see docs/traffic.md

[metrics]
temperature = 3.0  # of the softmax in the KL divergence
# input_sample = 1000  # texts that are compared with an earlier, healthy window; 0: none
{rare}

[[rules]]  # agreement below 0.95 in three cycles in a row orders a re-distillation; see docs/rules.md
name = "low-agreement"
metric = "agreement"
below = 0.95
for_cycles = 3
action = "redistill"  # or "alert"
severity = "error"

[[rules]]  # a mean KL above 0.15 nats orders one at once
name = "high-kl"
metric = "kl"
above = 0.15
for_cycles = 1
action = "redistill"
severity = "error"

# [[rules]]
# name = "evidence"
# metric = "agreement"
# below = 0.95
# mode = "sequential"        # the evidence of all cycles; "interval": all of a cycle's; "point": its estimate
# false_alarm_rate = 0.05    # in 1,000 cycles, for "sequential"
# action = "alert"           # `redistill replay` says what a rule would have done, and how often it errs

[redistill]
train = {train}{train_note}
test = {test}{test_note}
{validation}registry = "registry"  # of candidates; registry/current leads to the one that serves
alpha = 0.7  # weight of the teacher (KL) in the loss; each job lowers it
alpha_step = 0.1
alpha_floor = 0.1
cooldown = "6h"  # between two jobs
watch_cycles = 3  # in so many cycles a promoted student must end the drift, or its job was an attempt in vain
rollback = "off"  # or "auto": then the student before it serves again
epochs = {epochs}  # for at least 600 steps of batch_size = 64 rows, labelled and archived
promote = "auto"  # or "manual": `redistill models promote` is then up to you
calibrate_every = "31d"  # how old the student's temperature may get, for its confidences; or "off"

# What a candidate must reach on the test set; a tie passes. A gate that the serving student does not meet
# either, and that the candidate makes no worse, rejects nobody. `redistill doctor` says which those are.
[gates]
accuracy = 0.905
rare_class_accuracy = 0.870
ece = 0.050
ece_of = "calibrated"  # at the model's own temperature (see docs/metrics.md), or "raw": at T = 1
latency_p95_ms = 5.0  # on the worker's machine, at most; or "off"
agreement = 0.95

[database]
url = "sqlite:///redistill.db"  # or "postgresql://user@host/name"

# [queue]                    # how workers hear of a job; they look into the database without it
# kind = "sqs"
# url = "https://sqs.eu-west-1.amazonaws.com/123456789012/redistill.fifo"  # see docs/queue.md

# [ecs]                      # starts a worker for each job, as a task in Amazon ECS; see docs/queue.md
# cluster = "redistill"
# task_definition = "redistill-worker"    # whose container runs `redistill worker --once`
# subnets = ["subnet-0123456789abcdef0"]  # on Fargate
# security_groups = ["sg-0123456789abcdef0"]
# launch_type = "FARGATE"                 # or capacity_provider = "FARGATE_SPOT"

[[alerts]]
kind = "log"
name = "log"

# [[alerts]]                             # see docs/alerts.md; `redistill alerts test` tries each
# kind = "pagerduty"
# routing_key = "$PAGERDUTY_ROUTING_KEY" # taken from the environment
# severities = ["error", "critical"]     # of info, warning, error, critical; all without it
# except_kinds = ["input-drift"]         # or kinds = ["drift", "blind"]: only these

# [[alerts]]
# kind = "slack"
# url = "$SLACK_WEBHOOK_URL"             # or token = "$SLACK_TOKEN" and channel: a thread for each incident

# [[alerts]]
# kind = "sns"
# topic = "arn:aws:sns:eu-west-1:123456789012:redistill"

# [[alerts]]
# kind = "webhook"
# url = "https://example.org/hook"
# secret = "$REDISTILL_WEBHOOK_SECRET"   # signs what is sent

# [incidents]
# keep_firing_for = "2h"                 # what flaps is one incident: it must have been over for so long
# runbook = "https://wiki.example.org/redistill/runbook"  # where docs/runbook.md lies; messages lead to it

[web]
host = "127.0.0.1"
port = 8080
"""
_NOTE = "  # not found; name it here"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the configuration is filled in with; None is what was not found."""

    folder: Path  #: of the file: what lies in it is named relative to it
    name: str
    every: str
    traffic: Path | None
    format: Format
    fields: FieldNames | None
    teacher: Path | None
    student: Path | None
    train: Path | None
    validation: Path | None
    test: Path | None
    rare_labels: Sequence[str]
    epochs: int


def render(answers: Answers) -> str:
    """The text of the file; what was not found has a usual name in its place, and a note."""
    usual = {
        "traffic": "logs",
        "teacher": "models/teacher",
        "student": "models/student",
        "train": "data/train.jsonl",
        "test": "data/test.jsonl",
    }
    paths: dict[str, str] = {}
    for key, default in usual.items():
        found: Path | None = getattr(answers, key)
        paths[key] = _quoted(default if found is None else _relative(found, answers.folder))
        paths[f"{key}_note"] = _NOTE if found is None else ""
    text = _TEMPLATE.format(
        **paths,
        name=_quoted(answers.name),
        every=_quoted(answers.every),
        format="" if answers.format == "jsonl" else f"format = {_quoted(answers.format)}\n",
        fields=_fields(answers.fields),
        rare=_rare(answers.rare_labels),
        epochs=answers.epochs,
        validation=_validation(answers),
    )
    return "".join(map(_aligned, text.splitlines(keepends=True)))


def _aligned(line: str) -> str:
    """Comments behind values stand below each other."""
    value, mark, comment = line.partition("  # ")
    return f"{value.rstrip():<26} # {comment.lstrip()}" if mark and not line.startswith("#") else line


def _fields(names: FieldNames | None) -> str:
    """The names that differ from the usual ones, and that of the true label, a line each."""
    if names is None:
        return ""
    pairs = ((key, getattr(names, key)) for key in ("id", "time", "text", "student_label", "student_logits"))
    lines = [f"{key} = {_quoted(name)}\n" for key, name in pairs if name not in {None, key}]
    if names.label is not None:
        lines.append(
            f"label = {_quoted(names.label)}  # what is true, where people said so; not the student's\n"
        )
    return "".join(lines)


def _rare(labels: Sequence[str]) -> str:
    listed = ", ".join(map(_quoted, labels or ["escalation"]))
    origin = "the rarest in the training data" if labels else "for example"
    return f"""# rare_labels = [{listed}]  # {origin}: labels that get a gate of their own
# [[metrics.misroutes]]      # what it means to take one label for another
# true = {_quoted((labels or ["escalation"])[0])}
# predicted = "*"            # whichever other label
# cost = 20                  # of one such request; of all others misroute_cost = 1.0
# critical = true            # counted in critical_misroutes"""


def _validation(answers: Answers) -> str:
    if answers.validation is None:
        return ""
    return f"validation = {_quoted(_relative(answers.validation, answers.folder))}\n"


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _quoted(text: str) -> str:
    """A basic TOML string; JSON's is one."""
    return json.dumps(text, ensure_ascii=False)
