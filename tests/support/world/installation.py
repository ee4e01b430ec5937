"""One installation of the product in a folder: traffic, configuration, and what it has written."""

import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from db.records import Slot
from monitor.daemon.schedule import make_trigger, slots_between
from monitor.storage.store import Store
from redistill.artifacts import artifacts
from redistill.configuration.settings import Settings, load
from tests.support.servers.receiver import SECRET
from tests.support.world.tiny_world import LABELS, NEW, Utterance, Words, World, utterances

MONITOR: Final = "mangaassist"
REQUESTS: Final = 300  #: usable ones in a window
SAMPLE: Final = 250
DRIFT: Final = 0.4  #: the share of new utterances in a drifted window
#: In the broken lines of each window; a rest of the text of a request, as far as anybody knows.
CANARY: Final = "canarytext"
#: For who interrupts a training; the usual one takes a second.
LONG_TRAINING: Final = {"epochs": 8, "batch_size": 32, "learning_rate": 3e-3}
_POOL: Final = 2_000
_SEED: Final = 7

_BROKEN: Final = (
    '{"id": "broken", "text": "' + CANARY + " is cut off",
    CANARY + " is no JSON",
)


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Windows of one length, one after the other; the traffic of the last `drifted` ones has drifted."""

    start: datetime
    every: timedelta
    healthy: int
    drifted: int

    @property
    def end(self) -> datetime:
        return self.start + (self.healthy + self.drifted) * self.every

    @property
    def drifts_at(self) -> datetime:
        return self.start + self.healthy * self.every


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - what these tests start lives by the clock


def hours(*, healthy: int, drifted: int, ago: int = 0) -> Timeline:
    """Windows of an hour, the last of which ended at the last full hour, or `ago` hours before it."""
    end = now().replace(minute=0, second=0, microsecond=0) - ago * timedelta(hours=1)
    start = end - (healthy + drifted) * timedelta(hours=1)
    return Timeline(start=start, every=timedelta(hours=1), healthy=healthy, drifted=drifted)


def seconds(every: int, *, past: int, healthy: int, drifted: int) -> Timeline:
    """Windows of some seconds: so many, all healthy, have ended, and the others are still to come."""
    length = timedelta(seconds=every)
    epoch = datetime(1970, 1, 5, tzinfo=UTC)
    start = epoch + (now() - epoch) // length * length - past * length
    return Timeline(start=start, every=length, healthy=past + healthy, drifted=drifted)


@dataclass(frozen=True, kw_only=True)
class Site:
    folder: Path
    timeline: Timeline

    @property
    def config(self) -> Path:
        return self.folder / "redistill.toml"

    @property
    def settings(self) -> Settings:
        return load(self.config)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All windows with traffic, oldest first."""
        section = self.settings.monitor
        return slots_between(make_trigger(section), section.name, self.timeline.start, self.timeline.end)

    @property
    def traffic(self) -> Path:
        return self.folder / "traffic"

    @property
    def truth(self) -> Path:
        """The true labels of the requests, a file for each window, to be imported."""
        return self.folder / "truth"

    @property
    def archive(self) -> Path:
        return self.folder / "archive" / MONITOR

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    @cached_property
    def store(self) -> Store:
        """The registry, wherever it is."""
        settings = self.settings
        return artifacts(settings).store(settings.redistill.registry)

    @property
    def served(self) -> str:
        """The name of the folder that serving code loads: a candidate's is its version."""
        return str(self.store.pointed("current")).rpartition("/")[2]

    @property
    def versions(self) -> list[str]:
        """The whole versions in the registry."""
        names = self.store.names("versions")
        return [name for name in names if "manifest.json" in self.store.names(f"versions/{name}")]

    def staged(self, job_id: int | str = "*") -> list[Path]:
        """The candidates that are not in the registry yet."""
        return list(self.store.staging.glob(f".tmp-{job_id}-*/"))

    @property
    def logs(self) -> Path:
        """What each process has said, a file each."""
        return self.folder / "logs"

    def events(self, event: str) -> list[dict[str, Any]]:
        """The log lines of all processes for one event; a half-written one of a killed one is passed over."""
        return [
            line
            for path in sorted(self.logs.glob("*.err"))
            for line in logged(path)
            if line["event"] == event
        ]


