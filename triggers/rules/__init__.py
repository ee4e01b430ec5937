"""Rules over a monitor's cycles, from one cycle's numbers to a verdict. All of it is pure."""

from triggers.rules.evaluation import evaluate

__all__ = ["evaluate"]
