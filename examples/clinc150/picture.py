"""A picture of agreement and KL by day with their intervals, the fired rules and the jobs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tale import DayRecord

from db.records import Job
from db.states import JobDecision, VerdictReason
from redistill.configuration.settings import Settings

_INK: Final = "#24292f"
_QUIET: Final = "#8c959f"
_BREACH: Final = "#d55e00"
_FIRED: Final = "#f3c19d"
_STUDENTS: Final = ("#0072b2", "#009e73", "#cc79a7")
#: The style of all pictures.
STYLE: Final = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "clinc150",
}
_METRICS: Final = {"agreement": "agreement", "kl": "KL at T = 3, nats"}


def draw(path: Path, days: Sequence[DayRecord], settings: Settings, title: str) -> None:
    """Save the picture of at least one day, in the format that the suffix of the path names."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 6.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", weight="bold")
        *panels, lowest = figure.subplots(3, 1, sharex=True, height_ratios=(5, 4, 1.8))
        for panel, metric in zip(panels, _METRICS, strict=True):
            draw_metric(panel, days, metric)
            draw_thresholds(panel, settings, metric)
            draw_jobs(panel, days, named=metric == "agreement")
        panels[1].legend(*panels[0].get_legend_handles_labels(), loc="center left", frameon=False)
        draw_share(lowest, days)
        figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw_metric(panel: Axes, days: Sequence[DayRecord], metric: str) -> None:
    """Draw a metric with its intervals, by student, and the days that breached a rule."""
    panel.set_ylabel(_METRICS[metric])
    for number, student in enumerate(_students(days)):
        places = [at for at, day in enumerate(days) if day.cycle["student_version"] == student]
        middle, low, high = (
            [_number(days[at], f"{metric}{end}") for at in places] for end in ("", "_low", "_high")
        )
        panel.errorbar(
            places,
            middle,
            yerr=(_differences(middle, low), _differences(high, middle)),
            color=_STUDENTS[number % len(_STUDENTS)],
            marker="o",
            markersize=5,
            capsize=3,
            label=f"student {student[:8]}",
        )
    breached = [at for at, day in enumerate(days) if day.cycle[f"{metric}_streak"]]
    fired = [at for at in breached if days[at].cycle["verdict_reason"] == VerdictReason.RULE_FIRED]
    for places, filling, label in ((breached, "none", "breached"), (fired, _FIRED, "fired")):
        panel.plot(
            places,
            [_number(days[at], metric) for at in places],
            linestyle="none",
            marker="o",
            markersize=11,
            markerfacecolor=filling,
            markeredgecolor=_BREACH,
            label=label,
            zorder=0 if filling == _FIRED else None,
        )


def draw_thresholds(panel: Axes, settings: Settings, metric: str) -> None:
    """Draw the thresholds of the rules on a metric."""
    for rule in settings.rules:
        if rule.metric == metric:
            side, cycles = ("below" if rule.below is not None else "above"), rule.for_cycles
            name = f"{rule.name}: {side} {rule.threshold}" + (f" in {cycles} cycles" if cycles > 1 else "")
            level = float(rule.threshold)
            panel.axhline(level, color=_BREACH, linestyle="--", linewidth=1)
            panel.annotate(
                name,
                (0, level),
                xycoords=("axes fraction", "data"),
                xytext=(5, -3),
                textcoords="offset points",
                va="top",
                color=_BREACH,
            )


def draw_jobs(panel: Axes, days: Sequence[DayRecord], *, named: bool) -> None:
    """Draw a line between the day that ordered a job and the next one, as the worker ran in between."""
    for at, day in enumerate(days):
        if day.job is None:
            continue
        promoted = day.job.decision is JobDecision.PROMOTED
        panel.axvline(at + 0.5, color=_STUDENTS[1] if promoted else _QUIET, linestyle=":")
        if named:
            panel.annotate(
                _words(day.job),
                (at + 0.5, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
            )


def draw_share(panel: Axes, days: Sequence[DayRecord]) -> None:
    """Draw the share of strange requests, and name the days."""
    panel.bar(range(len(days)), [100 * day.day.share for day in days], color=_QUIET, width=0.6)
    panel.set_ylabel("strange, %")
    panel.set_xticks(range(len(days)), [f"{day.day.slot.window_start:%d %b}" for day in days])


def _students(days: Sequence[DayRecord]) -> list[str]:
    return list(dict.fromkeys(str(day.cycle["student_version"]) for day in days))


def _number(day: DayRecord, name: str) -> float:
    value = day.cycle[name]
    return float(value) if isinstance(value, int | float) else float("nan")


def _differences(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    return [max(0.0, one - other) for one, other in zip(upper, lower, strict=True)]


def _words(job: Job) -> str:
    return f"job {job.job_id}\nalpha {job.alpha_to}\n{job.decision or job.status}"
