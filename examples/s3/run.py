"""The demo's traffic in a bucket, as Firehose and as SageMaker write it: the same numbers as from files.

A local S3 server stands in for AWS. Each hour of the demo's log is there three times: as the original file,
as Firehose objects (JSON without line feeds, gzip, under the hour in which they arrive, up to 15 min late)
and as captured calls of an endpoint (inputs as JSON, CSV and BASE64). `redistill cycle` reads each.

    make example-s3
"""

import argparse
import base64
import gzip
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3
from moto.server import ThreadedMotoServer
from rich.console import Console
from rich.table import Table

_BUCKET: Final = "mangaassist-requests"
_OBJECT_MINUTES: Final = 15  #: minutes of traffic per object
_CONFIGURATION: Final = """\
[monitor]
name = "{name}"
every = "1h"
lateness = "0s"
catch_up = "8760h"
sample_size = 1500

[traffic]
{traffic}

[teacher]
uri = {teacher}

[student]
uri = {student}

[scoring]
threads = 1

[[rules]]
name = "low-agreement"
metric = "agreement"
below = 0.95
for_cycles = 3
action = "alert"
"""
_TRAFFIC: Final = {
    "files": "uri = {log}",
    "firehose": f'kind = "s3"\nuri = "s3://{_BUCKET}/firehose"',
    "capture": f'kind = "s3"\nuri = "s3://{_BUCKET}/capture/router/AllTraffic"\nformat = "sagemaker-capture"',
}
_COMPARED: Final = ("n_seen", "n_sampled", "agreement", "agreement_low", "agreement_high", "kl", "js")

Record = dict[str, Any]


