"""What `doctor` says of a test set that has the texts of frequent requests."""

import json
from pathlib import Path

import pytest

from monitor.sources.port import WindowSample
from redistill.checks.data import NewestSample, fenced
from redistill.checks.result import CheckResult
from redistill.configuration.settings import load
from tests.support.records.factories import make_traffic
from tests.support.records.samples import make_sample

CONFIG = """
[monitor]
name = "prod"
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


def warnings(folder: Path, tested: list[str]) -> list[CheckResult]:
    """Of a window of 100 requests, `où? ☕ 0` to `où? ☕ 99`."""
    (folder / "redistill.toml").write_text(CONFIG)
    rows = [json.dumps({"text": text, "label": "faq"}) for text in tested]
    (folder / "test.jsonl").write_text("\n".join(rows))
    sample = make_sample(100)
    window = WindowSample(
        requests=sample.requests,
        of_strata=(0,) * 100,
        traffic=make_traffic(n_sampled=100),
    )
    return list(fenced(load(folder / "redistill.toml"), ("faq", "promotion"), NewestSample([window])))


@pytest.mark.parametrize(("n", "is_told"), [(0, False), (20, False), (21, True)])
def test_a_window_of_which_more_than_a_fifth_is_in_the_test_set_is_told(
    tmp_path: Path,
    n: int,
    is_told: bool,  # noqa: FBT001
) -> None:
    found = warnings(tmp_path, ["another text", *(f"OÙ?  ☕ {number}" for number in range(n))])
    assert [each.check for each in found] == ["fence"] * is_told
    if is_told:
        assert found[0].found.startswith("the texts of 21% of the window's requests are in the test set")


def test_without_a_sample_nothing_is_told(tmp_path: Path) -> None:
    warnings(tmp_path, ["a text"])
    assert list(fenced(load(tmp_path / "redistill.toml"), ("faq", "promotion"), NewestSample())) == []
