"""What a process logs, and how."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]

BEGIN = """
import logging, warnings, structlog
from redistill.process import logs
logs.configure()
"""


def logged(code: str) -> list[dict[str, str]]:
    """The log lines of a process that runs the code, with its standard error in a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_an_event_is_a_json_line_with_what_is_bound_to_it() -> None:
    (line,) = logged("structlog.get_logger().bind(cycle_id=7).info('cycle ended', verdict='healthy')")
    assert {
        "event": "cycle ended",
        "level": "info",
        "cycle_id": 7,
        "verdict": "healthy",
    }.items() <= line.items()
    assert line["timestamp"].endswith("Z")


def test_a_command_whose_output_is_a_result_says_warnings_only() -> None:
    """On standard error: what it prints may be JSON."""
    code = "from redistill.cli import root; root(); log = structlog.get_logger()\n"
    (line,) = logged(f"{code}log.info('artifact downloaded'); log.warning('database away')")
    assert line["event"] == "database away"


def test_details_for_developers_are_left_out() -> None:
    assert logged("structlog.get_logger().debug('step')") == []


def test_the_warnings_of_libraries_are_lines_too_and_their_information_is_not() -> None:
    (line,) = logged("for say in ('info', 'warning'): getattr(logging.getLogger('alembic'), say)(say)")
    assert {"event": "warning", "level": "warning", "logger": "alembic"}.items() <= line.items()


def test_a_warning_of_python_is_a_line() -> None:
    (line,) = logged("warnings.warn('old')")
    assert "old" in line["event"]


def test_a_traceback_does_not_show_the_values_of_variables() -> None:
    code = """
def fail():
    text = 'the text of ' + 'a request'
    raise ValueError('no')
try:
    fail()
except ValueError:
    structlog.get_logger().exception('cycle failed')
"""
    (line,) = logged(code)
    assert "ValueError: no" in line["exception"]
    assert "the text of a request" not in line["exception"]
