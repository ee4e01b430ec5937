"""The redistill.toml that `redistill init` writes: the keys that people set, each with its meaning."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.training.fields import TEXT_AND_LABEL, LabelledFields
from monitor.setting_values import Format
from monitor.sources.fields import FieldNames
from redistill.configuration.variables import escaped
from triggers.rule_sets import RuleSet

_TEMPLATE = """\
# The configuration of redistill. `redistill doctor` checks it. Durations are written "10m", "1h30m" or "7d".
# An environment variable overrides a key: REDISTILL__MONITOR__EVERY=1h

[monitor]
name = {name}  # of this monitor, in SQL, logs and notifications
every = {every}  # length of the window that one cycle samples; or cron: see docs/configuration.md
lateness = "10m"  # time from the end of a window until it is read
catch_up = "24h"  # missed windows that are older than this are skipped
sample_size = 10000  # maximum number of requests of a window that both models score
label_floor = 150  # minimum of each recorded student label in a sample; 0: a uniform sample
min_samples = 1000  # minimum number of scored requests for a verdict
max_window = "24h"  # a window with fewer requests is judged with the next ones, up to this length
{rule_set}\
archive = "archive"  # folder or "s3://bucket/prefix" of the samples, on which candidates are trained
archive_days = 30  # days for which samples are kept
# redact_patterns = ['CUST-\\d+']  # redacted in the archive, like e-mail addresses and long numbers

[traffic]  # the request log; for kind = "s3" and kind = "sql" see docs/traffic.md
uri = {traffic}{traffic_note}
{format}{fields}key = "redistill"  # key of the hash that draws the sample; do not change it

[teacher]  # a cycle in which the teacher exceeds one of these bounds has no verdict
uri = {teacher}{teacher_note}
reference_cycles = 3  # number of a teacher's first cycles that are the reference for its later ones
min_accuracy = 0.8  # minimum accuracy by true labels, where there are any
confidence_fall = 0.08  # maximum fall of its mean confidence, in [0, 1]
entropy_rise = 0.25  # maximum rise of its mean entropy, in nats
label_shift = 0.3  # maximum shift of its label mix, Jensen-Shannon divergence in nats
label_gap = 0.05  # maximum shift of familiar labels that the student's answers do not share
# accept = "0123456789ab"  # a new teacher version that you vouch for: not compared with the one before it

[student]
uri = {student}{student_note}
# scores = "recorded"  # use the logits in the log instead of running the student; see docs/traffic.md

[metrics]
temperature = 3.0  # softmax temperature of the KL divergence
# input_sample = 1000  # number of texts compared with an earlier, healthy window; 0 turns this off
{rare}

{rules}# [[rules]]
# name = "slow-drift"
# metric = "agreement"
# below = 0.95
# mode = "sequential"        # all cycles together; "interval": the cycle's interval; "point": its estimate
# false_alarm_rate = 0.05    # maximum of false alarms in 1,000 cycles, for "sequential"
# action = "alert"           # `redistill replay` shows what a rule would have done, and its error rates

[redistill]
train = {train}{train_note}
test = {test}{test_note}
{validation}registry = "registry"  # folder of model versions; registry/current is the student in service
keep_versions = 20  # newest versions whose files stay there, besides those that are needed; or "all"
alpha = 0.7  # initial weight of the KL term (the teacher) in the loss
alpha_step = 0.1  # by which each job lowers alpha
alpha_floor = 0.1  # minimum of alpha
alpha_policy = "lower"  # "evidence": only where true labels show that a lower alpha helps; "keep": never
alpha_reset = "recovery"  # the next drift begins at alpha again; "never": each job lowers it further
cooldown = "6h"  # time after the end of a job in which no job is ordered
watch_cycles = 3  # cycles within which a promoted student must end the drift
rollback = "off"  # "auto": the previous student serves again if the promoted one does not end the drift
epochs = {epochs}  # enough for at least 600 steps at batch_size = 64 on labelled and archived rows
promote = "auto"  # "manual": a candidate waits for `redistill models promote`; "shadow": see the next line
shadow_cycles = 3  # evaluated cycles in which a candidate in shadow is compared with the student in service

