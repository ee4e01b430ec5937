"""docs/design-numbers.md names each test of its numbers, and the defaults that the settings have."""

import re
from pathlib import Path

from distill.settings import GatesSection, RedistillSection
from monitor.settings import MetricsSection, MonitorSection
from redistill.demo.utterances import MIX
from redistill.economics.settings import EconomicsSection
from triggers.calibration_settings import CalibrationPolicy
from triggers.settings import DEFAULT_RULES

ROOT = Path(__file__).parents[3]
DOC = (ROOT / "docs" / "design-numbers.md").read_text(encoding="utf-8")
SECTIONS = {
    "monitor": MonitorSection(),
    "metrics": MetricsSection(),
    "redistill": RedistillSection(),
    "calibration": CalibrationPolicy(),
    "gates": GatesSection(),
    "economics": EconomicsSection(),
    **{f"rules.{rule.name}": rule for rule in DEFAULT_RULES},
}
DEFAULTS = re.findall(r"^\| `(\S+)\.(\w+)` \| (.+?) \|", DOC, re.MULTILINE)


def test_every_row_names_its_test_and_every_test_has_its_row() -> None:
    rows = dict(re.findall(r"^\| (\d+) \|.*\| (`test_.+`) \|$", DOC, re.MULTILINE))
    assert list(rows) == [str(number) for number in range(1, 19)]
    named = {number: re.findall(r"`(test_row_(\d+)_\w+)`", cell) for number, cell in rows.items()}
    assert all(number == row for row, tests in named.items() for _, number in tests)
    source = (ROOT / "tests" / "unit" / "monitor" / "test_design_numbers.py").read_text(encoding="utf-8")
    assert [name for tests in named.values() for name, _ in tests] == re.findall(
        r"^def (test_\w+)", source, re.MULTILINE
    )


def test_a_default_is_what_the_settings_have() -> None:
    assert len(DEFAULTS) == 35
    for section, key, printed in DEFAULTS:
        value = getattr(SECTIONS[section], key)
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert shown == printed, f"{section}.{key}"


def test_the_demo_has_the_usual_mix_of_the_design() -> None:
    design = (
        "product_discovery 22%, recommendation 18%, product_question 15%, order_tracking 12%, faq 8%, "
        "return_request 7%, chitchat 6%, promotion 5%, checkout_help 4%, escalation 3%"
    )
    assert ", ".join(f"{label} {share:.0%}" for label, share in MIX.items()) == design
