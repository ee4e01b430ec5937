"""A site that has been through the whole loop: drift, re-distillation, promotion."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from monitor.stop import never_stopped
from redistill import assembly
from redistill.configuration.settings import Settings
from redistill.display.progress import show_nothing
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A site whose student drifted, was re-distilled and was promoted, all in this process."""

    site: Site
    settings: Settings
    engine: Engine


@contextmanager
def repaired_site(world: World, folder: Path) -> Iterator[Repaired]:
    """Run two healthy and five drifted cycles; the job runs after the fifth."""
    site = make_site(folder / "site", world, hours(healthy=2, drifted=5), url="sqlite:///unused.db")
    with rerun(site, folder / "run") as (settings, engine):
        runner = assembly.slot_runner(settings, engine, show_nothing)
        runner.run(site.slots[:5], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
        runner.run(site.slots[5:], never_stopped)
        yield Repaired(site=site, settings=settings, engine=engine)
