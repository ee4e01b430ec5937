"""The reader of the configured artifacts; it loads no torch."""

from monitor.storage.artifacts import Artifacts
from redistill.configuration.settings import Settings
from redistill.display.progress import ShowProgress, show_nothing


def artifacts(settings: Settings, show: ShowProgress = show_nothing) -> Artifacts:
    """Return the reader of models and files, and the opener of the registry; `show` gets downloads."""
    return Artifacts(cache=settings.s3.cache, encryption=settings.s3.encryption, show=show)
