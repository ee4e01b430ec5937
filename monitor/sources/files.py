"""A window's sample from a request log in files."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from db.records import Reject, RejectReason, Traffic
from monitor.sampling import BottomK
from monitor.settings import TrafficSection
from monitor.sources.lines import LineSplitter, LongLine
from monitor.sources.objects import BrokenObjectError, TrafficObject, list_objects, read_chunks
from monitor.sources.records import RecordParser, Refusal, Request
from monitor.sources.tally import ObjectTally, RejectCounts, Window
from monitor.stop import Stopped, StoppedError


@dataclass(frozen=True, kw_only=True)
class WindowSample:
    """The sampled requests of a window, in the order of their hashes, and what else was found in it."""

    requests: tuple[Request, ...]
    traffic: Traffic


@dataclass(frozen=True, kw_only=True)
class _Elsewhere:
    """An object that was read whole and has no time in the window that it was read for."""

    version: tuple[int, int, int]
    first_time: datetime
    last_time: datetime
    rejects: tuple[Reject, ...]

    def is_still_outside(self, window: Window) -> bool:
        return self.last_time < window.start or self.first_time >= window.end


class FilesSource:
    """All files of a folder, or one file, with a request a line.

    Every record of every file is looked at, since the time in a record alone says which window it
    belongs to. Files are remembered by inode, size and time of change: one that lay wholly before or
    after a window is not read again for a later one that it cannot touch, with the same result.

    Args:
        section: where the files lie, how the fields are named, and the key of the sample.
        labels: the models' label names (see `RecordParser`).
    """

    def __init__(self, section: TrafficSection, labels: Collection[str]) -> None:
        self._section = section
        self._parser = RecordParser(section, labels)
        self._elsewhere: dict[Path, _Elsewhere] = {}

    def read_window(
        self, window_start: datetime, window_end: datetime, *, k: int, stopped: Stopped
    ) -> WindowSample:
        """The k usable requests with the smallest keyed hashes among those of the window.

        The same for the same files, whatever was read before. An id that comes twice in the window
        counts once, with its earliest record. A broken file is a reject and stops nothing.

        Raises:
            TrafficMissingError: there is neither a file nor a folder.
            StoppedError: `stopped`, which is asked every 256 KiB, said so.
        """
        window = Window(start=window_start, end=window_end)
        bottom = BottomK[Request](k, self._section.key, tie_break=_tie_break)
        rejects = RejectCounts()
        for each in list_objects(self._section.uri):
            rejects.update(self._read_object(each, window, bottom, stopped))
        return _window_sample(bottom, rejects.in_order())

    def _read_object(
        self, each: TrafficObject, window: Window, bottom: BottomK[Request], stopped: Stopped
    ) -> tuple[Reject, ...]:
        known = self._elsewhere.get(each.path)
        if known and known.version == each.version and known.is_still_outside(window):
            return known.rejects
        tally = ObjectTally(window, each.name)
        intact = self._read_lines(each.path, tally, bottom, stopped)
        rejects = tally.finish(each.modified_at)
        if intact:
            self._remember(each, tally, rejects, window)
        return rejects

    def _read_lines(self, path: Path, tally: ObjectTally, bottom: BottomK[Request], stopped: Stopped) -> bool:
        """Whether the object could be read to its end."""
        lines = LineSplitter()
        try:
            for chunk in read_chunks(path):
                if stopped():
                    raise StoppedError
                self._take(lines.feed(chunk), tally, bottom)
        except BrokenObjectError as broken:
            tally.refuse(broken.reason, None, lines.tail_sha256)
            return False
        self._take(lines.finish(), tally, bottom)
        return True

    def _take(self, lines: Iterable[bytes | LongLine], tally: ObjectTally, bottom: BottomK[Request]) -> None:
        for line in lines:
            if isinstance(line, LongLine):
                tally.refuse(RejectReason.TEXT_TOO_LONG, None, line.sha256)
            elif line and not line.isspace():
                self._take_record(line, tally, bottom)

    def _take_record(self, line: bytes, tally: ObjectTally, bottom: BottomK[Request]) -> None:
        record = self._parser.parse(line)
        if isinstance(record, Refusal):
            tally.refuse(record.reason, record.time, sha256(line).hexdigest())
        elif tally.takes(record.time, line):
            bottom.offer(record.id, record)

    def _remember(
        self, each: TrafficObject, tally: ObjectTally, rejects: tuple[Reject, ...], window: Window
    ) -> None:
        if tally.first_time is None or tally.last_time is None:
            return
        found = _Elsewhere(
            version=each.version, first_time=tally.first_time, last_time=tally.last_time, rejects=rejects
        )
        if found.is_still_outside(window):
            self._elsewhere[each.path] = found


def _tie_break(request: Request) -> tuple[datetime, str, str, tuple[float, ...]]:
    return (request.time, request.text, request.student_label or "", request.student_logits or ())


def _window_sample(bottom: BottomK[Request], rejects: tuple[Reject, ...]) -> WindowSample:
    requests = bottom.items()
    traffic = Traffic(
        n_seen=bottom.distinct,
        n_sampled=len(requests),
        n_rejected=sum(each.n for each in rejects if each.reason is not RejectReason.OUTSIDE_WINDOW),
        rejects=rejects,
    )
    return WindowSample(requests=requests, traffic=traffic)
