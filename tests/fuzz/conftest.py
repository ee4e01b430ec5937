"""The number of inputs that were tried, at the end of the run."""

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("inputs")
    if mark is not None:
        item.user_properties.append(("inputs", mark.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.getreports("passed")
    tried = sum(n for report in passed for name, n in report.user_properties if name == "inputs")
    if tried:
        terminalreporter.write_line(f"{tried:,} inputs without a fault")
