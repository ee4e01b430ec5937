"""The pictures of docs/economics.md: where the design's student pays, and where its monitoring does.

python examples/economics/picture.py
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redistill.economics.monitoring import Schedule, monitoring
from redistill.economics.month import batches, break_even, month, saving_per_10k
from redistill.economics.outcomes import configured
from redistill.economics.settings import EconomicsSection

DOCS: Final = Path(__file__).parents[2] / "docs"
DESIGN: Final = EconomicsSection()
_INTERVALS: Final = np.geomspace(0.5, 48, 80)  #: hours
_HOURS: Final = 720


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colours of a picture."""

    ink: str
    quiet: str
    line: str
    other: str


THEMES: Final = {
    "light": Theme(ink="#24292f", quiet="#656d76", line="#0969da", other="#bc4c00"),
    "dark": Theme(ink="#e6edf3", quiet="#8b949e", line="#58a6ff", other="#ff9b5e"),
}


def net_of_harm(axes: Axes, theme: Theme) -> None:
    """Draw the net of harm of a month by the saving per 10,000 requests."""
    outcomes = configured(DESIGN, np.random.default_rng(2025))
    harm = month(DESIGN, outcomes, monitoring=0, soft_labels="online", rng=np.random.default_rng(2025)).harm
    savings = np.linspace(0, 4, 50)
    saved = batches(DESIGN) * savings
    axes.fill_between(savings, saved - harm.high, saved - harm.low, color=theme.line, alpha=0.25, linewidth=0)
    axes.plot(savings, saved - harm.estimate, color=theme.line)
    axes.axhline(0, color=theme.quiet, linewidth=0.8)
    limit, now = break_even(DESIGN, outcomes).saving_per_10k, saving_per_10k(DESIGN)
    axes.plot([limit], [0], "o", color=theme.ink)
    axes.annotate(f"break-even at {limit:.2f}", (limit, 0), (limit + 0.1, -70), color=theme.ink)
    axes.plot([now], [batches(DESIGN) * now - harm.estimate], "o", color=theme.other)
    axes.annotate(f"the design: {now:g}", (now, -288), (now + 0.15, -345), color=theme.other)
    axes.set_xlabel("saving per 10,000 requests")
    axes.set_title("net of harm, a month", color=theme.ink, loc="left")


def cost_of_monitoring(axes: Axes, theme: Theme) -> None:
    """Draw the cost of monitoring by the interval of the cycles."""
    for sample_size, colour in ((10_000, theme.other), (1_000, theme.line)):
        costs = [
            monitoring(
                DESIGN,
                Schedule(
                    cycles_per_month=_HOURS / hours,
                    sample_size=sample_size,
                    min_samples=1_000,
                    student_is_recorded=False,
                ),
            ).cost
            for hours in _INTERVALS
        ]
        axes.plot(_INTERVALS, costs, color=colour, label=f"samples of {sample_size:,}")
    saving = batches(DESIGN) * saving_per_10k(DESIGN)
    axes.axhline(saving, color=theme.quiet, linestyle="--")
    axes.annotate(f"saving {saving:.2f}", (20, saving * 1.1), color=theme.quiet)
    axes.set(xscale="log", yscale="log", xlabel="hours between cycles")
    axes.set_xticks([0.5, 1, 2, 6, 12, 24, 48], labels=["½", "1", "2", "6", "12", "24", "48"])
    axes.set_yticks([0.1, 0.3, 1, 3, 10], labels=["0.1", "0.3", "1", "3", "10"])
    axes.minorticks_off()
    axes.set_title("cost of monitoring, a month", color=theme.ink, loc="left")
    axes.legend(frameon=False, labelcolor=theme.ink)


def draw(name: str, theme: Theme) -> None:
    """Write one picture."""
    mpl.rcParams.update({"svg.hashsalt": "redistill", "svg.fonttype": "path", "font.size": 9})
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    figure.patch.set_alpha(0)
    for axes, panel in zip(figure.subplots(1, 2), (net_of_harm, cost_of_monitoring), strict=True):
        axes.patch.set_alpha(0)
        axes.tick_params(colors=theme.quiet)
        axes.xaxis.label.set_color(theme.quiet)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(theme.quiet)
        panel(axes, theme)
    figure.savefig(DOCS / f"economics-{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    for each, colours in THEMES.items():
        draw(each, colours)