# Thresholds for a candidate on the test set; a tie passes. A gate rejects a candidate only if its whole 95%
# interval is on the wrong side and, where the student in service misses the gate, too, it is worse than that.
# `redistill doctor` lists such gates.
[gates]
accuracy = 0.905  # at least
rare_class_accuracy = 0.870  # at least, of the rare_labels
ece = 0.050  # expected calibration error, at most
ece_of = "calibrated"  # at the candidate's calibration temperature; "raw": at T = 1; see docs/metrics.md
latency_p95_ms = 5.0  # at most, on the worker's machine; or "off"
agreement = 0.95  # with the teacher, at least
margin = 0.01  # largest loss of accuracy against the student in service, on the same rows; or "off"
# max_churn = 0.05  # share of the test rows whose label changes from the student in service, at most
# max_negative_flips = 0.02  # share of the test rows that become wrong, at most
on_inconclusive = "pass"  # where the test set does not decide; "hold": the candidate waits for a person

[calibration]  # of the confidences of the student in service; see docs/metrics.md
on = "auto"  # traffic with true labels, else with a healthy teacher, else the labelled file; or one of these
every = "31d"  # maximum age of the rows that its temperature is fitted to; or "off"

[database]
url = "sqlite:///redistill.db"  # or "postgresql://user@host/name?sslmode=verify-full"; see docs/database.md
# password_file = "/run/secrets/redistill"  # read for each connection; or password_secret, or auth = "iam"
keep = "3y"  # older cycles and incidents are deleted; or "all"; see docs/database.md

# [queue]                    # notifies workers of a job; without this section they poll the database
# kind = "sqs"
# url = "https://sqs.eu-west-1.amazonaws.com/123456789012/redistill.fifo"  # see docs/queue.md

# [ecs]                      # starts a worker for each job as a task in Amazon ECS; see docs/queue.md
# cluster = "redistill"
# task_definition = "redistill-worker"    # its container runs `redistill worker --once`
# subnets = ["subnet-0123456789abcdef0"]  # on Fargate
# security_groups = ["sg-0123456789abcdef0"]
# launch_type = "FARGATE"                 # or capacity_provider = "FARGATE_SPOT"

# [economics]                            # for `redistill economics`; see docs/economics.md
# requests_per_month = 1400000
# cost_per_10k_teacher = 0.038           # of inference, per 10,000 requests, in your currency
# cost_per_10k_student = 0.016
# harm_cost = 0.013                      # of one more misroute

[[alerts]]
kind = "log"
name = "log"

# [[alerts]]                             # see docs/alerts.md; `redistill alerts test` tests each channel
# kind = "pagerduty"
# routing_key = "$PAGERDUTY_ROUTING_KEY" # value of that environment variable
# severities = ["error", "critical"]     # of info, warning, error, critical; default: all
# except_kinds = ["input-drift"]         # all kinds except these; kinds = ["drift", "blind"]: only these

# [[alerts]]
# kind = "slack"
# url = "$SLACK_WEBHOOK_URL"             # or token = "$SLACK_TOKEN" and channel: one thread per incident

# [[alerts]]
# kind = "sns"
# topic = "arn:aws:sns:eu-west-1:123456789012:redistill"

# [[alerts]]
# kind = "webhook"
# url = "https://example.org/hook"
# secret = "$REDISTILL_WEBHOOK_SECRET"   # signs each request

# [incidents]
# keep_firing_for = "2h"                 # an incident resolves after it has been clear for this long
# runbook = "https://wiki.example.org/redistill/runbook"  # your copy of docs/runbook.md, for links

