"""A user's folder: two tiny models, a request log, labelled files; and the command line run in it."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytest
from typer.testing import CliRunner, Result

from redistill.cli import app
from tests.support.world.models import CORPUS, make_copy, make_model

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("order_tracking", "return_request", "recommendation", "escalation")
#: A window of the log, in the past of any clock, so that it is complete.
LOGGED = datetime(2026, 3, 2, 10, tzinfo=UTC)


def run(*arguments: str, width: int = 200) -> Result:
    """The command line in this process, with its output in pipes."""
    return CliRunner(env={"COLUMNS": str(width), "NO_COLOR": "1"}).invoke(
        app, arguments, prog_name="redistill"
    )


def start(*arguments: str, folder: Path, stdout: TextIO | int = subprocess.PIPE) -> "subprocess.Popen[str]":
    """The command line in a process of its own, with its output in pipes, or elsewhere."""
    return subprocess.Popen(
        [sys.executable, "-m", "redistill", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(result: Result) -> str:
    """The one line on the standard error of a command that failed as expected."""
    (line,) = result.stderr.splitlines()
    return line.removeprefix("redistill: ")


def findings() -> dict[str, dict[str, Any]]:
    """Return the results of `doctor --json`, by check."""
    return {each["check"]: each for each in json.loads(run("doctor", "--json").stdout)}


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Run in the folder, with its own configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("REDISTILL_CONFIG", "REDISTILL_TOML"):
            patch.delenv(name, raising=False)
        yield


def make_project(folder: Path, models: Path) -> Path:
    """A configured folder with a log and labelled files, and no database yet."""
    write_log(folder)
    write_labelled(folder / "train.jsonl", [f"{text} again" for text in CORPUS])
    write_labelled(folder / "test.jsonl", CORPUS)
    write_config(folder, models)
    return folder


def make_models(folder: Path) -> None:
    """A student that is the teacher with noise, at teacher/ and student/ in the folder."""
    teacher = make_model(folder / "teacher", LABELS, seed=1, layers=2)
    make_copy(teacher, folder / "student", noise=0.005)


def write_log(folder: Path, *, first: datetime = LOGGED, hours: int = 3, per_hour: int = 100) -> None:
    """An hourly log of gzip files below logs/ by date, with field names of its own."""
    for hour in range(hours):
        begin = first + timedelta(hours=hour)
        path = folder / f"logs/{begin:%Y/%m/%d/%H}.jsonl.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = (
            {
                "request_id": f"{begin:%H}-{number}",
                "timestamp": (begin + number * timedelta(hours=1) / per_hour).isoformat(),
                "utterance": f"{CORPUS[number % len(CORPUS)]} {number}",
            }
            for number in range(per_hour)
        )
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_labelled(path: Path, texts: Sequence[str]) -> None:
    """Each text with a label, in turn."""
    rows = [{"text": text, "label": LABELS[index % len(LABELS)]} for index, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_config(folder: Path, models: Path, more: str = "") -> Path:
    """A configuration of small windows for the log and the labelled files that are in the folder."""
    path = folder / "redistill.toml"
    path.write_text(
        f"""
[monitor]
name = "mangaassist"
every = "1h"
min_samples = 50
[traffic]
uri = "logs"
id = "request_id"
time = "timestamp"
text = "utterance"
[teacher]
uri = "{models}/teacher"
[student]
uri = "{models}/student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
[metrics]
resamples = 100
[scoring]
threads = 1
[web]
port = 0
{more}
""",
        encoding="utf-8",
    )
    return path
