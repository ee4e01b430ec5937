"""The device of cycles and jobs: what `doctor` says of it, and what a command does where it is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from monitor.scoring import device
from tests.support.world.project import run, said

REFUSED = "device = 'cuda' in [{}] cannot be used: "


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a machine that has one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def gpu_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the driver makes where there is a GPU."""
    file = tmp_path / "nvidia0"
    monkeypatch.setattr(device, "_GPU_FILE", file)
    return file


def found() -> list[dict[str, Any]]:
    return [each for each in json.loads(run("doctor", "--json").stdout) if each["check"] == "device"]


@pytest.mark.usefixtures("sound")
def test_doctor_says_where_cycles_and_jobs_run(monkeypatch: pytest.MonkeyPatch, gpu_file: Path) -> None:
    assert not gpu_file.exists()
    monkeypatch.setenv("REDISTILL__REDISTILL__PRECISION", "bfloat16")
    assert [(each["level"], each["found"]) for each in found()] == [
        ("ok", "cycles: cpu, float32"),
        ("ok", "jobs: cpu, bfloat16"),
    ]


@pytest.mark.usefixtures("sound")
def test_a_gpu_that_is_not_used_is_a_warning_with_the_cause(
    monkeypatch: pytest.MonkeyPatch, gpu_file: Path
) -> None:
    gpu_file.touch()
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setenv("REDISTILL__SCORING__DEVICE", "cpu")
    cycles, jobs = found()
    assert (cycles["level"], jobs["level"]) == ("warning", "warning")
    assert cycles["found"] == "cycles: cpu, float32, and the GPU of this machine is not used"
    assert cycles["fix"] == "set device = 'auto' in [scoring], unless that is intended"
    assert "is a build without CUDA; install a build with CUDA" in jobs["found"]


@pytest.mark.parametrize("section", ["scoring", "redistill"])
def test_a_gpu_that_is_missing_is_a_problem_and_the_other_checks_go_on(
    section: str, sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sound.is_dir()
    monkeypatch.setenv(f"REDISTILL__{section.upper()}__DEVICE", "cuda")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    checks = json.loads(result.stdout)
    (problem,) = [each for each in checks if not each["ok"]]
    assert problem["check"] == "device"
    assert problem["found"].startswith(REFUSED.format(section))
    assert {"teacher", "student", "traffic", "fence"} <= {each["check"] for each in checks}
    assert "gates" not in {each["check"] for each in checks}


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("section", "command"),
    [("scoring", "cycle"), ("redistill", "worker --once"), ("redistill", "evaluate --data test.jsonl")],
)
def test_a_command_without_its_gpu_ends_at_its_start(
    section: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"REDISTILL__{section.upper()}__DEVICE", "cuda")
    result = run(*command.split())
    assert result.exit_code == 1
    assert said(result).startswith(REFUSED.format(section))
