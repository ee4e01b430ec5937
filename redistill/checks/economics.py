"""The check of what monitoring costs, against what the student saves."""

from collections.abc import Iterator
from typing import Final

from redistill.checks.result import CheckResult, ok, warning
from redistill.configuration.settings import Settings
from redistill.cost_inputs import schedule
from redistill.economics.monitoring import Monitoring, monitoring

_COSTS: Final = {"cost_per_10k_teacher", "cost_per_10k_student"}


def economics(settings: Settings) -> Iterator[CheckResult]:
    """Yield a warning if scoring costs more than the student saves, by the section [economics].

    Without configured costs nothing is checked, as the default ones are those of another service.
    """
    if not _COSTS & settings.economics.model_fields_set:
        return
    found = monitoring(settings.economics, schedule(settings))
    cycles = f"{found.cycles:,.4g} cycles a month of {found.scored_per_cycle:,.0f} requests"
    cost = f"{cycles} cost {found.cost:,.2f}, and the student saves {found.saving:,.2f}"
    if found.pays:
        yield ok("economics", cost)
    else:
        yield warning("economics", f"{cost}: monitoring costs more than it protects", _fix(settings, found))


def _fix(settings: Settings, found: Monitoring) -> str:
    if found.sample_size is None or found.interval_hours is None:
        return "none: the student costs as much as the teacher; check the costs in [economics]"
    is_longer = found.interval_hours > schedule(settings).hours
    interval = f", and windows of {found.interval_hours:.3g} h or longer (every)" if is_longer else ""
    recorded = "" if settings.student.scores == "recorded" else ", or set scores = 'recorded' in [student]"
    return (
        f"set sample_size = {found.sample_size} in [monitor]{interval}{recorded}; see `redistill economics`"
    )
