"""The names of the fields of labelled files."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class LabelledFields:
    """The names of the fields, or columns, of labelled files."""

    text: str = "text"
    label: str = "label"


TEXT_AND_LABEL: Final = LabelledFields()
