"""The configuration of decisions and their effects, and the base class of all sections."""

import hashlib
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from db.errors import quoted
from db.states import Severity
from triggers.values import Duration, Name, refuse_bools


class Section(BaseModel):
    """A section of the configuration: frozen, all numbers are finite, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, given: object) -> object:
        refuse_bools(given, cls.model_fields)
        return given


#: An alpha or an alpha step, in [0, 1] with at most three decimals.
Alpha = Annotated[Decimal, Field(ge=0, le=1, decimal_places=3)]

#: A softmax temperature.
Temperature = Annotated[float, Field(ge=0.01, le=1_000)]

#: The metrics that a rule can watch; `class_agreement:LABEL` and `class_kl:LABEL` name one of the labels.
METRICS = ("agreement", "kl", "kl_t1", "js", "serving_skew", "input_drift", "class_agreement", "class_kl")
#: The metrics that do not measure the student by themselves, and why.
NOT_OF_STUDENT = {
    "serving_skew": "another student does not fix what is served",
    "input_drift": "new requests are not necessarily hard for the student",
}
_URL = r"^https?://[^/?#]"
_DIVERGENCES = frozenset({"kl", "kl_t1", "js", "class_kl"})
_SHARES = frozenset({"agreement", "serving_skew", "input_drift", "class_agreement"})
_WITH_INTERVAL = frozenset({"agreement", "kl", "serving_skew", "class_agreement"})
#: The metrics of sequential rules, with the side on which evidence accumulates.
_SEQUENTIAL = {"agreement": "below", "kl": "above"}


class Condition(Section):
    """A metric on the wrong side of a threshold for `for_cycles` of the last `of_cycles` evaluated cycles."""

    metric: str | None = None
    below: Annotated[Decimal, Field(ge=0)] | None = None
    above: Annotated[Decimal, Field(ge=0)] | None = None
    clear: Annotated[Decimal, Field(ge=0)] | None = None  #: a condition that holds ends at this value
    for_cycles: Annotated[int, Field(ge=1)] = 1
    of_cycles: Annotated[int, Field(ge=1)] | None = None  #: None: `for_cycles`, all in a row
    mode: Literal["point", "interval", "sequential"] = "point"
    false_alarm_rate: Annotated[float, Field(gt=0, le=500)] = 0.05  #: per 1,000 cycles; sequential only

    @property
    def threshold(self) -> Decimal:
        """The threshold, in the metric's unit."""
        return self.below if self.below is not None else self.above or Decimal(0)

    @property
    def side(self) -> str:
        """The side of the threshold on which the metric is wrong."""
        return "below" if self.below is not None else "above"

    @property
    def cleared_at(self) -> Decimal:
        """The value at which a condition that holds ends."""
        return self.threshold if self.clear is None else self.clear

    @property
    def window(self) -> int:
        """The number of evaluated cycles of which `for_cycles` must be breached."""
        return self.of_cycles or self.for_cycles

    @property
    def alarm_threshold(self) -> float:
        """The wealth at which a sequential condition holds: the mean number of cycles to a false alarm."""
        return 1_000 / self.false_alarm_rate

    def check(self, name: str) -> None:
        """Raise ValueError with the rule's name if the keys contradict each other."""
        kind, _, label = (self.metric or "").partition(":")
        if kind not in METRICS or (kind.startswith("class_") != bool(label)):
            known = ", ".join(each if not each.startswith("class_") else f"{each}:LABEL" for each in METRICS)
            raise ValueError(f"rule {name}: 'metric' must be one of {known}, not {quoted(self.metric)}")
        if (self.below is None) == (self.above is None):
            raise ValueError(f"rule {name} needs exactly one of 'below' and 'above'")
        if kind in _SHARES and max(self.threshold, self.cleared_at) > 1:
            bound = max(self.threshold, self.cleared_at)
            raise ValueError(f"rule {name}: {bound} is not a share: set it in [0, 1]")
        if kind == "input_drift" and self.below is not None:
            raise ValueError(f"rule {name}: input_drift is 0.5 where nothing is new: set 'above'")
        if self.clear is not None and (
            self.clear < self.threshold if self.below is not None else self.clear > self.threshold
        ):
            allowed = f"{self.threshold} or {'more' if self.below is not None else 'less'}"
            raise ValueError(f"rule {name}: 'clear' {self.clear} is on the wrong side: set it to {allowed}")
        if self.window < self.for_cycles:
            raise ValueError(
                f"rule {name}: 'of_cycles' {self.window} is less than 'for_cycles' {self.for_cycles}: "
                "raise it or leave it out"
            )
        if self.mode == "interval" and kind not in _WITH_INTERVAL:
            raise ValueError(f"rule {name}: {kind} has no interval: set mode = 'point'")
        if self.mode == "sequential":
            self._check_sequential(name, kind)

    def _check_sequential(self, name: str, kind: str) -> None:
        if _SEQUENTIAL.get(kind) != self.side:
            raise ValueError(
                f"rule {name}: mode = 'sequential' works only for agreement with 'below' and kl with 'above'"
            )
        if self.window > 1:
            raise ValueError(
                f"rule {name}: a sequential rule accumulates evidence over cycles: leave out 'for_cycles'"
            )
        if not self.threshold > 0 or (kind == "agreement" and not Decimal("0.5") <= self.threshold < 1):
            expected = "in [0.5, 1)" if kind == "agreement" else "above 0"
            raise ValueError(f"rule {name}: a sequential threshold of {kind} must be {expected}")


