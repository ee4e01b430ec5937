"""The reader of the configured artifacts; it loads no torch."""

from monitor.storage.artifacts import Artifacts
from redistill.configuration.settings import Settings


def artifacts(settings: Settings) -> Artifacts:
    """Return the reader of models and labelled files, and the opener of the registry."""
    return Artifacts(cache=settings.s3.cache, encryption=settings.s3.encryption)
