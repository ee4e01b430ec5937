"""The section of the configuration about the calibration of students."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from triggers.settings import Section
from triggers.values import Duration, none_for

#: An interval of an hour or more; "off" is None.
Every = Annotated[Annotated[Duration, Field(ge=timedelta(hours=1))] | None, none_for("off")]

DEFAULT_EVERY: Final = timedelta(days=31)


class CalibrationPolicy(Section):
    """The section [calibration]."""

    #: The rows: "auto" is labelled traffic, else a healthy teacher on traffic, else the labelled file.
    on: Literal["auto", "file", "traffic-labels", "teacher"] = "auto"
    every: Every = DEFAULT_EVERY  #: the maximum age of the rows
