"""Each deliberate break still fits the product, and its tests are there."""

from pathlib import Path

import pytest

from tests.mutations.breaks import BREAKS, Break

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("change", BREAKS, ids=lambda change: f"{change.file}: {change.old[:40]}")
def test_a_break_fits(change: Break) -> None:
    assert (ROOT / change.file).read_text(encoding="utf-8").count(change.old) == 1
    assert (ROOT / change.tests).exists()