class Rule(Condition):
    """A condition, or several conditions of which `any` or `all` must hold, and the action to take.

    A rule with several conditions counts a cycle as breached when any or all of them hold. With
    mode = "sequential" and `any`, the evidence of sequential conditions is combined: they share one budget of
    false alarms.
    """

    name: Name
    any: Annotated[tuple[Condition, ...], Field(min_length=2)] | None = None
    all: Annotated[tuple[Condition, ...], Field(min_length=2)] | None = None
    cooldown: Duration = timedelta(0)  #: between the last firing and the next
    action: Literal["redistill", "alert"] = "redistill"
    severity: Severity = Severity.ERROR

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of a group; empty for a rule with a single condition."""
        return self.any or self.all or ()

    @property
    def is_on_divergence(self) -> bool:
        """Return whether every watched metric is a divergence between the two models' distributions."""
        watched = [each.metric or "" for each in self.conditions or (self,)]
        return all(metric.partition(":")[0] in _DIVERGENCES for metric in watched)

    @property
    def text(self) -> str:
        """All keys as JSON, including defaults."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()

    @property
    def version(self) -> str:
        """The SHA-256 of `text`."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def watches(self) -> str:
        """The metric, or `any` or `all`."""
        return self.metric or ("any" if self.any else "all")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        name = repr(self.name)
        if sum(each is not None for each in (self.metric, self.any, self.all)) != 1:
            raise ValueError(f"rule {name} needs exactly one of 'metric', 'any' and 'all'")
        if self.metric is not None:
            self.check(name)
        for condition in self.conditions:
            condition.check(name)
        if self.conditions:
            self._check_group(name)
        if self.metric in NOT_OF_STUDENT and self.action == "redistill":
            raise ValueError(f"rule {name}: {NOT_OF_STUDENT[self.metric]}: set action = 'alert'")
        return self

    def _check_group(self, name: str) -> None:
        if self.below is not None or self.above is not None or self.clear is not None:
            raise ValueError(f"rule {name}: thresholds belong to the conditions of a group: set them there")
        if any(each.metric == "serving_skew" for each in self.conditions):
            raise ValueError(f"rule {name}: serving_skew is not about the student: give it its own rule")
        watched = {each.metric for each in self.conditions}
        if "input_drift" in watched and (self.any is not None or watched == {"input_drift"}):
            raise ValueError(
                f"rule {name}: input_drift alone says nothing about the student: give it its own rule, or "
                "require 'all' of it and another metric"
            )
        modes = {each.mode for each in self.conditions}
        if self.mode == "interval":
            raise ValueError(f"rule {name}: mode = 'interval' belongs to a group's conditions: set it there")
        if self.mode == "sequential" and (self.any is None or modes != {"sequential"} or self.window > 1):
            raise ValueError(f"rule {name}: mode = 'sequential' combines only 'any' of sequential conditions")


