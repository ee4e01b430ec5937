"""README.md shows the demo as docs/demo.json recorded it, in its text and in both pictures."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redistill.commands import COMMANDS
from redistill.demo.service import SHIFTS
from triggers.settings import DEFAULT_RULES

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO: dict[str, Any] = json.loads((ROOT / "docs" / "demo.json").read_text(encoding="utf-8"))
CYCLES: list[dict[str, Any]] = DEMO["cycles"]
PICTURES = re.findall(r'(?:src|srcset)="(docs/[\w.-]+)"', README)


def line(cycle: dict[str, Any]) -> str:
    """A cycle as the demo prints it."""
    usage = f"{cycle['new']:.0%} new" if cycle["new"] else "usual"
    agreement, kl = (
        f"{cycle[name]:.3f} [{cycle[f'{name}_low']:.3f}, {cycle[f'{name}_high']:.3f}]"
        for name in ("agreement", "kl")
    )
    return (
        f"hour {cycle['hour']:>2}  {usage:<8} agreement {agreement}  KL {kl}  {cycle['verdict']}  "
        f"student {cycle['student']}"
    )


def drawn(picture: str, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The (x, y) points of the line of that name."""
    svg = (ROOT / picture).read_text(encoding="utf-8")
    path = re.search(rf'<g id="{name}">\s*<path d="([^"]+)"', svg)
    assert path is not None, name
    return np.array([point.split() for point in re.findall(r"[ML] ([\d.]+ [\d.]+)", path[1])], dtype=float)


def test_the_hours_in_the_text_are_those_of_the_recorded_demo() -> None:
    assert re.findall(r"^hour .*$", README, re.MULTILINE) == [line(cycle) for cycle in CYCLES]


def test_the_recorded_demo_is_the_story_that_the_product_tells() -> None:
    (rule,) = [each for each in DEFAULT_RULES if each.name == DEMO["rule"]["name"]]
    assert (float(rule.threshold), rule.for_cycles) == (DEMO["rule"]["below"], DEMO["rule"]["for_cycles"])
    assert tuple(cycle["new"] for cycle in CYCLES) == SHIFTS


def test_there_is_a_picture_for_light_pages_and_one_for_dark_pages() -> None:
    assert sorted(PICTURES) == ["docs/demo-dark.svg", "docs/demo-light.svg"]


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_shows_the_recorded_numbers(picture: str) -> None:
    """Its lines lie where the numbers are, on one scale; and the numbers are written beside them."""
    places = {"agreement": drawn(picture, "agreement")[:, 1], "alarm": drawn(picture, "alarm")[:1, 1]}
    values = {
        "agreement": np.array([cycle["agreement"] for cycle in CYCLES]),
        "alarm": np.array([DEMO["rule"]["below"]]),
    }
    for cycle in CYCLES:
        name = f"interval-{cycle['hour']}"
        places[name] = drawn(picture, name)[:, 1]
        values[name] = np.array([cycle["agreement_low"], cycle["agreement_high"]])
    slope, start = np.polyfit(values["agreement"], places["agreement"], 1)
    for name, found in places.items():
        assert (found - start) / slope == pytest.approx(values[name], abs=1e-5), name
    written = re.findall(r"<!-- (0\.\d{3}) -->", (ROOT / picture).read_text(encoding="utf-8"))
    assert written[-len(CYCLES) :] == [f"{cycle['agreement']:.3f}" for cycle in CYCLES]


def test_every_command_that_it_names_exists() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z0-9-]+)`|^    make ([a-z0-9-]+)", README, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }
    assert set(re.findall(r"(?:`|^    )redistill ([a-z]+)", README, re.MULTILINE)) <= set(COMMANDS)