def hours(log: Path) -> Iterator[tuple[datetime, list[Record]]]:
    """Yield the start of each hour with its requests."""
    for path in sorted(log.glob("*.jsonl.gz")):
        start = datetime.strptime(path.name.partition(".")[0], "%Y%m%dT%H%M").replace(tzinfo=UTC)
        yield start, [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def objects(start: datetime, requests: list[Record]) -> Iterator[tuple[datetime, list[Record]]]:
    """Yield the time at which each object is written, with the requests of the quarter of an hour before."""
    length = timedelta(minutes=_OBJECT_MINUTES)
    for begin in (start + part * length for part in range(60 // _OBJECT_MINUTES)):
        end = begin + length
        part = [each for each in requests if begin.timestamp() <= each["time"] < end.timestamp()]
        yield end, part


def firehose(requests: list[Record]) -> bytes:
    """Return an object without delimiters between records, the default of a delivery stream."""
    return gzip.compress("".join(map(json.dumps, requests)).encode())


def capture(requests: list[Record]) -> bytes:
    """Return an object with one call per line, without the endpoint's answers."""
    return "".join(json.dumps(_call(number, each)) + "\n" for number, each in enumerate(requests)).encode()


def _call(number: int, request: Record) -> Record:
    quoted = '"' + request["text"].replace('"', '""') + '"'
    as_json = json.dumps({"inputs": request["text"]})
    content_type, data, encoding = (
        ("application/json", as_json, "JSON"),
        ("text/csv", quoted, "CSV"),
        ("application/json", base64.b64encode(as_json.encode()).decode(), "BASE64"),
    )[number % 3]
    return {
        "captureData": {
            "endpointInput": {
                "observedContentType": content_type,
                "mode": "INPUT",
                "data": data,
                "encoding": encoding,
            }
        },
        "eventMetadata": {
            "eventId": f"event-{number}",
            "inferenceId": request["id"],
            "inferenceTime": datetime.fromtimestamp(request["time"], UTC).isoformat(),
        },
        "eventVersion": "0",
    }


def fill(client: Any, log: Path) -> list[datetime]:  # noqa: ANN401 - boto3 creates its classes at run time
    """Write the whole log in both formats, and return the starts of its hours."""
    client.create_bucket(Bucket=_BUCKET)
    starts = []
    for start, requests in hours(log):
        starts.append(start)
        for arrival, part in objects(start, requests):
            stamp = f"{arrival:%Y-%m-%d-%H-%M}"
            key = f"firehose/{arrival:%Y/%m/%d/%H}/requests-1-{stamp}.gz"
            client.put_object(Bucket=_BUCKET, Key=key, Body=firehose(part))
            hour = arrival - timedelta(minutes=_OBJECT_MINUTES)
            key = f"capture/router/AllTraffic/{hour:%Y/%m/%d/%H}/{stamp}.jsonl"
            client.put_object(Bucket=_BUCKET, Key=key, Body=capture(part))
    return starts


def configure(folder: Path, demo: Path) -> dict[str, Path]:
    """Write a configuration for each source, each with a database of its own."""
    configs = {}
    for name, traffic in _TRAFFIC.items():
        configs[name] = folder / name / "redistill.toml"
        configs[name].parent.mkdir(parents=True)
        configs[name].write_text(
            _CONFIGURATION.format(
                name=name,
                traffic=traffic.format(log=json.dumps(str(demo / "traffic"))),
                teacher=json.dumps(str(demo / "models/teacher")),
                student=json.dumps(str(demo / "models/student")),
            )
        )
        redistill(configs[name], "db", "upgrade")
    return configs


def redistill(config: Path, *arguments: str) -> str:
    """Run a command and return its output; a failure ends the example."""
    command = [sys.executable, "-m", "redistill", "--config", str(config), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def cycles(config: Path, first: datetime, end: datetime) -> list[Record]:
    """Run all windows from `first` to `end` and return their `--json` output."""
    found: list[Record] = json.loads(
        redistill(config, "cycle", "--backfill", first.isoformat(), end.isoformat(), "--json")
    )
    return found


def show(found: Mapping[str, list[Record]]) -> bool:
    """Print one line per hour, and return whether all numbers of the three sources are equal."""
    table = Table(title="The demo's first student on the same traffic from three sources")
    for heading in ("window end (UTC)", "requests", *(f"{name}: agreement, KL" for name in found), ""):
        table.add_column(heading)
    alike = True
    for same_hour in zip(*found.values(), strict=True):
        numbers = [[cycle[name] for name in _COMPARED] for cycle in same_hour]
        is_same = all(each == numbers[0] for each in numbers)
        alike &= is_same
        shown = (f"{cycle['agreement']:.4f}, {cycle['kl']:.4f}" for cycle in same_hour)
        first = same_hour[0]
        table.add_row(first["window_end"], str(first["n_seen"]), *shown, "same" if is_same else "DIFFERENT")
    Console(width=130).print(table)
    return alike


def main() -> None:
    """Run the example; exit 1 if a number differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--demo", type=Path, default=Path("demo"), help="the folder of `redistill demo` (%(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/s3"), help="a folder, which is replaced (%(default)s)"
    )
    wanted = parser.parse_args()
    if not (wanted.demo / "models/student").is_dir():
        sys.exit(f"{wanted.demo} is not a finished demo: run `redistill demo` first")
    shutil.rmtree(wanted.out, ignore_errors=True)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "example",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    client = boto3.client("s3")
    starts = fill(client, wanted.demo / "traffic")
    configs = configure(wanted.out.absolute(), wanted.demo.absolute())
    hour = timedelta(hours=1)
    found = {name: cycles(config, starts[0], starts[-1]) for name, config in configs.items()}
    late = f"firehose/{starts[-2]:%Y/%m/%d/%H}/requests-1-late.gz"
    client.put_object(Bucket=_BUCKET, Key=late, Body=firehose([]))
    for name, config in configs.items():
        found[name] += cycles(config, starts[-1], starts[-1] + hour)
    server.stop()
    alike = show(found)
    print(f"An object that arrived after its window was read: {late}")
    print("The next cycle counts it as rejected:", *late_objects(wanted.out / "firehose/redistill.db"))
    sys.exit(0 if alike else 1)


def late_objects(database: Path) -> list[tuple[object, ...]]:
    """Return cycle, reason, number and name of the objects that came too late."""
    with sqlite3.connect(database) as connection:
        query = "SELECT cycle_id, reason, n, example_object FROM reject_history WHERE reason = 'late_object'"
        return connection.execute(query).fetchall()


if __name__ == "__main__":
    main()
