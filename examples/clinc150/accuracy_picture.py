"""A picture of agreement, and of both models' accuracy by true labels, by day."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from picture import STYLE, draw_jobs, draw_metric, draw_share, draw_thresholds
from tale import DayRecord

from redistill.configuration.settings import Settings
from redistill.display.show import Row

_COLOURS: Final = {"teacher": "#8c959f", "student": "#0072b2"}


def draw(
    path: Path, days: Sequence[DayRecord], by_cycle: Mapping[object, Row], settings: Settings, title: str
) -> None:
    """Save the picture of at least one day, in the format that the suffix of the path names."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 6.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        agreement, accuracy, share = figure.subplots(3, 1, sharex=True, height_ratios=(5, 4, 1.8))
        draw_metric(agreement, days, "agreement")
        draw_thresholds(agreement, settings, "agreement")
        draw_jobs(agreement, days, named=True)
        agreement.legend(loc="lower left", frameon=False)
        _draw_accuracy(accuracy, days, by_cycle)
        draw_jobs(accuracy, days, named=False)
        draw_share(share, days)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_accuracy(panel: Axes, days: Sequence[DayRecord], by_cycle: Mapping[object, Row]) -> None:
    panel.set_ylabel("accuracy by late labels")
    labelled = [
        (at, by_cycle[day.cycle["cycle_id"]])
        for at, day in enumerate(days)
        if day.cycle["cycle_id"] in by_cycle
    ]
    for offset, (model, colour) in zip((-0.08, 0.08), _COLOURS.items(), strict=True):
        middle, low, high = (
            [float(str(row[f"{model}_accuracy{end}"])) for _, row in labelled]
            for end in ("", "_low", "_high")
        )
        panel.errorbar(
            [at + offset for at, _ in labelled],
            middle,
            yerr=(
                [a - b for a, b in zip(middle, low, strict=True)],
                [b - a for a, b in zip(middle, high, strict=True)],
            ),
            color=colour,
            marker="o",
            markersize=5,
            capsize=3,
            label=model,
        )
    panel.legend(loc="lower left", frameon=False)
