"""The rules over a monitor's cycles, from one cycle's numbers to a verdict; pure."""

from triggers.rules.evaluation import evaluate

__all__ = ["evaluate"]
