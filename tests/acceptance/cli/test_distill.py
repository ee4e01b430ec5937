"""The first student: from labelled rows to a watched pair, in three commands and without code."""

import gzip
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer, BertForSequenceClassification
from typer.testing import Result

from redistill.configuration.settings import load
from tests.support.world.models import save
from tests.support.world.project import run, said
from tests.support.world.tiny_world import World, utterances

HOUR = datetime(2026, 3, 2, 10, tzinfo=UTC)
SHORT = ("--batch-size", "64", "--learning-rate", "6e-3", "--threads", "1")


@pytest.fixture
def service(empty: Path, world: World) -> Path:
    """A folder with an encoder without a head, labelled files in CSV, and a request log of an hour."""
    encoder = BertForSequenceClassification.from_pretrained(world.student).bert
    save(encoder, AutoTokenizer.from_pretrained(world.student), empty / "encoder")
    rows, tested = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (world.train, world.test)
    )
    as_csv(empty / "train.csv", rows[200:])
    as_csv(empty / "few.csv", rows[200:400])
    as_csv(empty / "validation.csv", rows[:200])
    as_csv(empty / "test.csv", tested[:200])
    write_log(empty / "logs", 1_100)
    return empty


def as_csv(path: Path, rows: Sequence[dict[str, str]]) -> None:
    lines = "".join(f"{row['text']},{row['label']}\n" for row in rows)
    path.write_text(f"text,label\n{lines}")


def write_log(folder: Path, n: int) -> None:
    folder.mkdir()
    asked = utterances(n, new=0.0, rng=np.random.default_rng(5))
    rows = (
        {"id": f"r-{number}", "time": (HOUR + number * timedelta(seconds=3)).isoformat(), "text": each.text}
        for number, each in enumerate(asked)
    )
    (folder / "day.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))


def distill(world: World, *more: str, train: str = "few.csv") -> Result:
    return run(
        *("distill", "--teacher", str(world.teacher), "--out", "registry", *SHORT),
        *("--train", train, "--validation", "validation.csv", "--test", "test.csv", *more),
    )


def made(registry: Path) -> Path:
    (version,) = (registry / "versions").iterdir()
    return version


def test_three_commands_make_a_watched_pair_from_labelled_data(service: Path, world: World) -> None:
    """`distill`, the `init` that it prints, and `db upgrade`; the first cycle then finds the pair healthy."""
    result = distill(world, "--init", "encoder", "--epochs", "8", train="train.csv")
    assert result.exit_code == 0, result.stderr
    student = made(service / "registry")
    *_, command = result.stdout.splitlines()
    assert command.split()[:2] == ["redistill", "init"]
    assert run(*command.split()[1:]).exit_code == 0
    assert run("db", "upgrade").exit_code == 0
    result = run("cycle", "--at", (HOUR + timedelta(minutes=5)).isoformat())
    assert result.exit_code == 0, result.stderr
    (cycle,) = json.loads(run("history", "--json").stdout)
    assert (cycle["verdict"], cycle["student_version"]) == ("healthy", student.name)
    assert cycle["agreement"] > 0.95
    written = load(service / "redistill.toml")
    assert written.student.uri == student
    assert written.redistill.validation == service / "validation.csv"


def test_the_version_has_a_manifest_and_the_same_command_makes_it_again(service: Path, world: World) -> None:
    first, again = (distill(world, "--init", "encoder", "--epochs", "1", "--json") for _ in range(2))
    told = json.loads(first.stdout)
    assert json.loads(again.stdout)["version"] == told["version"] == made(service / "registry").name
    manifest = json.loads((made(service / "registry") / "manifest.json").read_text())
    assert manifest["job_id"] is manifest["parents"]["incumbent"] is None
    assert manifest["parents"]["teacher"] == told["teacher_version"]
    assert manifest["seed"] == 2025
    assert {*manifest["data"]} == {"train", "validation", "test"}
    assert len(manifest["training"]["epochs"]) == 1
    assert [path.name for path in (service / "registry").iterdir() if path.name.startswith(".")] == []


def test_seeds_and_the_baseline_are_compared_side_by_side(service: Path, world: World) -> None:
    shown = distill(world, "--layers", "1", "--epochs", "1", "--seeds", "2", "--baseline").stdout
    (head,) = [line for line in shown.splitlines() if line.startswith("on the test rows")]
    compared = ("teacher", "student", "95% interval", "mean ± sd of 2", "baseline (alpha 0)", "95% interval")
    assert re.split(r"  +", head) == ["on the test rows", *compared, "mean ± sd of 2"]
    (accuracy,) = [line for line in shown.splitlines() if line.startswith("accuracy  ") and "±" in line]
    assert accuracy.count("±") == 2
    assert "the one of 2 seeds with the highest accuracy on the validation rows" in shown
    assert "agreement" in shown.partition("gate ")[2]
    kept = made(service / "registry")  # only the kept student is registered
    assert json.loads((kept / "manifest.json").read_bytes())["soft_labels"] == "offline"


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        ((), 2, "has no start: give --init DIR, or --layers N"),
        (("--layers", "1", "--alpha", "1.5"), 2, "'1.5' is not an alpha"),
        (("--layers", "9"), 2, "of 9 layers of .*: it has 1; choose 1 to 1"),
        (("--init", "logs"), 1, "The model logs cannot be used"),
        (("--layers", "1", "--train", "test.csv"), 1, "test.csv overlaps the train set test.csv"),
        (
            ("--layers", "1", "--validation", "test.csv"),
            1,
            "overlaps the validation set test.csv: .* line 2 of",
        ),
        (("--layers", "1", "--validation", "no.csv"), 1, "no.csv cannot be read: No such file"),
        (("--layers", "1", "--text-field", "utterance"), 1, "no column 'utterance'"),
        (("--layers", "1", "--out", "train.csv"), 1, "train.csv"),
        (("--layers", "1", "--device", "cuda"), 2, "--device cuda cannot be used: .*, or use --device auto"),
    ],
)
def test_bad_input_is_named_before_anything_is_trained(
    world: World, options: tuple[str, ...], code: int, problem: str
) -> None:
    result = distill(world, *options)
    assert result.exit_code == code
    assert re.search(problem, said(result))
    assert not Path("registry", "versions").exists()
