import hashlib
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from structlog.testing import capture_logs

from distill.training.checkpoint import CHECKPOINT_SCHEMA, Checkpoint, Checkpoints, folder, jobs
from monitor.storage.local_store import LocalStore
from tests.support.processes.file_faults import is_killed_at, largest_file

JOB = "3-1f0c93ab"
IDENTITY = {"job": "3", "seed": "2025"}
FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.listdir", "os.scandir"}
FIRST = Checkpoint(
    step=9,
    steps=30,
    epochs=0,
    tensors={
        "weight": torch.tensor([[0.1, -0.0], [float("nan"), 1e-42]]),
        "step": torch.tensor(9.0),
        "generator": torch.arange(5, dtype=torch.uint8),
    },
    log='{"epochs": [], "loss": 0.1}',
)
SECOND = replace(FIRST, step=12, epochs=1, tensors={**FIRST.tensors, "step": torch.tensor(12.0)})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / folder(JOB)


def make_checkpoints(home: Path, *, identity: dict[str, str] | None = None) -> Checkpoints:
    return Checkpoints(
        LocalStore(home.parent), JOB, identity=identity or IDENTITY, every_seconds=60, job_id=3
    )


def same(one: Checkpoint | None, other: Checkpoint) -> bool:
    """To the last bit."""
    return one is not None and (
        replace(one, tensors={}) == replace(other, tensors={})
        and one.tensors.keys() == other.tensors.keys()
        and all(
            one.tensors[name].dtype == tensor.dtype
            and one.tensors[name].shape == tensor.shape
            and one.tensors[name].numpy().tobytes() == tensor.numpy().tobytes()
            for name, tensor in other.tensors.items()
        )
    )


def reasons(home: Path) -> list[str]:
    """Why nothing in the folder is used."""
    with capture_logs() as said:
        assert make_checkpoints(home).load() is None
    assert {line["event"] for line in said} <= {"checkpoint not used"}
    return [line["reason"] for line in said]


def named(home: Path, content: bytes, *, step: int = 9) -> Path:
    """A file under the name that its bytes should have."""
    home.mkdir(exist_ok=True)
    path = home / f"{step:09}-{hashlib.sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    return path


def test_what_was_saved_is_found_by_another_process(home: Path) -> None:
    make_checkpoints(home).save(FIRST)
    with capture_logs() as said:
        assert same(make_checkpoints(home).load(), FIRST)
    assert [(line["event"], line["job_id"], line["step"], line["steps"]) for line in said] == [
        ("training resumed", 3, 9, 30)
    ]


def test_a_checkpoint_takes_the_place_of_the_last_and_of_what_killed_writers_left(home: Path) -> None:
    checkpoints = make_checkpoints(home)
    checkpoints.save(FIRST)
    (home.parent / f".tmp-{JOB}-checkpoint-left").write_bytes(b"half")
    with capture_logs() as said:
        checkpoints.save(SECOND)
    (path,) = home.iterdir()
    assert list(home.parent.iterdir()) == [home]
    assert [(line["event"], line["step"], line["n_bytes"]) for line in said] == [
        ("checkpoint written", 12, path.stat().st_size)
    ]
    assert same(make_checkpoints(home).load(), SECOND)


def test_a_worker_that_comes_late_does_not_take_away_what_another_has_brought_further(home: Path) -> None:
    make_checkpoints(home).save(SECOND)
    make_checkpoints(home).save(FIRST)
    assert same(make_checkpoints(home).load(), SECOND)


def test_without_a_folder_there_is_nothing_to_say(home: Path) -> None:
    assert reasons(home) == []


@pytest.mark.parametrize("damage", ["cut off", "empty", "one bit"])
def test_a_damaged_one_is_not_used_and_goes(home: Path, damage: str) -> None:
    make_checkpoints(home).save(FIRST)
    (path,) = home.iterdir()
    content = path.read_bytes()
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    path.write_bytes({"cut off": content[:-1], "empty": b"", "one bit": flipped}[damage])
    (reason,) = reasons(home)
    assert "SHA-256" in reason
    assert list(home.iterdir()) == []


def test_one_of_another_training_is_not_used_and_says_what_differs(home: Path) -> None:
    make_checkpoints(home, identity={"job": "3", "seed": "7", "threads": "2"}).save(FIRST)
    assert reasons(home) == ["it belongs to another training: seed, threads differ"]


