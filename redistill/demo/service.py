"""The simulated service: its request logs, and the configuration of its monitor."""

import gzip
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from db.records import Slot
from redistill.demo.utterances import generate

#: Requests in an hour.
REQUESTS: Final = 2_000

#: Share of shifted requests by hour: three usual hours, a growing shift, and a lasting one.
SHIFTS: Final = (0.0, 0.0, 0.0, 0.10, 0.22, 0.26, 0.30, 0.30, 0.30, 0.30)

CONFIGURATION: Final = """\
# Written by `redistill demo`. A simulated MangaAssist: an intent router of 10 intents.
[monitor]
name = "mangaassist"
every = "1h"
lateness = "0s"
catch_up = "7d"
sample_size = 1500
min_samples = 1000
archive = "archive"

[traffic]
uri = "traffic"

[teacher]
uri = "models/teacher"

[student]
uri = "models/student"

[metrics]
rare_labels = ["escalation", "checkout_help", "promotion", "return_request"]

[[metrics.misroutes]]
true = "escalation"
critical = true

[[metrics.misroutes]]
true = "return_request"
critical = true

[scoring]
threads = 1

[redistill]
train = "data/train.jsonl"
validation = "data/validation.jsonl"
test = "data/test.jsonl"
registry = "registry"
epochs = {epochs}
batch_size = {batch_size}
learning_rate = {learning_rate}
seed = {seed}

# The rules and the gates are the defaults: agreement < 0.95 for 3 cycles, or KL > 0.15, orders a job.

[[alerts]]
kind = "log"
"""


def write_window(folder: Path, hour: int, slot: Slot, rng: np.random.Generator) -> None:
    """Write the requests of one hour, ordered by time, as a gzip file of JSON lines.

    The ids do not depend on the date, so that a seed always gives the same samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds = np.sort(rng.uniform(0, (slot.window_end - slot.window_start).total_seconds(), REQUESTS))
    start = slot.window_start.timestamp()
    requests = generate(REQUESTS, shift=SHIFTS[hour], rng=rng)
    lines = [
        orjson.dumps({"id": f"{hour}-{number:05}", "time": round(start + second, 3), "text": request.text})
        for number, (request, second) in enumerate(zip(requests, seconds.tolist(), strict=True))
    ]
    path = folder / f"{slot.window_start:%Y%m%dT%H%M}.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n", mtime=0))
