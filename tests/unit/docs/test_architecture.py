"""docs/architecture.md lists the pure modules that the import contracts hold, and all the invariants."""

import re
import tomllib
from collections import Counter
from pathlib import Path

from db.heartbeat import Heartbeat
from db.queue import MAX_ATTEMPTS
from distill import worker
from distill.calibration import lease
from monitor.archive import erasure
from monitor.daemon import slot_runner

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return DOC.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def contract(name: str) -> dict[str, list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (found,) = (each for each in contracts if each["name"].startswith(name))
    return found


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+\.[\w.]+)`", text))


def test_the_pure_modules_are_those_of_the_import_contract() -> None:
    listed, _, impure = section("What is pure").partition("\n\nSeven modules")
    held = contract("Pure packages")
    assert named(listed) == set(held["source_modules"])
    exceptions, _, _ = impure.partition("\n\n`distill.losses`")
    assert named(exceptions) == {each.partition(" -> ")[0] for each in held["ignore_imports"]}


def test_the_order_of_the_packages_is_that_of_the_import_contract() -> None:
    layers = contract("Imports go one way")["layers"]
    assert f"`{' > '.join(layers)}`" in section("The packages")


def test_no_folder_of_the_product_has_more_than_fourteen_files() -> None:
    packages = contract("Imports go one way")["layers"]
    files = Counter(path.parent for package in packages for path in (ROOT / package).rglob("*.py"))
    assert {folder: n for folder, n in files.items() if n > 14} == {}


def test_the_lengths_of_the_leases_are_those_of_the_code() -> None:
    text = " ".join(section("Leases and fencing").split())
    assert f"`monitor:NAME` for {slot_runner.LEASE_SECONDS:g} s" in text
    assert f"`job:ID` for {worker.LEASE_SECONDS:g} s" in text
    assert f"`calibration:NAME` for {lease.LEASE_SECONDS:g} s" in text
    assert f"`erasure:NAME` for {erasure.LEASE_SECONDS:g} s" in text
    assert "three times per length" in text
    assert "three times per" in (Heartbeat.__doc__ or "")


def test_the_attempts_at_a_job_are_those_of_the_code() -> None:
    assert MAX_ATTEMPTS == 5
    assert "started five times without ending is `failed` at the sixth" in " ".join(DOC.split())


def test_there_are_eight_invariants() -> None:
    assert re.findall(r"^\| (\d) \|", section("Invariants"), re.MULTILINE) == [*"12345678"]
