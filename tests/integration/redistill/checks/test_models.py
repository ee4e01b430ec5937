"""What `redistill doctor` says about a pair of models."""

import shutil
from pathlib import Path

from monitor.scoring.models import load
from redistill.checks.data import labels
from redistill.checks.result import Level
from redistill.configuration import settings
from tests.support.world.models import make_copy, make_model

CONFIG = """
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
"""


def test_one_model_in_both_roles_is_a_warning(tmp_path: Path) -> None:
    """By content, so that a copy is found, too: it would agree with its teacher for ever."""
    config = tmp_path / "redistill.toml"
    config.write_text(CONFIG)
    configured = settings.load(config)
    teacher = load(make_model(tmp_path / "teacher", ("faq", "refund"), seed=1))
    copy = load(shutil.copytree(tmp_path / "teacher", tmp_path / "copy"))
    first, second = labels(configured, teacher, copy)
    assert (first.level, second.level) == (Level.WARNING, Level.OK)
    assert "teacher and student are the same model" in first.found
    other = load(make_copy(tmp_path / "teacher", tmp_path / "other", noise=0.1))
    assert [each.level for each in labels(configured, teacher, other)] == [Level.OK]
