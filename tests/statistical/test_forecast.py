"""False alarms forecast from a stored history, against the simulation of the process behind it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from db.records import CyclePoint
from monitor.intervals import wilson
from tests.support.records.factories import make_point
from triggers.rules.dispersion import Dispersion, estimate
from triggers.rules.operating_characteristic import CYCLES, false_alarm
from triggers.settings import DEFAULT_RULES

R1 = DEFAULT_RULES[0]
N = 1_000
DAY = tuple((0.010 * np.sin(np.arange(24) / 24 * 2 * np.pi)).tolist())


def process(sd: float = 0.0, autocorrelation: float = 0.0, profile: tuple[float, ...] = ()) -> Dispersion:
    return Dispersion(sd=sd, autocorrelation=autocorrelation, profile=profile, n_cycles=0)


def history(course: NDArray[np.float64], rng: np.random.Generator) -> list[CyclePoint]:
    counts = rng.binomial(N, 1 - course).tolist()
    return [make_point(i, n=N, disagreements=k) for i, k in enumerate(counts)]


def simulated(varying: Dispersion, mean: float, rng: np.random.Generator) -> float:
    """Return the share of 4,000 histories of 1,000 cycles in which three in a row are breached."""
    breached = rng.binomial(N, 1 - varying.paths(mean, CYCLES, 4_000, rng)) > N // 20
    return float((breached[:, 2:] & breached[:, 1:-1] & breached[:, :-2]).any(axis=1).mean())


PROCESSES = {
    "constant": (process(), 0.960),
    "autocorrelated": (process(sd=0.006, autocorrelation=0.8), 0.970),
    "independent": (process(sd=0.006), 0.965),
    "day and night": (process(profile=DAY), 0.968),
    "both": (process(sd=0.004, autocorrelation=0.6, profile=DAY), 0.970),
}


@pytest.mark.parametrize(("varying", "mean"), PROCESSES.values(), ids=[*PROCESSES])
def test_false_alarms_are_forecast_from_the_history_within_a_factor_of_one_and_a_half(
    varying: Dispersion, mean: float
) -> None:
    """The median of the forecasts from nine histories of 2,000 cycles, against simulation of the process."""
    rng = np.random.default_rng(2025)
    truth = simulated(varying, mean, rng)
    forecasts = []
    for course in varying.paths(mean, 2_000, 9, rng):
        found = estimate(history(course, rng))
        forecasts.append(false_alarm(R1, make_point(n=N), mean, wilson, varying=found, rng=rng).probability)
    assert 0.02 < truth < 0.98
    assert truth / 1.5 < float(np.median(forecasts)) < truth * 1.5
