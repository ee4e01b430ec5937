"""Whatever a channel does, an attempt has a result."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from db.records import Delivery
from tests.support.records.messages import make_delivery
from triggers.channels.guard import DEADLINE_SECONDS, attempt
from triggers.channels.outbox import HOLD
from triggers.channels.port import Receipt, SendResult

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DELIVERED = Receipt(result=SendResult.DELIVERED)


class PanicException(BaseException):
    pass


class Does:
    """A channel that does something, and then accepts."""

    pause_seconds: ClassVar[float] = 0.0

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        assert (delivery, now) == (make_delivery(), NOW)
        self._act()
        return DELIVERED


def raises(error: BaseException) -> Does:
    def act() -> None:
        raise error

    return Does(act)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ImportError("no module\nnamed socksio"), "ImportError: no module named socksio"),
        (KeyError("summary"), "KeyError: 'summary'"),
        (PanicException("over"), "PanicException: over"),
        (RuntimeError("x" * 5_000_000), f"RuntimeError: {'x' * 285}…"),
    ],
)
def test_what_a_channel_raises_is_a_failure_that_is_retried(error: BaseException, said: str) -> None:
    receipt = attempt(raises(error), make_delivery(), now=NOW)
    assert receipt == Receipt(result=SendResult.RETRY, error=said)


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(3)])
def test_what_ends_the_process_ends_it(end: BaseException) -> None:
    with pytest.raises(type(end)):
        attempt(raises(end), make_delivery(), now=NOW)


def test_a_channel_that_does_not_return_is_left() -> None:
    """Its call ends with the process; the message is sent again."""
    released = threading.Event()
    receipt = attempt(Does(lambda: released.wait(60)), make_delivery(), now=NOW, seconds=0.05)
    released.set()
    assert receipt == Receipt(result=SendResult.RETRY, error="TimeoutError: no answer within 0.05 s")


def test_what_a_channel_returns_is_the_result() -> None:
    assert attempt(Does(lambda: None), make_delivery(), now=NOW) == DELIVERED


def test_a_call_is_left_before_another_process_sends_the_message() -> None:
    """And after the longest timeout, for connecting and for the answer."""
    assert 2 * 30 < DEADLINE_SECONDS < HOLD.total_seconds()
