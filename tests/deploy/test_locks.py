"""The lock files of the image: what pyproject.toml and constraints.txt ask for; CUDA in one of them only."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires
from typing import Final, cast

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.deployment.stack import ROOT

#: The image has Python 3.11 on Linux; torch says `setuptools`, which only its compiler uses.
PYTHON: Final = {
    "python_version": "3.11",
    "python_full_version": "3.11.2",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}
LEFT_OUT: Final = {"setuptools"}
#: A pin as pip wants it with --require-hashes.
HASHED: Final = re.compile(
    r"[a-z0-9.-]+==[\w.+!-]+( ; [^\\\n]+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\\n)?)+"
)
PINS: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def lock(name: str) -> str:
    return (ROOT / "deploy" / "locks" / f"{name}.txt").read_text(encoding="utf-8")


def pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PINS.findall(text)}


def is_cuda(name: str) -> bool:
    return name.startswith(("nvidia-", "cuda-")) or name == "triton"


@cache
def closure() -> dict[str, set[str]]:
    """The packages that `redistill[parquet]` needs on the image, with their specifiers."""
    found: dict[str, set[str]] = {}
    waiting = [("redistill", frozenset({"parquet"}))]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        for need in needs(name, extras):
            key = canonicalize_name(need.name)
            if key in LEFT_OUT or is_cuda(key):
                continue
            found.setdefault(key, set()).add(str(need.specifier))
            if (step := (key, frozenset(need.extras))) not in seen:
                seen.add(step)
                waiting.append(step)
    return found


def needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    base = cast("dict[str, str]", default_environment())
    for text in requires(name) or ():
        need = Requirement(text)
        environments = [{**base, **PYTHON, "extra": extra} for extra in (*extras, "")]
        if need.marker is None or any(need.marker.evaluate(each) for each in environments):
            yield need


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_lock_has_what_the_product_needs_and_nothing_else(name: str) -> None:
    found = {each for each in pins(lock(name)) if not is_cuda(each)}
    assert found == set(closure()), "run `make locks`"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_lock_has_the_versions_that_the_tests_run_with(name: str) -> None:
    constraints = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    locked = {
        each: Version(version).public for each, version in pins(lock(name)).items() if not is_cuda(each)
    }
    assert locked == {each: constraints[each] for each in locked}, "run `make locks`"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_versions_are_those_that_the_product_accepts(name: str) -> None:
    locked = pins(lock(name))
    for each, specifiers in closure().items():
        assert all(Requirement(f"{each}{one}").specifier.contains(locked[each]) for one in specifiers), each


def test_the_lock_for_cpus_has_no_cuda() -> None:
    assert [each for each in pins(lock("cpu")) if is_cuda(each)] == []
    assert pins(lock("cpu"))["torch"].endswith("+cpu")


def test_the_lock_for_gpus_has_cuda() -> None:
    found = pins(lock("cuda"))
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "triton"} <= set(found)
    assert "+" not in found["torch"]


@pytest.mark.parametrize("name", ["cpu", "cuda", "build"])
def test_each_pin_has_a_hash_and_no_index_is_named(name: str) -> None:
    for block in re.split(r"\n(?=\S)", lock(name).strip()):
        assert HASHED.fullmatch(block), block


def test_the_tools_of_the_build_are_the_ones_that_are_asked_for() -> None:
    wanted = (ROOT / "deploy" / "locks" / "build.in").read_text(encoding="utf-8")
    locked = pins(lock("build"))
    for line in wanted.splitlines():
        if not line.startswith("#"):
            need = Requirement(line)
            assert need.specifier.contains(locked[canonicalize_name(need.name)]), "run `make locks`"
