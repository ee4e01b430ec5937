"""Rules that can never fire, or always do: `doctor` says why, without a model and without a log."""

from pathlib import Path

import pytest

from redistill.checks.result import Level
from redistill.checks.rules import in_force
from redistill.configuration.settings import load

SMALLEST = """
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
[[rules]]
name = "low"
metric = "agreement"
below = 0.95
"""
LABELS = ("faq", "refund")


@pytest.mark.parametrize(
    ("keys", "sections", "found", "fix"),
    [
        (
            'metric = "serving_skew"\nabove = 0.01\naction = "alert"',
            "",
            "serving_skew is measured only where recorded answers are used",
            "set scores = 'recorded' in [student], or remove the rule",
        ),
        (
            'metric = "input_drift"\nabove = 0.7\naction = "alert"',
            "[metrics]\ninput_sample = 0",
            "input_drift needs 20 texts, and input_sample = 0, sample_size = 10000",
            "raise them in [metrics] and [monitor], or remove the rule",
        ),
        (
            'metric = "input_drift"\nabove = 0.7\naction = "alert"',
            "[monitor]\nsample_size = 10\nmin_samples = 10",
            "input_drift needs 20 texts, and input_sample = 1000, sample_size = 10",
            "raise them in [metrics] and [monitor], or remove the rule",
        ),
        (
            'metric = "class_kl:faq"\nabove = 0.3',
            "[monitor]\nsample_size = 99\nmin_samples = 50",
            "a label needs 100 requests in the sample, and sample_size = 99",
            "raise sample_size in [monitor], or add a rule on all requests",
        ),
        (
            'any = [{ metric = "kl", above = 0.1 }, { metric = "class_agreement:Refund", below = 0.9 }]',
            "",
            "the label 'Refund' is unknown to the models",
            "write 'class_agreement:refund'",
        ),
        (
            'all = [{ metric = "agreement", below = 0.8 }, { metric = "agreement", above = 0.9 }]',
            "",
            "agreement below 0.8 and agreement above 0.9 never hold together",
            "name these conditions with 'any', or in rules of their own",
        ),
        (
            'all = [{ metric = "kl", above = 0.1 }, { metric = "kl", below = 0.1 }]',
            "",
            "kl below 0.1 and kl above 0.1 never hold together",
            "name these conditions with 'any', or in rules of their own",
        ),
    ],
)
def test_a_rule_that_can_never_fire_is_a_problem(
    keys: str, sections: str, found: str, fix: str, tmp_path: Path
) -> None:
    config = tmp_path / "redistill.toml"
    config.write_text(f'{SMALLEST}\n[[rules]]\nname = "r"\n{keys}\n{sections}\n')
    (said,) = (each for each in in_force(load(config), LABELS, ()) if each.check == "rule r")
    assert said.level is Level.PROBLEM
    assert found in said.found
    assert said.fix == fix


def test_bounds_that_a_value_can_meet_together_are_fine(tmp_path: Path) -> None:
    config = tmp_path / "redistill.toml"
    rule = 'name = "r"\nall = [{ metric = "agreement", below = 0.9 }, { metric = "agreement", above = 0.8 }]'
    config.write_text(f"{SMALLEST}\n[[rules]]\n{rule}\n")
    assert [each.level for each in in_force(load(config), LABELS, ())] == [Level.OK, Level.OK]
