"""The examples in the docstrings of the numeric core."""

import doctest
import importlib
import inspect
from types import ModuleType

import pytest

MODULES = [
    "monitor.divergence",
    "monitor.sampling",
    "monitor.intervals",
    "monitor.measure",
    "triggers.rules.evaluation",
    "triggers.rules.operating_characteristic",
    "triggers.rules.sequential",
    "triggers.wilson",
    "triggers.teacher.correctness",
    "triggers.teacher.label_evidence",
    "redistill.configuration.training_length",
    "distill.evaluation.churn",
    "distill.evaluation.comparison",
    "distill.evaluation.confusion",
    "distill.evaluation.gates",
    "distill.evaluation.label_metrics",
    "distill.evaluation.power",
    "distill.evaluation.relative_gates",
    "distill.evaluation.reliability",
    "distill.evaluation.temperature",
    "distill.losses",
    "distill.soft_labels",
    "redistill.configuration.period",
    "redistill.display.words.rule_words",
]
#: Modules with examples of some of their parts.
OTHERS = [
    "distill.calibration.rows",
    "distill.evaluation.paired",
    "redistill.commands.inspect.economics_tables",
    "redistill.economics.monitoring",
    "redistill.economics.month",
    "redistill.economics.outcomes",
]


def public_parts(module: ModuleType) -> list[str]:
    """Names of the functions and classes that a module defines for others and that compute."""
    return [
        name
        for name, part in vars(module).items()
        if getattr(part, "__module__", None) == module.__name__
        and (inspect.isfunction(part) or inspect.isclass(part))
        and not name.startswith("_")
        and not (inspect.isclass(part) and issubclass(part, Exception))
        and not hasattr(part, "__dataclass_fields__")
    ]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name: str) -> None:
    """Every public function and class has one."""
    module = importlib.import_module(name)
    examples = {found.name: found.examples for found in doctest.DocTestFinder().find(module)}
    for part in public_parts(module):
        assert examples[f"{name}.{part}"], f"{part} has no example"
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", OTHERS)
def test_other_examples_give_what_they_show(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
