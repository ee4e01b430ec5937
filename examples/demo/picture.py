"""The picture in the README: agreement in each hour of the demo, the alarm threshold and the promotion.

`docs/demo.json` holds the numbers of one run of `make demo`. The pictures, one for a light page and one for a
dark page, are drawn from that file alone. With `--record` the file is written first, from a finished demo.

    make demo-picture
    python examples/demo/picture.py --record demo
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from db.connection.session import connect, reading
from db.views import rows
from redistill.configuration.settings import load
from redistill.demo.service import SHIFTS
from redistill.display.show import Row, version

DOCS: Final = Path(__file__).parents[2] / "docs"
NUMBERS: Final = "demo.json"
_METRICS: Final = ("agreement", "kl")
_DIGITS: Final = 6
_BOTTOM, _TOP = 0.893, 1.006

Numbers = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colours of a picture."""

    ink: str
    quiet: str
    healthy: str
    breached: str
    promoted: str


THEMES: Final = {
    "light": Theme(ink="#24292f", quiet="#656d76", healthy="#0969da", breached="#bc4c00", promoted="#1a7f37"),
    "dark": Theme(ink="#e6edf3", quiet="#8b949e", healthy="#58a6ff", breached="#ff9b5e", promoted="#56d364"),
}


def recorded(folder: Path) -> Numbers:
    """Return the numbers of a finished demo, from its configuration and its database."""
    settings = load(folder / "redistill.toml")
    engine = connect(settings.database.url, root=settings.folder)
    with reading(engine) as connection:
        cycles = rows(connection, "cycle_history", order_by="window_end")
        (job,) = rows(connection, "job_history", order_by="job_id")
    engine.dispose()
    (rule,) = (each for each in settings.rules if each.name == job["rule"])
    return {
        "cycles": [
            _cycle(hour, share, cycle)
            for hour, (share, cycle) in enumerate(zip(SHIFTS, cycles, strict=True), start=1)
        ],
        "job": {
            "after_hour": [cycle["cycle_id"] for cycle in cycles].index(job["cycle_id"]) + 1,
            "alpha_from": float(str(job["alpha_from"])),
            "alpha_to": float(str(job["alpha_to"])),
            "decision": job["decision"],
        },
        "rule": {"name": rule.name, "below": float(rule.threshold), "for_cycles": rule.for_cycles},
    }


def _cycle(hour: int, share: float, cycle: Row) -> Numbers:
    numbers = {
        name: round(float(str(cycle[name])), _DIGITS)
        for metric in _METRICS
        for name in (metric, f"{metric}_low", f"{metric}_high")
    }
    student = version(cycle["student_version"])
    return {"hour": hour, "new": share, **numbers, "verdict": cycle["verdict"], "student": student}


def draw(path: Path, numbers: Numbers, theme: Theme) -> None:
    """Save the picture, on a transparent ground, in the format that the suffix of the path names."""
    with mpl.rc_context(_style(theme)):
        figure = Figure(figsize=(8.8, 4.3), layout="constrained")
        panel = figure.subplots()
        _draw_rule(panel, numbers, theme)
        _draw_students(panel, numbers["cycles"], theme)
        _draw_job(panel, numbers, theme)
        _label(panel, numbers["cycles"])
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=150, transparent=True, metadata=metadata)


def _style(theme: Theme) -> dict[str, Any]:
    return {
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": theme.quiet,
        "axes.labelcolor": theme.ink,
        "text.color": theme.ink,
        "xtick.color": theme.ink,
        "ytick.color": theme.ink,
        "svg.hashsalt": "demo",
    }


def _draw_rule(panel: Axes, numbers: Numbers, theme: Theme) -> None:
    rule = numbers["rule"]
    panel.axhspan(_BOTTOM, rule["below"], color=theme.breached, alpha=0.08, linewidth=0)
    panel.axhline(rule["below"], color=theme.breached, linestyle="--", linewidth=1.2, gid="alarm")
    panel.annotate(
        f"alarm: below {rule['below']:g} for {rule['for_cycles']} cycles",
        (0.5, rule["below"]),
        xytext=(6, -6),
        textcoords="offset points",
        va="top",
        color=theme.breached,
    )


def _draw_students(panel: Axes, cycles: Sequence[Numbers], theme: Theme) -> None:
    """Draw the line of all hours; the points of each student have their own marker."""
    hours, agreement = ([cycle[name] for cycle in cycles] for name in ("hour", "agreement"))
    panel.plot(hours, agreement, color=theme.quiet, linewidth=1.2, zorder=1, gid="agreement")
    students = list(dict.fromkeys(cycle["student"] for cycle in cycles))
    for cycle in cycles:
        is_breached = cycle["verdict"] == "breached"
        color = theme.breached if is_breached else theme.healthy
        point = panel.errorbar(
            cycle["hour"],
            cycle["agreement"],
            yerr=(
                [cycle["agreement"] - cycle["agreement_low"]],
                [cycle["agreement_high"] - cycle["agreement"]],
            ),
            color=color,
            marker="os"[students.index(cycle["student"])],
            markersize=7,
            capsize=4,
            linewidth=1.6,
        )
        (bar,) = point.lines[2]
        bar.set_gid(f"interval-{cycle['hour']}")
        panel.annotate(
            f"{cycle['agreement']:.3f}",
            (cycle["hour"], cycle["agreement_low" if is_breached else "agreement_high"]),
            xytext=(0, -5 if is_breached else 5),
            textcoords="offset points",
            ha="center",
            va="top" if is_breached else "bottom",
            color=color,
        )


def _draw_job(panel: Axes, numbers: Numbers, theme: Theme) -> None:
    job, rule = numbers["job"], numbers["rule"]
    at = job["after_hour"] + 0.5
    panel.axvline(at, color=theme.promoted, linestyle=":", linewidth=1.6)
    panel.annotate(
        f"re-distilled\n(alpha {job['alpha_from']:g} → {job['alpha_to']:g})\nand {job['decision']}",
        (at, rule["below"]),
        xytext=(8, -6),
        va="top",
        textcoords="offset points",
        color=theme.promoted,
    )


def _label(panel: Axes, cycles: Sequence[Numbers]) -> None:
    ticks = [f"{cycle['hour']}\n{cycle['new']:.0%}" for cycle in cycles]
    panel.set_xticks([cycle["hour"] for cycle in cycles], ticks)
    panel.set_xlim(0.5, len(cycles) + 0.5)
    panel.set_ylim(_BOTTOM, _TOP)
    panel.set_yticks([0.90, 0.925, 0.95, 0.975, 1.0])
    panel.set_xlabel("hour of the demo, and the share of its requests that are of a new kind")
    panel.set_ylabel("agreement, with its 95% interval")


def main() -> None:
    """Record the numbers where that is asked for, then draw both pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="the folder of a finished demo")
    parser.add_argument("--out", type=Path, default=DOCS, help="the folder of the pictures (default: docs)")
    parser.add_argument("--format", default="svg", choices=("svg", "png"), help="(default: %(default)s)")
    wanted = parser.parse_args()
    source = DOCS / NUMBERS
    if wanted.record:
        source.write_text(json.dumps(recorded(wanted.record), indent=2) + "\n", encoding="utf-8")
    numbers = json.loads(source.read_text(encoding="utf-8"))
    for name, theme in THEMES.items():
        draw(wanted.out / f"demo-{name}.{wanted.format}", numbers, theme)


if __name__ == "__main__":
    main()
