"""The checks of the devices that models run on."""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from monitor.scoring.device import has_gpu, why_missing
from monitor.scoring.placement import Placement
from monitor.setting_values import Device
from redistill.assembly import scoring_placement, training_placement
from redistill.checks.result import CheckResult, ok, run_check, warning
from redistill.configuration.settings import Settings


def devices(settings: Settings) -> Iterator[CheckResult]:
    """Check that the devices of cycles and of jobs can be used, and that no GPU is left unused."""
    on_cluster = settings.scoring.engine == "ray"
    cycles = partial(scoring_placement, settings)
    wanted = None if on_cluster else settings.scoring.device
    yield from run_check("device", lambda: _device("cycles", "scoring", wanted, cycles))
    jobs = partial(training_placement, settings)
    yield from run_check("device", lambda: _device("jobs", "redistill", settings.redistill.device, jobs))


def _device(
    work: str, section: str, wanted: Device | None, place: Callable[[], Placement]
) -> Iterator[CheckResult]:
    """Check one device; `wanted` is None where models run elsewhere than on this machine."""
    placement = place()
    probe = torch.ones(2, 2, device=placement.device)
    (probe @ probe).sum().item()  # raises an error if torch has no code for this GPU
    found = f"{work}: {placement.name}"
    if wanted is None or placement.is_cuda or not has_gpu():
        yield ok("device", found)
    elif wanted == "cpu":
        fix = f"set device = 'auto' in [{section}], unless that is intended"
        yield warning("device", f"{found}, and the GPU of this machine is not used", fix)
    else:
        yield warning("device", f"{found}, and the GPU of this machine is not used: {why_missing()}")