@pytest.mark.parametrize(
    "metadata", [None, {}, {"training": "{}"}, {"training": "no JSON"}, {"format": "pt"}]
)
def test_a_model_or_other_tensors_under_such_a_name_are_not_used(
    home: Path, tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    save_file({"weight": torch.ones(2)}, tmp_path / "other", metadata=metadata)
    named(home, (tmp_path / "other").read_bytes())
    (reason,) = reasons(home)
    assert "not a checkpoint of a training" in reason


def test_a_file_that_would_run_code_is_not_even_opened_as_such(home: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "pickle")
    named(home, (tmp_path / "pickle").read_bytes())
    (reason,) = reasons(home)
    assert "not a safetensors file" in reason


def test_one_of_another_version_of_the_format_is_not_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("distill.training.checkpoint.CHECKPOINT_SCHEMA", "redistill.checkpoint/0")
        make_checkpoints(home).save(FIRST)
    assert reasons(home) == [f"its format is redistill.checkpoint/0: this version reads {CHECKPOINT_SCHEMA}"]


def test_behind_a_damaged_one_an_earlier_is_found(home: Path) -> None:
    make_checkpoints(home).save(FIRST)
    broken = named(home, b"whole, but nonsense", step=12)
    assert same(make_checkpoints(home).load(), FIRST)
    assert not broken.exists()


def test_one_that_cannot_be_read_now_stays(home: Path) -> None:
    """The disk may do better for the next worker."""
    path = home / f"{9:09}-{'0' * 64}.safetensors"
    path.mkdir(parents=True)
    (reason,) = reasons(home)
    assert "directory" in reason
    assert path.exists()


def test_a_full_disk_is_told_and_leaves_the_last_one(home: Path) -> None:
    checkpoints = make_checkpoints(home)
    checkpoints.save(FIRST)
    with largest_file(100), capture_logs() as said:
        checkpoints.save(SECOND)
    assert [(line["event"], line["log_level"], line["step"]) for line in said] == [
        ("checkpoint not written", "warning", 12)
    ]
    assert len(list(home.iterdir())) == 1
    assert same(make_checkpoints(home).load(), FIRST)


def test_a_registry_that_takes_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("a file")
    with capture_logs() as said:
        make_checkpoints(tmp_path / "registry" / folder(JOB)).save(FIRST)
    assert [line["event"] for line in said] == ["checkpoint not written"]


def test_killed_at_any_file_operation_there_is_the_last_one_or_the_new_one(tmp_path: Path) -> None:
    """One child is killed before its first file operation, one before its second, … until one ends."""
    found = set[int]()
    for operation in count():
        home = tmp_path / str(operation) / folder(JOB)
        make_checkpoints(home).save(FIRST)
        killed = is_killed_at(
            operation, FILE_EVENTS, home.parent, partial(make_checkpoints(home).save, SECOND)
        )
        kept = make_checkpoints(home).load()
        assert same(kept, FIRST) or same(kept, SECOND)
        assert kept is not None
        found.add(kept.step)
        make_checkpoints(home).save(SECOND)
        assert [path.name.partition("-")[0] for path in home.iterdir()] == ["000000012"]
        if not killed:
            break
    assert operation > 5
    assert found == {9, 12}


def test_saving_takes_at_most_a_fiftieth_of_the_time(home: Path) -> None:
    readings = iter(
        [
            *(0.0, 9.9, 10.0),  # 10 s after the beginning it is time
            *(10.0, 12.0, 109.9, 110.0),  # after 2 s of saving, 98 s later
            *(110.0, 110.1, 120.0, 120.1),  # after a tenth of a second, 10 s later
        ]
    )
    checkpoints = Checkpoints(
        LocalStore(home.parent),
        JOB,
        identity=IDENTITY,
        every_seconds=10,
        job_id=3,
        clock=lambda: next(readings),
    )
    assert [checkpoints.due(), checkpoints.due()] == [False, True]
    for checkpoint in (FIRST, SECOND):
        checkpoints.save(checkpoint)
        assert [checkpoints.due(), checkpoints.due()] == [False, True]


def test_the_jobs_with_checkpoints_in_a_registry_are_found(tmp_path: Path) -> None:
    for name in (".checkpoint-3", ".checkpoint-14-1f0c93ab", ".tmp-3-early", "versions"):
        (tmp_path / name).mkdir()
    assert jobs(LocalStore(tmp_path)) == ["14-1f0c93ab", "3"]


def test_a_training_of_an_earlier_version_resumes(home: Path) -> None:
    """It named the folder by the job's number alone, and the next checkpoint takes its place."""
    checkpoints = make_checkpoints(home)
    checkpoints.save(FIRST)
    earlier = home.rename(home.with_name(folder("3")))
    assert same(make_checkpoints(home).load(), FIRST)
    checkpoints.save(SECOND)
    assert same(make_checkpoints(home).load(), SECOND)
    assert list(earlier.iterdir()) == []
