"""The sections of the configuration that decisions and effects need, and what all sections share."""

import hashlib
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import durationpy
import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from db.states import Severity


class Section(BaseModel):
    """A part of the configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _duration(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever the file holds
    if not isinstance(value, str):
        return value
    try:
        return durationpy.from_str(value)
    except durationpy.DurationError as error:
        raise ValueError(f"not a duration: {value!r}; expected one such as '10m', '1h30m' or '7d'") from error


#: A length of time, written as '10m', '1h30m' or '7d'.
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(0))]
#: An alpha, or a step of it, in [0, 1] with at most three decimals.
Alpha = Annotated[Decimal, Field(ge=0, le=1, decimal_places=3)]

#: What a rule can watch; `class_agreement:LABEL` and `class_kl:LABEL` are of one of the teacher's labels.
METRICS = ("agreement", "kl", "kl_t1", "js", "serving_skew", "input_drift", "class_agreement", "class_kl")
#: What says nothing of the student by itself, and why.
NOT_OF_STUDENT = {
    "serving_skew": "another student does not mend what is served",
    "input_drift": "what is new in the requests need not be hard for the student",
}
_URL = r"^https?://[^/?#]"
_DIVERGENCES = frozenset({"kl", "kl_t1", "js", "class_kl"})
_SHARES = frozenset({"agreement", "serving_skew", "input_drift", "class_agreement"})
_WITH_INTERVAL = frozenset({"agreement", "kl", "serving_skew", "class_agreement"})
#: What is evidence from cycle to cycle: a share of agreement that is too low, a mean that is too high.
_SEQUENTIAL = {"agreement": "below", "kl": "above"}


class Condition(Section):
    """`metric` on the wrong side of a threshold, for so many of so many evaluated cycles in a row."""

    metric: str | None = None
    below: Annotated[Decimal, Field(ge=0)] | None = None
    above: Annotated[Decimal, Field(ge=0)] | None = None
    clear: Annotated[Decimal, Field(ge=0)] | None = None  #: once it holds, it does so until this is reached
    for_cycles: Annotated[int, Field(ge=1)] = 1
    of_cycles: Annotated[int, Field(ge=1)] | None = None  #: None: in a row
    mode: Literal["point", "interval", "sequential"] = "point"
    false_alarm_rate: Annotated[float, Field(gt=0, le=500)] = 0.05  #: per 1,000 cycles; sequential only

    @property
    def threshold(self) -> Decimal:
        """The bound, in the metric's unit."""
        return self.below if self.below is not None else self.above or Decimal(0)

    @property
    def side(self) -> str:
        """On which the metric is wrong."""
        return "below" if self.below is not None else "above"

    @property
    def cleared_at(self) -> Decimal:
        """The bound on whose right side the condition ends, once it has held."""
        return self.threshold if self.clear is None else self.clear

    @property
    def window(self) -> int:
        """Of how many evaluated cycles `for_cycles` must be on the wrong side."""
        return self.of_cycles or self.for_cycles

    @property
    def alarm_threshold(self) -> float:
        """The evidence from which a sequential condition holds: the mean cycles to a false alarm."""
        return 1_000 / self.false_alarm_rate

    def check(self, name: str) -> None:
        """Raise ValueError, which names the rule, unless the parts fit together."""
        kind, _, label = (self.metric or "").partition(":")
        if kind not in METRICS or (kind.startswith("class_") != bool(label)):
            known = ", ".join(each if not each.startswith("class_") else f"{each}:LABEL" for each in METRICS)
            raise ValueError(f"rule {name}: 'metric' must be one of {known}, not {self.metric!r}")
        if (self.below is None) == (self.above is None):
            raise ValueError(f"rule {name} needs exactly one of 'below' and 'above'")
        if kind in _SHARES and max(self.threshold, self.cleared_at) > 1:
            bound = max(self.threshold, self.cleared_at)
            raise ValueError(f"rule {name}: a share is in [0, 1], not {bound}")
        if kind == "input_drift" and self.below is not None:
            raise ValueError(f"rule {name}: input_drift is 0.5 where nothing is new; set 'above'")
        if self.clear is not None and (
            self.clear < self.threshold if self.below is not None else self.clear > self.threshold
        ):
            raise ValueError(f"rule {name}: 'clear' must lie on the right side of {self.threshold}")
        if self.window < self.for_cycles:
            raise ValueError(f"rule {name}: 'of_cycles' must be at least 'for_cycles'")
        if self.mode == "interval" and kind not in _WITH_INTERVAL:
            raise ValueError(f"rule {name}: {kind} has no interval; set mode = 'point'")
        if self.mode == "sequential":
            self._check_sequential(name, kind)

    def _check_sequential(self, name: str, kind: str) -> None:
        if _SEQUENTIAL.get(kind) != self.side:
            raise ValueError(
                f"rule {name}: mode = 'sequential' is for agreement below and kl above a threshold"
            )
        if self.window > 1:
            raise ValueError(
                f"rule {name}: a sequential rule adds up cycles by itself; leave out 'for_cycles'"
            )
        if not self.threshold > 0 or (kind == "agreement" and not Decimal("0.5") <= self.threshold < 1):
            expected = "in [0.5, 1)" if kind == "agreement" else "above 0"
            raise ValueError(f"rule {name}: a sequential threshold of {kind} is {expected}")


