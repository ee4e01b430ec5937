from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """The log's entries, which are kept and not printed: a traceback takes seconds to render."""
    with capture_logs() as entries:
        yield entries
