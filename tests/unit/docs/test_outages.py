"""docs/outages.md: every row names the test that shows it, and its times are those of the code."""

import re
from pathlib import Path

import pytest

from db import leases, outbox
from db.connection import outage, postgres, session
from monitor.daemon import delivery_threads, loop, slot_runner
from monitor.storage import s3
from redistill.commands.run import monitor, worker
from redistill.process import child
from triggers.transports import sqs

DOC = (Path(__file__).parents[3] / "docs" / "outages.md").read_text(encoding="utf-8")
#: The rows of all tables, less those of their heads.
ROWS = [line for line in DOC.splitlines() if line.startswith("| ") and not line.endswith("| test |")]


def test_every_row_names_a_test() -> None:
    assert len(ROWS) > 30
    assert [row for row in ROWS if not re.search(r"`tests/[\w/]+\.py(::\w+)?`.* \|$", row)] == []


STATEMENT, SILENCE = postgres.STATEMENT_SECONDS, postgres.SILENCE_SECONDS
CONNECT, KEEPALIVES = postgres.NETWORK["connect_timeout"], postgres.NETWORK["keepalives_idle"]
TIMES = [
    f"{CONNECT} s for a connection; 1, 2, 4, … {outage.LONGEST_WAIT_SECONDS:.0f} s in between",
    f"silent for {STATEMENT + SILENCE:.0f} s",
    f"`statement_timeout` ({STATEMENT} s) plus {SILENCE:.0f} s",
    f"that thread retries, the others continue | {session.BUSY_SECONDS} s |",
    f"keepalives after {KEEPALIVES} s, every {postgres.NETWORK['keepalives_interval']} s",
    f"{s3._CONFIG.read_timeout} s without a byte, {s3._CONFIG.connect_timeout} s for a connection",
    f"{sqs._CONFIG.connect_timeout} s for a connection, {sqs._CONFIG.read_timeout} s for an answer",
    f"a lease with more than {leases.LONGEST_SECONDS / 60:.0f} minutes left",
    f"once the lease has expired, after at most {slot_runner.LEASE_SECONDS:.0f} s",
    f"a channel | after {delivery_threads.STOP_TIMEOUT_SECONDS:.0f} s",
    f"takes minutes | after {loop.STOP_TIMEOUT_SECONDS:.0f} s",
    f"at startup | after {monitor._STOP_SECONDS:.0f} s",
    f"a worker | after {worker._STOP_SECONDS:.0f} s",
    f"exits after {monitor._STOP_WITH_CHILDREN_SECONDS:.0f} s",
]


@pytest.mark.parametrize("words", TIMES)
def test_its_times_are_those_of_the_code(words: str) -> None:
    assert words in " ".join(DOC.split())


def test_a_lock_is_waited_for_as_long_as_a_file() -> None:
    assert postgres.TRANSACTION["lock_timeout"] == f"{session.BUSY_SECONDS}s"
    assert child.PATIENCE_SECONDS == worker._STOP_SECONDS
    assert outbox.LONGEST_WAIT.total_seconds() == 3_600
    attempts = s3._CONFIG.retries["total_max_attempts"]
    assert attempts == 5
    assert attempts * s3._CONFIG.read_timeout + sum(2**wait for wait in range(attempts - 1)) < 120