def logged(path: Path) -> Iterator[dict[str, Any]]:
    """The whole JSON lines of one process's log."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and "event" in row:
            yield row


def make_site(
    folder: Path,
    world: World,
    timeline: Timeline,
    *,
    url: str,
    new_words: Sequence[Words | None] | None = None,
    requests: int = REQUESTS,
    **sections: Any,  # noqa: ANN401 - a table, or a list of tables
) -> Site:
    """An installation with that traffic. `sections` are added to its configuration or its tables.

    `new_words` are those of each window; None: its traffic is the usual one. A window has so many `requests`.
    """
    site = Site(folder=folder, timeline=timeline)
    for path in (folder, site.traffic, site.truth, site.logs):
        path.mkdir(parents=True, exist_ok=True)
    _write_traffic(site, new_words or _as_told(timeline), requests)
    site.config.write_text(_toml(_document(world, timeline, url, sections)), encoding="utf-8")
    return site


def webhook(url: str, *, name: str = "pager") -> dict[str, Any]:
    """An [[alerts]] table for a receiver."""
    return {"kind": "webhook", "name": name, "url": url, "secret": SECRET}


def _document(
    world: World, timeline: Timeline, url: str, sections: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "monitor": {
            "name": MONITOR,
            "every": f"{timeline.every.total_seconds():.0f}s",
            "lateness": f"{_lateness(timeline).total_seconds():.0f}s",
            "catch_up": "72h",
            "sample_size": SAMPLE,
            "min_samples": 200,
        },
        "traffic": {"uri": "traffic"},
        "teacher": {"uri": str(world.teacher)},
        "student": {"uri": str(world.student)},
        "metrics": {"rare_labels": ["escalation"], "resamples": 1_000},
        "scoring": {"threads": 1},
        "redistill": {
            "train": str(world.train),
            "test": str(world.test),
            "epochs": 6,
            "batch_size": 64,
            "learning_rate": 6e-3,
        },
        "gates": {"latency_p95_ms": 10_000.0},  # it says more about the machine than about the student
        "database": {"url": url},
        "web": {"port": 0},
    }
    merged = {name: {**table, **sections.get(name, {})} for name, table in usual.items()}
    return {**merged, **{name: table for name, table in sections.items() if name not in usual}}


def _lateness(timeline: Timeline) -> timedelta:
    """So much that for half an hour no window falls due beyond those that have ended: it has no traffic."""
    if timeline.end > now():
        return timedelta(0)
    return max(timedelta(0), now() - timeline.end - timedelta(minutes=30))


def _toml(document: dict[str, Any]) -> str:
    lines = []
    for name, value in document.items():
        for table in value if isinstance(value, list) else [value]:
            lines.append(f"[[{name}]]" if isinstance(value, list) else f"[{name}]")
            lines += [f"{key} = {json.dumps(item)}" for key, item in table.items()]
    return "\n".join(lines) + "\n"


def _as_told(timeline: Timeline) -> list[Words | None]:
    return [None] * timeline.healthy + [NEW] * timeline.drifted


def drift(site: Site, *, since: datetime) -> None:
    """Let the traffic of all windows that begin later be a drifted one; nobody may have read them yet."""
    timeline = site.timeline
    rng = np.random.default_rng(_SEED)
    pool = utterances(_POOL, new=DRIFT, rng=rng)
    first = math.ceil((since - timeline.start) / timeline.every)
    for index in range(first, timeline.healthy + timeline.drifted):
        _write_window(site, index, pool, rng, REQUESTS)


def _write_traffic(site: Site, new_words: Sequence[Words | None], requests: int) -> None:
    rng = np.random.default_rng(_SEED)
    usual = utterances(_POOL, new=0.0, rng=rng)
    drifted = [
        (words, utterances(_POOL, new=DRIFT, rng=rng, new_words=words)) for words in _distinct(new_words)
    ]
    for index, words in enumerate(new_words):
        pool = next((pool for each, pool in drifted if each is words), usual)
        _write_window(site, index, pool, rng, requests)


def _write_window(
    site: Site, index: int, pool: Sequence[Utterance], rng: np.random.Generator, requests: int
) -> None:
    timeline = site.timeline
    chosen = [pool[number] for number in rng.choice(_POOL, size=requests, replace=False)]
    start = timeline.start + index * timeline.every
    lines = "".join(f"{line}\n" for line in _lines(chosen, index, start, timeline.every))
    path = site.traffic / f"{index:04}.jsonl.gz"
    draft = path.with_suffix(".tmp")  # which is no part of the log
    draft.write_bytes(gzip.compress(lines.encode(), mtime=0))
    draft.replace(path)
    truth = [{"id": f"r-{index}-{number}", "label": each.label} for number, each in enumerate(chosen)]
    (site.truth / f"{index:04}.jsonl").write_text("\n".join(map(json.dumps, truth)), encoding="utf-8")


def _distinct(new_words: Sequence[Words | None]) -> list[Words]:
    return list({id(words): words for words in new_words if words is not None}.values())


def _lines(chosen: list[Utterance], index: int, start: datetime, every: timedelta) -> Iterator[str]:
    """Requests in their order of time, one of them twice, and some lines that nobody can use."""
    for number, each in enumerate(chosen):
        time = start + every * number / len(chosen)
        recorded = LABELS[0] if number % 10 else each.label
        row = {
            "id": f"r-{index}-{number}",
            "time": time.isoformat(),
            "text": each.text,
            "student_label": recorded,
        }
        yield json.dumps(row)
        if number == 0:
            yield json.dumps(row)
            yield from _BROKEN
            yield json.dumps({**row, "id": "", "text": CANARY})
            yield json.dumps({**row, "id": "unsure", "student_label": CANARY})
