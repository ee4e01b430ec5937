"""Tables and JSON on screens and in pipes."""

import io
import json
import math
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from redistill.display import show
from redistill.display.show import Column

COLUMNS = (
    Column(title="window"),
    Column(title="verdict"),
    Column(title="agreement", align="right", spare=1),
    Column(title="student", spare=2),
)
ROWS = [
    ["2026-11-24 10:00", "healthy", "0.9740", "0123456789ab"],
    ["2026-11-24 11:00", "breached", "0.93", "-"],
]


_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A screen that keeps what is written on it."""

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        """Without what makes letters bold or red."""
        return _STYLE.sub("", self.getvalue())


def shown_on(monkeypatch: pytest.MonkeyPatch, *, width: int) -> Terminal:
    """A screen of this width in the place of the standard output."""
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    return terminal


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (80, ["window", "verdict", "agreement", "student"]),
        (45, ["window", "verdict", "agreement"]),
        (30, ["window", "verdict"]),
    ],
)
def test_a_narrow_screen_loses_the_columns_that_can_be_spared(
    width: int, titles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = shown_on(monkeypatch, width=width)
    show.listing(COLUMNS, ROWS)
    lines = screen.text.splitlines()
    assert lines[0].split() == titles
    assert len(lines) == 3
    assert max(map(len, lines)) <= width


def test_numbers_stand_below_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = shown_on(monkeypatch, width=80)
    show.listing(COLUMNS, ROWS)
    _, first, second = screen.text.splitlines()
    assert first.index("0.9740") + len("0.9740") == second.index("0.93") + len("0.93")


def test_a_pipe_gets_whole_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    show.listing(COLUMNS, ROWS)
    show.facts([("model", "a long path " * 20)])
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_verdict_has_a_colour_on_a_terminal_and_none_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = shown_on(monkeypatch, width=80)
    show.say(show.verdict("breached"))
    assert "31m" not in screen.getvalue()
    monkeypatch.delenv("NO_COLOR")
    show.say(show.verdict("breached"))
    assert "31m" in screen.getvalue()
    assert screen.text == "breached\nbreached\n"


def test_json_has_numbers_for_decimals_null_for_nan_and_utc_times(capsys: pytest.CaptureFixture[str]) -> None:
    time = datetime(2026, 11, 24, 10, tzinfo=UTC)
    show.print_json({"alpha": Decimal("0.6"), "kl": math.nan, "at": time})
    assert json.loads(capsys.readouterr().out) == {"alpha": 0.6, "kl": None, "at": "2026-11-24T10:00:00Z"}


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (show.number(0.97401), "0.9740"),
        (show.number(None), "-"),
        (show.number(math.nan), "-"),
        (show.decimal(Decimal("0.600")), "0.6"),
        (show.decimal(3.0), "3"),
        (show.count(1_400_000), "1,400,000"),
        (show.version("a" * 64), "a" * 12),
        (show.version(None), "-"),
        (show.interval({"kl_low": 0.1, "kl_high": 0.2}, "kl"), "[0.1000, 0.2000]"),
        (show.interval({"kl_low": None, "kl_high": None}, "kl"), ""),
        (show.time(datetime(2026, 11, 24, 10, tzinfo=UTC)), "2026-11-24 10:00"),
        (show.time(datetime(2026, 11, 24, 10, 0, 7, tzinfo=UTC)), "2026-11-24 10:00:07"),
    ],
)
def test_values_are_shown_short(shown: str, wanted: str) -> None:
    assert shown == wanted
