"""The section of the configuration about costs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from triggers.settings import Section

#: Amounts are in one currency, the user's.
Money = Annotated[float, Field(ge=0)]
Minutes = Annotated[float, Field(ge=0)]
#: Counts of 10,000 requests: the teacher's and the student's.
Counts = Annotated[tuple[Annotated[int, Field(ge=0, le=10_000)], ...], Field(min_length=2, max_length=2)]


class EconomicsSection(Section):
    """The section [economics]. The defaults are the design's; see docs/design-numbers.md."""

    requests_per_month: Annotated[int, Field(ge=1)] = 1_400_000
    cost_per_10k_teacher: Money = 0.038
    cost_per_10k_student: Money = 0.016
    harm_cost: Money = 0.013  #: of one more misroute
    harm_cost_low: Money | None = None  #: None: half of it
    harm_cost_high: Money | None = None  #: None: twice of it
    harm: Literal["misroutes", "cost-matrix"] = (
        "misroutes"  #: "cost-matrix": the costs in [[metrics.misroutes]]
    )
    critical_cost: Money | None = None  #: of one more critical misroute, beyond `harm_cost`
    late_cost: Money | None = None  #: of one more answer over the latency budget
    latency_budget_ms: Annotated[float, Field(gt=0)] = 15.0

    right: Counts = (9_210, 9_050)
    low_cost_misroutes: Counts = (590, 690)
    critical_misroutes: Counts = (34, 45)
    late: Counts = (3, 0)
    right_rows: Annotated[int, Field(ge=1)] = 5_500  #: labelled rows from which `right` is known
    discordant: Annotated[int, Field(ge=0, le=10_000)] = 240  #: of 10,000: exactly one model is right

    runs_per_week: Annotated[float, Field(ge=0)] = 1.0
    teachers_per_month: Annotated[float, Field(ge=0)] = (
        1.0  #: new teacher versions, whose soft labels are new
    )
    minutes_online: Minutes = 24.0  #: of a run in which the teacher answers
    minutes_offline: Minutes = 19.0  #: of a run with stored soft labels
    minutes_soft_labels: Minutes = 8.0  #: to store the soft labels of one teacher version
    machine_price_per_hour: Money | None = None
    pages_per_month: Annotated[float, Field(ge=0)] | None = None
    minutes_per_page: Minutes | None = None
    wage_per_hour: Money | None = None

    drifts_per_month: Annotated[float, Field(gt=0)] | None = None
    drift_misroutes: Annotated[float, Field(gt=0, le=10_000)] | None = None  #: more of 10,000 in a drift
    detection_cycles: Annotated[float, Field(gt=0)] = 3.0  #: from the start of a drift to the order of a job

    @property
    def harm_costs(self) -> tuple[float, float, float]:
        """The lowest, the most likely and the highest cost of one more misroute."""
        low, high = self.harm_cost_low, self.harm_cost_high
        mode = self.harm_cost
        return (mode / 2 if low is None else low, mode, 2 * mode if high is None else high)

    @model_validator(mode="after")
    def _costs_are_ordered(self) -> Self:
        low, mode, high = self.harm_costs
        if not low <= mode <= high:
            raise ValueError(
                f"[economics] harm_cost_low = {low:g}, harm_cost = {mode:g} and harm_cost_high = {high:g} "
                "are not in ascending order: correct them"
            )
        return self

    @model_validator(mode="after")
    def _discordant_rows_explain_the_difference(self) -> Self:
        difference = abs(self.right[0] - self.right[1])
        if self.discordant < difference:
            raise ValueError(
                f"[economics] discordant = {self.discordant} is below {difference}, the difference of the "
                "two counts in 'right': set it to the requests of 10,000 on which exactly one model is right"
            )
        return self

    @model_validator(mode="after")
    def _critical_misroutes_are_priced_once(self) -> Self:
        if self.harm == "cost-matrix" and self.critical_cost is not None:
            raise ValueError(
                "[economics] 'critical_cost' and harm = 'cost-matrix' both price critical misroutes: "
                "remove critical_cost"
            )
        return self
