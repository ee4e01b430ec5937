"""What is in the image, and what is not."""

import json
import re
from pathlib import Path

from tests.support.deployment.containers import TAG, compressed_bytes, in_container, inspect
from tests.support.processes.product import ROOT

SITE = "/opt/redistill/lib/python3.11/site-packages"


def test_the_image_is_small(tmp_path: Path) -> None:
    size, compressed = int(inspect(TAG, "{{.Size}}")), compressed_bytes(tmp_path / "image")
    print(f"image: {size / 1e6:,.0f} MB, {compressed / 1e6:,.0f} MB compressed")
    assert size <= 1.4e9
    assert compressed <= 450e6


def test_nothing_in_it_installs_or_compiles() -> None:
    packages = "find / -xdev -type d \\( -name pip -o -name setuptools -o -name ensurepip \\) -print"
    commands = "command -v pip gcc cc ld git curl wget"
    wheels = "find / -xdev -name '*.whl' -print"
    assert in_container("sh", "-c", f"{packages} 2>/dev/null; {wheels} 2>/dev/null; {commands}; true") == ""


def test_the_packages_are_those_of_the_lock_and_of_the_bill_of_materials() -> None:
    lock = (ROOT / "deploy" / "locks" / "cpu.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", lock, re.MULTILINE))
    listed = json.loads(in_container("cat", "/opt/redistill/sbom.json"))["components"]
    found = {each["name"].lower().replace("_", "-").replace(".", "-"): each["version"] for each in listed}
    assert found.pop("redistill")
    assert found == {name.replace(".", "-"): version for name, version in locked.items()}


def test_it_has_the_bytecode_of_the_modules_that_are_used_only() -> None:
    count = f"find {SITE} -name '*.py' | wc -l; find {SITE} -name '*.pyc' | wc -l"
    sources, compiled = map(int, in_container("sh", "-c", count).split())
    print(f"bytecode: {compiled} of {sources} modules")
    assert sources / 5 < compiled < sources / 2
    code = "import redistill.assembly, sys; print(sys.modules['torch'].__cached__)"
    assert in_container("python", "-c", code).strip().endswith(".cpython-311.pyc")


def test_its_user_is_not_root_and_may_write_to_the_volumes_only() -> None:
    assert in_container("id", "-u").strip() == "10001"
    assert in_container("sh", "-c", "touch /data/a /tmp/a && echo written").strip() == "written"
    refused = in_container("sh", "-c", "touch /a /opt/redistill/a /etc/redistill/a 2>&1 || true")
    assert refused.count("Read-only file system") == 3
    assert in_container("sh", "-c", "grep CapEff /proc/self/status").split()[1].strip("0") == ""


def test_a_signal_reaches_the_process_in_it() -> None:
    assert inspect(TAG, "{{json .Config.Entrypoint}}") == '["/usr/bin/tini","-s","--"]'
    assert inspect(TAG, "{{.Config.User}}") == "10001:10001"


def test_it_has_no_secret_and_no_other_part_of_the_repository() -> None:
    found = in_container("sh", "-c", f"ls {SITE} | grep -E '^(tests|bench|examples|docs|deploy)$' || true")
    assert found == ""
    assert in_container("sh", "-c", "ls -a /src /locks /tools 2>/dev/null || true") == ""
