"""deploy/README.md against the template, compose.yaml and the files of the folder."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from tests.support.deployment.stack import ROOT, template

FOLDER = ROOT / "deploy"
#: The files that are part of another one, or are described elsewhere in the document.
HELPERS = {"README.md", "__pycache__", "ca", "compile_used.py", "probe.py", "stack.py", "stack.svg"}
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, tuple[str, ...]]:
    """The rows of the first table after a heading, by their first cell."""
    table = TEXT.partition(heading)[2].partition("\n\n| ")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()[2:]]
    return {name.strip("`"): tuple(rest) for name, *rest in cells}


def test_the_parameters_are_those_of_the_template() -> None:
    expected = {}
    for name, parameter in template()["Parameters"].items():
        default = parameter.get("Default")
        shown = "required" if default is None else f"`{default}`" if default != "" else "none"
        expected[name] = (shown, parameter["Description"].rstrip("."))
    assert rows("### Parameters") == expected


def test_the_variables_are_those_of_compose() -> None:
    found = re.findall(r"\$\{(\w+):([-?])([^}]*)\}", (FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    expected = {name: f"`{value}`" if kind == "-" else "required" for name, kind, value in found}
    assert {name: cells[0] for name, cells in rows("## One machine").items()} == expected


def test_the_build_arguments_are_those_of_the_dockerfile() -> None:
    named = re.findall(r"^ARG (\w+)", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    listed = re.findall(r"`(\w+)`", " ".join(rows("take the same arguments")))
    assert set(named) == {*listed, *re.findall(r"[A-Z_]{3,}", " ".join(rows("take the same arguments")))}


def test_the_alarms_are_those_of_the_template() -> None:
    kinds = {"AWS::CloudWatch::Alarm", "AWS::Events::Rule"}
    watching = {name for name, each in template()["Resources"].items() if each["Type"] in kinds}
    assert set(rows("### Alarms without the daemon")) == watching


def test_the_files_that_it_names_are_there() -> None:
    names = re.findall(r"[\w.]+", " ".join(name for name in rows("](stack.svg)")))
    assert len(names) == len({path.name for path in FOLDER.iterdir()} - HELPERS)
    assert all((FOLDER / name).exists() for name in names)


def test_the_picture_is_readable_in_light_and_dark() -> None:
    picture = FOLDER / "stack.svg"
    root = ET.parse(picture).getroot()  # noqa: S314 - a file of this repository
    assert root.tag.endswith("svg")
    text = picture.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    for part in ("daemon", "worker", "database", "samples", "model versions", "alarms"):
        assert f">{part}</text>" in text, part


def test_up_and_down_may_be_run() -> None:
    for name in ("up", "down"):
        assert Path(FOLDER / name).stat().st_mode & 0o111
