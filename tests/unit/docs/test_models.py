"""docs/models.md against the code and the tests of models."""

import re
from pathlib import Path

from monitor.scoring.files import FINGERPRINTED
from tests.support.world.architectures import SIZES

TEXT = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_table_of_architectures_names_those_of_the_tests() -> None:
    rows = [line.split("|")[1] for line in section("Architectures").splitlines() if line.startswith("| `")][
        1:
    ]
    assert sorted(re.findall(r"`([^`]+)`", " ".join(rows))) == sorted(SIZES)


def test_the_files_of_a_version_are_those_of_the_fingerprint() -> None:
    named = re.findall(r"`([^`]+)`", section("Files of a version").partition(": the files")[0])
    assert named == [*FINGERPRINTED]
