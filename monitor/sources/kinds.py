"""The sources of the kinds of [traffic]."""

from collections.abc import Collection

from monitor.settings import FilesTraffic, S3Traffic, SqlTraffic, Traffic
from monitor.sources.objects import Consumed, ObjectsSource
from monitor.sources.port import TrafficSource
from monitor.sources.reading import ReadAll, read_all_here
from monitor.sources.rows import TableSource
from monitor.sources.stores.folder import Folder


def open_source(
    section: Traffic, labels: Collection[str], consumed: Consumed, read_all: ReadAll = read_all_here
) -> TrafficSource:
    """Return the source of a request log, without reading. `consumed`, `read_all`: see `ObjectsSource`."""
    match section:
        case FilesTraffic():
            return ObjectsSource(Folder(uri=section.uri), section, labels, read_all=read_all)
        case S3Traffic():
            from monitor.sources.stores.bucket import Bucket  # noqa: PLC0415 - boto3 takes long to load

            return ObjectsSource(Bucket(section), section, labels, consumed, read_all)
        case SqlTraffic():
            return TableSource(section, labels)
