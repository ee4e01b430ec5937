"""The schedule of monitoring and of training, by the configuration, as their costs need it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from monitor.settings import MonitorSection
from redistill.configuration.settings import Settings
from redistill.economics.monitoring import Schedule
from redistill.economics.month import DAYS, MONTHS, SoftLabels

#: A Monday midnight from which the cycles of `cron` are counted.
_START: Final = datetime(2026, 1, 5, tzinfo=UTC)
#: With fewer cycles in a month, those of twelve months are counted.
_FEW: Final = 100


def schedule(settings: Settings) -> Schedule:
    """Return the cycles of a month and the size of their samples."""
    section = settings.monitor
    return Schedule(
        cycles_per_month=_cycles(section),
        sample_size=section.sample_size,
        min_samples=section.min_samples,
        student_is_recorded=settings.student.scores == "recorded",
    )


def used_soft_labels(settings: Settings) -> SoftLabels:
    """Return how the configured number of runs in a week gets its soft labels."""
    section = settings.redistill
    if section.soft_labels != "auto":
        return section.soft_labels
    return "offline" if settings.economics.runs_per_week > section.offline_above_runs_per_week else "online"


def _cycles(section: MonitorSection) -> float:
    if section.every is not None:
        return timedelta(days=DAYS) / section.every
    from monitor.daemon.schedule import make_trigger, slots_after  # noqa: PLC0415 - APScheduler loads slowly

    trigger = make_trigger(section)

    def counted(months: int) -> float:
        end = _START + timedelta(days=months * DAYS)
        return len(slots_after(trigger, section.name, _START, end)) / months

    found = counted(1)
    return found if found >= _FEW else counted(MONTHS)