[web]  # address of the health probes and of /metrics; see docs/metrics-endpoint.md
host = "127.0.0.1"
port = 8080
# token = "$REDISTILL_WEB_TOKEN"         # everything but the probes asks for it
# by_label = false                       # /metrics without the series of each label
# emf = true                             # a line of CloudWatch's metric format for each cycle
"""
_LITERAL_RULES = """\
[[rules]]  # agreement below 0.95 in 3 cycles in a row orders a re-distillation; see docs/rules.md
name = "low-agreement"
metric = "agreement"
below = 0.95
for_cycles = 3
action = "redistill"  # or "alert"
severity = "error"

[[rules]]  # a mean KL above 0.15 nats in one cycle orders a re-distillation
name = "high-kl"
metric = "kl"
above = 0.15
for_cycles = 1
action = "redistill"
severity = "error"

"""
_NAMED_RULES = """\
# The rules are those of rule_set in [monitor]; see docs/rules.md. Remove it to write [[rules]] instead.

"""
_NOTE = "  # not found: set the path"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The values to fill in; None for those that were not found."""

    folder: Path  #: of the file; paths below it are written relative to it
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
    labelled_fields: LabelledFields
    rare_labels: Sequence[str]
    epochs: int
    rule_set: RuleSet = "literal"


def render(answers: Answers) -> str:
    """Return the text of the file; a path that was not found has a conventional value and a note."""
    conventional = {
        "traffic": "logs",
        "teacher": "models/teacher",
        "student": "models/student",
        "train": "data/train.jsonl",
        "test": "data/test.jsonl",
    }
    paths: dict[str, str] = {}
    for key, default in conventional.items():
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
        rules=_LITERAL_RULES if answers.rule_set == "literal" else _NAMED_RULES,
        rule_set=_rule_set(answers.rule_set),
        epochs=answers.epochs,
        validation=_validation(answers) + _labelled_fields(answers.labelled_fields),
    )
    return "".join(map(_aligned, text.splitlines(keepends=True)))


def _aligned(line: str) -> str:
    """Pad a line so that the comments after values form a column."""
    value, mark, comment = line.partition("  # ")
    return f"{value.rstrip():<26} # {comment.lstrip()}" if mark and not line.startswith("#") else line


def _fields(names: FieldNames | None) -> str:
    """Return the field names that differ from the defaults, and that of the true label, one per line."""
    if names is None:
        return ""
    pairs = ((key, getattr(names, key)) for key in ("id", "time", "text", "student_label", "student_logits"))
    lines = [f"{key} = {_quoted(name)}\n" for key, name in pairs if name not in {None, key}]
    if names.label is not None:
        lines.append(f"label = {_quoted(names.label)}  # true label, given by people; not the student's\n")
    return "".join(lines)


def _rule_set(name: RuleSet) -> str:
    """Return the line for a set of rules; the literal ones are written out."""
    if name == "literal":
        return ""
    return f"rule_set = {_quoted(name)}  # jobs are ordered only where low agreement lasts\n"


def _rare(labels: Sequence[str]) -> str:
    listed = ", ".join(map(_quoted, labels or ["escalation"]))
    origin = "the rarest in the training data" if labels else "for example"
    return f"""# rare_labels = [{listed}]  # {origin}; their accuracy has a gate of its own
# [[metrics.misroutes]]      # the cost of predicting one label instead of another
# true = {_quoted((labels or ["escalation"])[0])}
# predicted = "*"            # any other label
# cost = 20                  # of one such request; misroute_cost = 1.0 is that of all others
# critical = true            # counted in critical_misroutes"""


def _validation(answers: Answers) -> str:
    if answers.validation is None:
        return ""
    return f"validation = {_quoted(_relative(answers.validation, answers.folder))}\n"


def _labelled_fields(names: LabelledFields) -> str:
    """Return the names of the fields of the labelled files that differ from the defaults, one per line."""
    pairs = (
        ("text_field", names.text, TEXT_AND_LABEL.text),
        ("label_field", names.label, TEXT_AND_LABEL.label),
    )
    return "".join(f"{key} = {_quoted(name)}\n" for key, name, default in pairs if name != default)


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _quoted(text: str) -> str:
    """Return a TOML basic string; a JSON string is one."""
    return json.dumps(escaped(text), ensure_ascii=False)
