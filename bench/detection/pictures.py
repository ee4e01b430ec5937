"""Pictures of the results of `race`: delays and false alarms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from levels import BUDGET
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from race import AGREEMENTS, Result
from streams import CYCLE, Ints

_INK: Final = "#24292f"
_QUIET: Final = "#8c959f"
_OURS: Final = ("#000000", "#0072b2", "#56b4e9", "#009e73")
_OTHERS: Final = ("#d55e00", "#e69f00", "#cc79a7", "#7f5539", "#8c8c8c", "#b0b0b0", "#b3a100", "#882255")
_MARKERS: Final = "osD^vP*Xdh<>"
_KNOWS_A_LEVEL: Final = ("R1", "sequential")
_FOUND: Final = 0.95  #: the share of streams with an alarm below which no delay is drawn
_STYLE: Final[Mapping[str, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "detection",
}


def draw_delays(path: Path, results: Sequence[Result]) -> None:
    """Draw the mean number of requests from a step to the alarm, by the agreement after the step."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 4.8), layout="constrained")
        panel = figure.subplots()
        ends = {}
        for result, color, marker in zip(results, _colors(results), _MARKERS, strict=False):
            means = [_mean(result.delays[a]) for a in AGREEMENTS]
            ours = result.name.startswith(_KNOWS_A_LEVEL)
            panel.plot(
                range(len(AGREEMENTS)),
                means,
                color=color,
                marker=marker,
                markersize=5,
                linewidth=2.2 if ours else 1.2,
                linestyle="-" if ours else "--",
            )
            if np.isfinite(means[-1]):
                ends[result.name] = (means[-1], color)
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        panel.grid(axis="y", color=_QUIET, alpha=0.25)
        panel.set_xticks(range(len(AGREEMENTS)), [f"{a:.3f}".removesuffix("0") for a in AGREEMENTS])
        panel.set_xlabel("true agreement after a step from .974")
        panel.set_ylabel(f"mean delay, requests ({CYCLE:,} a cycle)")
        panel.set_xlim(-0.2, len(AGREEMENTS) - 1 + 1.75)
        _name_ends(panel, ends)
        figure.suptitle("How soon a step is found", x=0.01, ha="left", weight="bold")
        _save(figure, path)


def draw_alarms(path: Path, results: Sequence[Result]) -> None:
    """Draw the share of streams with an alarm while the agreement stays above .95."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
        names = [result.name for result in reversed(results)]
        panels = figure.subplots(1, len(results[0].healthy), sharey=True)
        colors = _colors(results)[::-1]
        titles = (
            f"constant .974, 1,000 cycles\n(the peers are tuned to {BUDGET})",
            "step from .974 to .96,\nin the 100 cycles after it",
            "varies about .974, SD .006,\n1,000 cycles",
        )
        for panel, kind, title in zip(panels, results[0].healthy, titles, strict=True):
            shares = [float((result.healthy[kind] > 0).mean()) for result in reversed(results)]
            panel.barh(range(len(names)), shares, color=colors, height=0.62)
            for at, share in enumerate(shares):
                panel.annotate(
                    f"{share:.2f}", (share, at), xytext=(4, 0), textcoords="offset points", va="center"
                )
            panel.set_title(title, fontsize=9, loc="left")
            panel.set_xlim(0, 1.25)
            panel.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        panels[0].set_yticks(range(len(names)), names)
        panels[1].set_xlabel("share of streams with an alarm")
        figure.suptitle("Alarms while the agreement is above .95", x=0.01, ha="left", weight="bold")
        _save(figure, path)


def _mean(delays: Ints) -> float:
    """Return the mean delay of the streams with an alarm; nan if too many have none."""
    return float(delays[delays > 0].mean()) if (delays > 0).mean() >= _FOUND else float("nan")


def _colors(results: Sequence[Result]) -> list[str]:
    ours, others = iter(_OURS), iter(_OTHERS)
    return [next(ours if result.name.startswith(_KNOWS_A_LEVEL) else others) for result in results]


def _name_ends(panel: Axes, ends: Mapping[str, tuple[float, str]]) -> None:
    """Write the names at the right, spread so that they do not overlap."""
    figure = panel.figure
    figure.draw_without_rendering()
    at = len(AGREEMENTS) - 1
    place = -np.inf
    for name, (value, color) in sorted(ends.items(), key=lambda each: each[1][0]):
        _, y = panel.transData.transform((at, value))
        place = max(y, place + 17)
        panel.annotate(
            name, (at, value), xytext=(18, (place - y) * 72 / figure.dpi), textcoords="offset points",
            va="center", color=color, arrowprops={"arrowstyle": "-", "color": _QUIET, "linewidth": 0.6},
        )  # fmt: skip


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