#: The rules where none are configured: agreement < 0.95 for 3 cycles; KL > 0.15 in one.
DEFAULT_RULES = (
    Rule(name="low-agreement", metric="agreement", below=Decimal("0.95"), for_cycles=3),
    Rule(name="high-kl", metric="kl", above=Decimal("0.15")),
)

#: The additional default where the student's recorded answers are used.
SERVING_RULE = Rule(name="serving-skew", metric="serving_skew", above=Decimal("0.01"), action="alert")


class AlphaPolicy(Section):
    """The weight of the KL term from job to job, and the limits on ordering jobs."""

    alpha: Alpha = Decimal("0.7")
    alpha_step: Annotated[Alpha, Field(gt=0)] = Decimal("0.1")
    alpha_floor: Alpha = Decimal("0.1")
    #: Whether a job lowers alpha: always, never, or only where true labels show that it helps.
    alpha_policy: Literal["lower", "evidence", "keep"] = "lower"
    #: When the first job of a drift starts from `alpha` again: once an earlier drift is over, or never.
    alpha_reset: Literal["recovery", "never"] = "recovery"
    max_attempts: Annotated[int, Field(ge=1)] = 3
    cooldown: Duration = timedelta(hours=6)
    temperature: Temperature = 3.0
    shadow_cycles: Annotated[int, Field(ge=1)] = 3  #: evaluated cycles of a shadow without a decision
    watch_cycles: Annotated[int, Field(ge=1)] = 3  #: evaluated cycles for a promoted student to recover in
    rollback: Literal["off", "auto"] = "off"  #: the action if the student has not recovered


class IncidentPolicy(Section):
    """The end of incidents, and the links for the on-call."""

    keep_firing_for: Duration = timedelta(0)  #: an incident resolves after being clear for this long
    runbook: Annotated[str, Field(pattern=_URL)] | None = None  #: the URL of docs/runbook.md for the on-call
    page: Annotated[str, Field(pattern=_URL)] | None = None  #: the URL of the monitor's page


class TeacherPolicy(Section):
    """The limits beyond which a teacher differs from its reference cycles."""

    reference_cycles: Annotated[int, Field(ge=1)] = 3  #: the first evaluated cycles of a teacher
    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.8  #: accuracy by true labels
    confidence_fall: Annotated[float, Field(gt=0, le=1)] = 0.08  #: fall of the mean confidence
    entropy_rise: Annotated[float, Field(gt=0)] = 0.25  #: rise of the mean entropy, in nats
    label_shift: Annotated[float, Field(gt=0, le=1)] = 0.3  #: shift of the label mix, JS in nats
    #: Shift of the familiar labels, where they differ as much from the student's; JS in nats.
    label_gap: Annotated[float, Field(gt=0, le=1)] = 0.05
    #: A new version that a person vouches for: it is not compared with its predecessor.
    accept: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")] | None = None


class QueueSection(Section):
    """The transport by which workers learn of jobs: polling the database, or an SQS queue."""

    kind: Literal["sql", "sqs"] = "sql"
    url: Annotated[str, Field(pattern=r"^https?://\S+\.fifo$")] | None = None  #: the queue; sqs only

    @model_validator(mode="after")
    def _a_url_with_sqs(self) -> Self:
        if (self.kind == "sqs") != (self.url is not None):
            raise ValueError("'url' belongs to kind = 'sqs': set both or neither")
        return self
