"""A picture of agreement and KL by day with their intervals, the rules and the correct model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from modes import RIGHT, Watched, state
from picture import STYLE

from redistill.configuration.settings import Settings

_QUIET: Final = "#8c959f"
_BREACH: Final = "#d55e00"
_STUDENT: Final = "#0072b2"
_RIGHT_COLOURS: Final = ("#0072b2", "#009e73", "#b0b7bf")


def draw(path: Path, days: Sequence[Watched], settings: Settings, title: str) -> None:
    """Save the picture, in the format that the path's suffix names."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 8.2), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        agreement, kl, rules, right = figure.subplots(4, 1, sharex=True, height_ratios=(4, 3, 2.6, 2.6))
        _draw_metric(agreement, days, "agreement", "agreement")
        _draw_metric(kl, days, "kl", "KL at T = 3, nats")
        _draw_levels(agreement, settings, "agreement")
        _draw_levels(kl, settings, "kl")
        _draw_rules(rules, days, [rule.name for rule in settings.rules])
        _draw_right(right, days)
        right.set_xticks(range(len(days)), [f"{day.day.share:.0%}" for day in days])
        right.set_xlabel("one day each: share of requests on topics that the student was never taught")
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def _draw_metric(panel: Axes, days: Sequence[Watched], metric: str, name: str) -> None:
    middle, low, high = (
        [float(str(day.cycle[metric + end])) for day in days] for end in ("", "_low", "_high")
    )
    panel.errorbar(
        range(len(days)),
        middle,
        yerr=(
            [max(0.0, one - other) for one, other in zip(middle, low, strict=True)],
            [max(0.0, one - other) for one, other in zip(high, middle, strict=True)],
        ),
        color=_STUDENT,
        marker="o",
        markersize=5,
        capsize=3,
    )
    panel.set_ylabel(name)


def _draw_levels(panel: Axes, settings: Settings, metric: str) -> None:
    low, high = panel.get_ylim()
    for level in sorted({float(rule.threshold) for rule in settings.rules if rule.metric == metric}):
        if low <= level <= high:
            panel.axhline(level, color=_BREACH, linestyle="--", linewidth=1)
            panel.annotate(
                f"{level:g}",
                (1, level),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 2),
                textcoords="offset points",
                ha="right",
                color=_BREACH,
            )


def _draw_rules(panel: Axes, days: Sequence[Watched], names: Sequence[str]) -> None:
    for place, name in enumerate(reversed(names)):
        states = [state(day.said[name]) for day in days]
        panel.plot(range(len(days)), [place] * len(days), color=_QUIET, linewidth=0.5, zorder=0)
        for wanted, filling, label in ((1, "white", "breached"), (2, _BREACH, "fired")):
            where = [at for at, each in enumerate(states) if each == wanted]
            panel.plot(
                where,
                [place] * len(where),
                linestyle="none",
                marker="o",
                markersize=7,
                markerfacecolor=filling,
                markeredgecolor=_BREACH,
                label=label if place == 0 else None,
            )
    panel.set_yticks(range(len(names)), list(reversed(names)))
    panel.set_ylim(-0.6, len(names) - 0.4)
    panel.legend(loc="upper left", frameon=False, ncols=2, bbox_to_anchor=(0, 1.16))


def _draw_right(panel: Axes, days: Sequence[Watched]) -> None:
    bottom = [0.0] * len(days)
    for name, colour in zip(RIGHT, _RIGHT_COLOURS, strict=True):
        shares = [float(str(day.right[name] or 0)) for day in days]
        panel.bar(
            range(len(days)), shares, bottom=bottom, color=colour, width=0.7, label=name.replace("_", " ")
        )
        bottom = [one + other for one, other in zip(bottom, shares, strict=True)]
    for at, day in enumerate(days):
        panel.annotate(str(day.right["n_disagreements"]), (at, 0.03), ha="center", color="white", fontsize=7)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0))
    panel.set_ylabel("share of the\ndisagreements (n)")
    panel.legend(loc="lower left", frameon=False, ncols=3, bbox_to_anchor=(0, 1.0))
