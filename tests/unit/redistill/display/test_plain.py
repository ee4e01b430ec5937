"""What others wrote, such as a label or an object's name, cannot steer the terminal that shows it."""

import io
import json
import sys
from typing import Any

import pytest
from rich.text import Text

from redistill.display import show
from redistill.display.plain import plain, tolerate_any_encoding
from redistill.display.show import Column
from redistill.process import logs

#: Clears the screen, sets the title, overwrites the line, reorders it, breaks it, and starts a C1 sequence.
ATTACKS = ("\x1b[2J", "\x1b]0;root\x07", "fine\rbad", "a\u202egnp.exe", "a\u2028b", "\x9b31m", "a\x08\x7fb")
UNSAFE = "\x1b\x07\r\u202e\u2028\x9b\x08\x7f"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("text", ATTACKS)
def test_no_way_to_show_a_text_sends_its_control_characters(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    show.say(text)
    show.facts([(text, Text(text))])
    show.listing([Column(title="label")], [[text]])
    show.print_json({"label": text})
    show.warn(text)
    shown = out.getvalue() + err.getvalue()
    assert not set(UNSAFE) & set(shown)
    assert json.loads(out.getvalue().splitlines()[-1]) == {"label": text}


def test_a_log_line_on_a_terminal_sends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", err)
    line: Any = {"event": "archive passed over", "error": "".join(ATTACKS)}
    for processor in logs.renderers():
        line = processor(None, "warning", line)
    assert "archive passed over" in str(line)
    assert not set(UNSAFE) & set(str(line))


def test_ordinary_text_is_shown_as_it_is() -> None:
    text = "Ünïcode, 日本語, emoji 🎉,\ttabs and\nlines"
    assert plain(text) == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_output_without_unicode_shows_escapes(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    tolerate_any_encoding()
    show.say("agreement → 0.95, label 日本")
    labels = ["日本", "étage", "🎉"]
    show.print_json(labels)
    sys.stdout.flush()
    first, last = written.getvalue().decode(encoding).splitlines()
    assert first == "agreement \\u2192 0.95, label \\u65e5\\u672c"
    assert json.loads(last) == labels


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_log_line_is_json_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding=encoding))
    tolerate_any_encoding()
    line: Any = {"event": "cycle failed", "error": "étage 日本 🎉"}
    for processor in logs.renderers():
        line = processor(None, "warning", line)
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    assert json.loads(written.getvalue().decode(encoding))["error"] == "étage 日本 🎉"
