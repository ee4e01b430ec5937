"""Files that people give: true labels, labelled rows, histories, and folders that `init` looks through."""

import gzip
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.errors import RedistillError
from distill.training.dataset import read_labelled
from distill.training.fields import TEXT_AND_LABEL
from monitor.labels.files import read_labels
from redistill.commands.inspect.replay_file import read_history
from redistill.configuration.discover import labelled_rows, rare_labels, scan
from redistill.configuration.traffic_profile import profile_traffic
from tests.fuzz.inputs import changed, edited, inputs

CSV = b'id,label\nr-1,Refund\n"r,2","Se""arch"\n'
JSON = b'{"id": "r-1", "label": "Refund"}\n{"id": 17, "label": "Search"}\n'
LABELLED = b'{"text": "where is it?", "label": "Refund"}\n{"text": "\xc3\xa9", "label": "Search"}\n'
CYCLE = {
    "window_end": "2026-11-24T11:00:00Z",
    "status": "evaluated",
    "teacher_version": "t",
    "student_version": "s",
    "n": 1000,
    "disagreements": 40,
    "agreement": 0.96,
    "kl": 0.1,
    "kl_values": [0.1, 0.2],
    "kl_t1": 0.2,
    "js": 0.01,
}
REQUEST = {"id": "r-1", "time": "2026-11-24T10:30:00Z", "text": "where is it?", "student_label": "Refund"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@inputs(15_000)
@given(content=changed([CSV, CSV.replace(b",", b";"), CSV.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + CSV]))
def test_labels_in_csv(folder: Path, content: bytes) -> None:
    check_labels(folder / "labels.csv", content)


@inputs(15_000)
@given(content=changed([JSON, gzip.compress(JSON, mtime=0), b"[" + JSON.replace(b"\n", b",") + b"{}]"]))
def test_labels_in_json_lines(folder: Path, content: bytes) -> None:
    check_labels(folder / "labels.jsonl", content)


def check_labels(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(RedistillError):
        for each in read_labels(path, id_name="id", label_name="label", progress=lambda _done, _size: None):
            str(each).encode()


@inputs(10_000)
@given(content=changed([LABELLED, gzip.compress(LABELLED, mtime=0)]))
def test_labelled_rows(folder: Path, content: bytes) -> None:
    path = folder / "train.jsonl"
    path.write_bytes(content)
    with suppress(RedistillError):
        assert all(text.strip() for text in read_labelled(path, ["Refund", "Search"]).texts)


@inputs(10_000)
@given(cycles=st.lists(edited([CYCLE]), min_size=1, max_size=2))
def test_values_of_histories(folder: Path, cycles: list[object]) -> None:
    check_history(folder / "history.jsonl", b"".join(json.dumps(each).encode() + b"\n" for each in cycles))


@inputs(6_000)
@given(content=changed([json.dumps(CYCLE).encode() + b"\n"]))
def test_damaged_histories(folder: Path, content: bytes) -> None:
    check_history(folder / "history.jsonl", content)


def check_history(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with suppress(RedistillError):
        read_history(path)


@inputs(6_000)
@given(
    logged=st.lists(edited([REQUEST]), max_size=3).map(
        lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    )
    | changed([json.dumps(REQUEST).encode() + b"\n", CSV, JSON]),
    labelled=changed([LABELLED]),
    config=changed([b'{"id2label": {"0": "Refund", "1": "Search"}}']),
)
def test_folders_that_init_looks_through(
    tmp_path_factory: pytest.TempPathFactory, logged: bytes, labelled: bytes, config: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "scanned"
    for name, content in {
        "logs/1.jsonl": logged,
        "data/train.jsonl": labelled,
        "models/student/config.json": config,
        "models/student/model.safetensors": b"x",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    found = scan(root)
    teacher, _ = found.teacher_and_student()
    with suppress(RedistillError):
        profile_traffic(root / "logs", teacher.labels if teacher else ())
    for path in found.labelled:
        rare_labels(row.get("label") for row in labelled_rows(path, TEXT_AND_LABEL))