class Rule(Condition):
    """A condition, or several of which `any` or `all` must hold, and what is done about it.

    A rule of several conditions counts a cycle as breached when so many of them hold at it. Of sequential
    ones, with mode = "sequential" and `any`, the evidence is joined: one budget of false alarms for all.
    """

    name: Annotated[str, Field(min_length=1)]
    any: Annotated[tuple[Condition, ...], Field(min_length=2)] | None = None
    all: Annotated[tuple[Condition, ...], Field(min_length=2)] | None = None
    cooldown: Duration = timedelta(0)  #: between the last firing and the next
    action: Literal["redistill", "alert"] = "redistill"
    severity: Severity = Severity.ERROR

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of a group; none of a single condition."""
        return self.any or self.all or ()

    @property
    def is_on_divergence(self) -> bool:
        """Whether all that it watches is how far the two models' distributions lie apart."""
        watched = [each.metric or "" for each in self.conditions or (self,)]
        return all(metric.partition(":")[0] in _DIVERGENCES for metric in watched)

    @property
    def text(self) -> str:
        """All its keys as JSON, defaults among them."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()

    @property
    def version(self) -> str:
        """SHA-256 of `text`."""
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
            raise ValueError(f"rule {name}: {NOT_OF_STUDENT[self.metric]}; set action = 'alert'")
        return self

    def _check_group(self, name: str) -> None:
        if self.below is not None or self.above is not None or self.clear is not None:
            raise ValueError(f"rule {name}: thresholds belong to the conditions of 'any' or 'all'")
        if any(each.metric == "serving_skew" for each in self.conditions):
            raise ValueError(f"rule {name}: serving_skew is not about the student; give it a rule of its own")
        watched = {each.metric for each in self.conditions}
        if "input_drift" in watched and (self.any is not None or watched == {"input_drift"}):
            raise ValueError(
                f"rule {name}: input_drift alone says nothing of the student; give it a rule of its own, or "
                "demand 'all' of it and of another metric"
            )
        modes = {each.mode for each in self.conditions}
        if self.mode == "interval":
            raise ValueError(f"rule {name}: mode = 'interval' belongs to the conditions of 'any' or 'all'")
        if self.mode == "sequential" and (self.any is None or modes != {"sequential"} or self.window > 1):
            raise ValueError(f"rule {name}: evidence can be joined of 'any' sequential conditions only")


#: The user's rules: agreement < 0.95 for 3 cycles; KL > 0.15 in one.
DEFAULT_RULES = (
    Rule(name="low-agreement", metric="agreement", below=Decimal("0.95"), for_cycles=3),
    Rule(name="high-kl", metric="kl", above=Decimal("0.15")),
)

#: Is on beside them where recorded answers are used.
SERVING_RULE = Rule(name="serving-skew", metric="serving_skew", above=Decimal("0.01"), action="alert")


class AlphaPolicy(Section):
    """How the weight of the KL term moves from job to job."""

    alpha: Alpha = Decimal("0.7")
    alpha_step: Annotated[Alpha, Field(gt=0)] = Decimal("0.1")
    alpha_floor: Alpha = Decimal("0.1")
    max_attempts: Annotated[int, Field(ge=1)] = 3
    cooldown: Duration = timedelta(hours=6)
    temperature: Annotated[float, Field(gt=0)] = 3.0
    watch_cycles: Annotated[int, Field(ge=1)] = 3  #: a promoted student has so many evaluated ones to recover
    rollback: Literal["off", "auto"] = "off"  #: what follows if it has not


class IncidentPolicy(Section):
    """When incidents are over, and where the on-call reads on."""

    keep_firing_for: Duration = timedelta(0)  #: an incident resolves once it has been over for so long
    runbook: Annotated[str, Field(pattern=_URL)] | None = None  #: where docs/runbook.md lies for the on-call
    page: Annotated[str, Field(pattern=_URL)] | None = None  #: where the monitor is looked at


class TeacherPolicy(Section):
    """When a teacher is no longer what it was in its reference cycles."""

    reference_cycles: Annotated[int, Field(ge=1)] = 3  #: its first evaluated ones
    min_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.8  #: by true labels
    confidence_fall: Annotated[float, Field(gt=0, le=1)] = 0.08  #: of its mean confidence
    entropy_rise: Annotated[float, Field(gt=0)] = 0.25  #: of its mean entropy, in nats
    label_shift: Annotated[float, Field(gt=0, le=1)] = 0.3  #: of its mix of labels, in nats of JS
    label_gap: Annotated[float, Field(gt=0, le=1)] = (
        0.05  #: of familiar labels, if the student's differ as much
    )
    #: A new version that a person vouches for: it is not held to its predecessor's numbers.
    accept: Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")] | None = None


class QueueSection(Section):
    """How workers hear of a job: they look into the database, or a queue calls them."""

    kind: Literal["sql", "sqs"] = "sql"
    url: Annotated[str, Field(pattern=r"^https?://\S+\.fifo$")] | None = None  #: of the queue; sqs only

    @model_validator(mode="after")
    def _a_url_with_sqs(self) -> Self:
        if (self.kind == "sqs") != (self.url is not None):
            raise ValueError("it needs 'url' with kind = 'sqs', and with that only")
        return self
