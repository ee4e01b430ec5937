"""One worker for several monitors: a thread each, of which one at a time computes."""

from collections.abc import Sequence
from threading import Event

from distill.turns import Turns
from redistill import assembly
from redistill.configuration.settings import Settings
from redistill.configuration.source import Source
from redistill.database import existing, wait_until_migrated
from redistill.display.progress import ShowProgress
from redistill.several.lives import lives


def serve(sources: Sequence[Source], progress: ShowProgress, stop: Event) -> None:
    """Run the jobs of all monitors, in turn, until `stop` is set."""
    turns = Turns()

    def work(settings: Settings) -> None:
        with existing(settings) as engine:
            if wait_until_migrated(engine, settings.monitor.name, stop.is_set):
                worker = assembly.worker(settings, engine, progress, turns)
                worker.serve(assembly.job_transport(settings, engine), stop)

    found = lives(sources, stop)
    for life in found:
        life.prepare()
    threads = [life.start(work) for life in found]
    stop.wait()
    for thread in threads:
        thread.join()
