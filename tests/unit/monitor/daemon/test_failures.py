"""A tick that fails again and again: few lines, growing pauses, and it is not given up."""

from structlog.testing import capture_logs

from monitor.daemon.failures import LONGEST_PAUSE_SECONDS, Failures


class Tick:
    """A clock that only the test moves, and work that fails as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.attempts: list[float] = []
        self.error: Exception | None = RuntimeError("no such column\n of 5 MB")
        self.failures = Failures(clock=lambda: self.now)

    def work(self) -> None:
        self.attempts.append(self.now)
        if self.error is not None:
            raise self.error

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.failures.attempt("slots", self.work)
            self.now += 1


def test_the_pauses_grow_to_a_minute() -> None:
    tick = Tick()
    with capture_logs():
        tick.run(300)
    assert tick.attempts == [0, 1, 2, 4, 8, 16, 32, 64, 124, 184, 244]
    assert LONGEST_PAUSE_SECONDS == 60


def test_only_the_first_of_equal_failures_has_a_traceback() -> None:
    tick = Tick()
    with capture_logs() as logs:
        tick.run(5)
        tick.error = ValueError("another")
        tick.run(10)
    assert [(line["event"], line.get("times"), bool(line.get("exc_info"))) for line in logs] == [
        ("tick failed", None, True),
        ("tick failed", 2, False),
        ("tick failed", 3, False),
        ("tick failed", 4, False),
        ("tick failed", None, True),
    ]
    assert logs[1]["error"] == "RuntimeError: no such column of 5 MB"


def test_a_tick_that_succeeds_begins_anew() -> None:
    tick = Tick()
    with capture_logs() as logs:
        tick.run(3)
        tick.error = None
        tick.run(5)
    assert logs[-1]["event"] == "tick succeeded again"
    assert tick.attempts == [0, 1, 2, 4, 5, 6, 7]


def test_one_tick_that_fails_pauses_no_other() -> None:
    tick, done = Tick(), []
    with capture_logs():
        tick.run(5)
        tick.failures.attempt("jobs", lambda: done.append(True))
    assert done == [True]
