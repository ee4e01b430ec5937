"""The sections of the configuration that decisions and effects need, and what all sections share."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

import durationpy
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
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

Metric = Literal["agreement", "kl", "kl_t1", "js", "serving_skew"]


class Rule(Section):
    """`metric` strictly below or above a threshold for `for_cycles` evaluated cycles in a row."""

    name: Annotated[str, Field(min_length=1)]
    metric: Metric
    below: Annotated[Decimal, Field(ge=0)] | None = None
    above: Annotated[Decimal, Field(ge=0)] | None = None
    for_cycles: Annotated[int, Field(ge=1)] = 1
    mode: Literal["point"] = "point"
    action: Literal["redistill", "alert"] = "redistill"
    severity: Severity = Severity.ERROR

    @property
    def threshold(self) -> Decimal:
        """The bound, in the metric's unit."""
        return self.below if self.below is not None else self.above or Decimal(0)

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.below is None) == (self.above is None):
            raise ValueError(f"rule {self.name!r} needs exactly one of 'below' and 'above'")
        if self.metric in {"agreement", "serving_skew"} and self.threshold > 1:
            raise ValueError(f"rule {self.name!r}: a share is in [0, 1], not {self.threshold}")
        if self.metric == "serving_skew" and self.action == "redistill":
            raise ValueError(
                f"rule {self.name!r}: another student does not mend what is served; set action = 'alert'"
            )
        return self


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


class LogAlert(Section):
    """Incidents as log lines."""

    kind: Literal["log"] = "log"
    name: str = "log"
    severities: tuple[Severity, ...] = tuple(Severity)


class WebhookAlert(Section):
    """Incidents as signed JSON, by HTTP POST."""

    kind: Literal["webhook"]
    name: str = "webhook"
    severities: tuple[Severity, ...] = tuple(Severity)
    url: Annotated[str, Field(pattern=r"^https?://")]
    secret: SecretStr
    timeout_seconds: Annotated[float, Field(gt=0, le=30)] = 10.0  #: a message is hidden for 2 min meanwhile


Alert = Annotated[LogAlert | WebhookAlert, Field(discriminator="kind")]
