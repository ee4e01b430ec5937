"""The loop with the configuration of `redistill init`, on intents that the student was not trained on.

Teacher and student have the names of sixteen intents. The student was distilled on ten of them; the share of
the other six grows from day to day to 60% of the requests. All steps use the command line, in a folder with
the files of a user: two models, a request log and labelled files.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pair
from corpus import Corpus, Utterances, write_labelled
from intents import read_intents
from pair import Distilling, LabelledFiles
from world import MONITOR, Day

from db.connection.session import connect
from db.errors import RedistillError
from db.records import Slot
from distill.training.schedule import Schedule
from redistill.configuration import settings
from redistill.display.progress import bars

#: The share of the six intents on each day.
SHARES: Final = (0.0, 0.0, 0.0, 0.15, 0.3, 0.45, 0.6, 0.6, 0.6)
#: The day of the third breached cycle; later days repeat no text of the days up to this one.
ORDERED: Final = 5
REQUESTS: Final = 1_500
_FIRST_DAY: Final = datetime(2026, 1, 5, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_FRESH: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A folder with models, labelled files and a request log, in which the product's commands run."""

    folder: Path

    def run(self, *arguments: str, may_fail: bool = False) -> str:
        """Run a command of the product as a user would, and return its output.

        Raises:
            CommandFailedError: the command exits with a code other than 0, and `may_fail` is not set.
        """
        ended = subprocess.run(  # noqa: S603 - the product's own command
            [sys.executable, "-m", "redistill", *arguments],
            cwd=self.folder,
            env={**os.environ, "REDISTILL__MONITOR__EVERY": "24h", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0 and not may_fail:
            raise CommandFailedError(command=" ".join(arguments), output=ended.stdout + ended.stderr)
        return ended.stdout


class CommandFailedError(RedistillError):
    """redistill {command} failed:
    {output}
    """


def models(corpus: Corpus, folder: Path, seed: int) -> tuple[Path, Path]:
    """Train teacher and student, or take them from the cache, and return their folders."""
    files = LabelledFiles(
        labels=corpus.labels,
        teacher=write_labelled(folder / "teacher.jsonl", corpus.teacher),
        train=write_labelled(folder / "train.jsonl", corpus.train),
        validation=write_labelled(folder / "validation.jsonl", corpus.validation),
        test=write_labelled(folder / "test.jsonl", corpus.test),
    )
    with bars() as show:
        teacher = pair.teacher(files, Schedule(epochs=12, batch_size=32, learning_rate=1e-4, seed=seed), show)
        student = pair.student(
            files,
            teacher,
            Schedule(epochs=12, batch_size=32, learning_rate=3e-4, seed=seed),
            Distilling(alpha=0.7, temperature=3.0),
            show,
        )
    return teacher, student


def install(folder: Path, corpus: Corpus, seed: int) -> Installation:
    """Create the folder of a user: models/, data/ and an empty logs/."""
    kept = folder.parent / "training"
    kept.mkdir(parents=True, exist_ok=True)
    teacher, student = models(corpus, kept, seed)
    shutil.copytree(teacher, folder / "models" / "teacher")
    shutil.copytree(student, folder / "models" / "student")
    for name in ("train", "validation", "test"):
        write_labelled(folder / "data" / f"{name}.jsonl", getattr(corpus, name))
    (folder / "logs").mkdir()
    return Installation(folder=folder)


def write_day(logs: Path, number: int, corpus: Corpus, rng: np.random.Generator, *, with_labels: bool) -> Day:
    """Write the request log of a day. Texts repeat within a day, as users ask the same questions."""
    share = SHARES[number]
    n_new = round(REQUESTS * share)
    is_fresh = number > ORDERED
    asked = [
        *_draw(corpus.usual, REQUESTS - n_new, is_fresh, rng),
        *_draw(corpus.new_topics, n_new, is_fresh, rng),
    ]
    start = _FIRST_DAY + number * _DAY
    seconds = np.sort(rng.uniform(0, _DAY.total_seconds(), REQUESTS)).tolist()
    with gzip.open(logs / f"{start:%Y-%m-%d}.jsonl.gz", "wt", encoding="utf-8") as file:
        for at, (second, index) in enumerate(zip(seconds, rng.permutation(REQUESTS).tolist(), strict=True)):
            time = start + timedelta(seconds=second)
            row = {"id": f"{start:%m-%d}-{at:05}", "time": time.isoformat(), "text": asked[index].text}
            file.write(json.dumps(row | ({"label": asked[index].label} if with_labels else {})) + "\n")
    slot = Slot(monitor=MONITOR, window_start=start, window_end=start + _DAY)
    return Day(slot=slot, share=share)


def _draw(texts: Utterances, n: int, is_fresh: bool, rng: np.random.Generator) -> Utterances:  # noqa: FBT001
    cut = round(len(texts) * (1 - _FRESH))
    part = texts[cut:] if is_fresh else texts[:cut]
    return tuple(part[index] for index in rng.integers(len(part), size=n).tolist())


def live(
    installed: Installation, corpus: Corpus, rng: np.random.Generator, *, with_labels: bool
) -> list[Day]:
    """Play all days: each with its log, its cycle and a turn of the worker."""
    logs = installed.folder / "logs"
    days = [write_day(logs, number, corpus, rng, with_labels=with_labels) for number in range(3)]
    print(installed.run("init", "."))
    installed.run("db", "upgrade")
    print(installed.run("doctor", may_fail=True))  # it fails because the log is not from today
    first, last = days[0].slot.window_start, days[-1].slot.window_end
    installed.run("cycle", "--backfill", first.isoformat(), last.isoformat())
    for number in range(3, len(SHARES)):
        days.append(write_day(logs, number, corpus, rng, with_labels=with_labels))
        installed.run("cycle", "--at", (days[-1].slot.window_start + _DAY / 2).isoformat())
        installed.run("worker", "--once")
    return days


def main() -> None:
    """Run the example with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of CLINC150's data_full.json and domains.json"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build", "new-intents"), help="a new folder (%(default)s)"
    )
    parser.add_argument("--without-labels", action="store_true", help="write a log without true labels")
    parser.add_argument("--seed", type=int, default=2025, help="the seed of all random choices (%(default)s)")
    wanted = parser.parse_args()
    try:
        _play(wanted.data, wanted.out, seed=wanted.seed, with_labels=not wanted.without_labels)
    except RedistillError as error:
        sys.exit(str(error))


def _play(data: Path, out: Path, *, seed: int, with_labels: bool) -> None:
    from tale import tell  # noqa: PLC0415 - --help needs no database

    rng = np.random.default_rng(seed)
    corpus = read_intents(data, rng)
    installed = install(out / MONITOR, corpus, seed)
    days = live(installed, corpus, rng, with_labels=with_labels)
    loaded = settings.load(installed.folder / "redistill.toml")
    engine = connect(loaded.database.url)
    tell("Intents that the student was never taught", out / "new-intents.svg", loaded, engine, days)
    engine.dispose()
    print(installed.run("status"))


if __name__ == "__main__":
    main()
