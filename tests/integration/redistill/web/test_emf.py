"""`emf = true` in [web] makes the daemon write a line for each cycle, and nothing else does."""

from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Engine

from monitor.daemon.slot_runner import unheard
from redistill import assembly
from redistill.configuration.settings import load
from redistill.display.progress import show_nothing
from redistill.process import emf
from tests.support.world.waiting_monitor import written


@pytest.mark.parametrize("wanted", [True, False])
def test_a_daemon_writes_lines_of_emf_if_it_is_configured(
    sqlite_engine: Engine,
    tmp_path: Path,
    wanted: bool,  # noqa: FBT001 - a case
) -> None:
    file = written(tmp_path / "redistill.toml")
    file.write_text(f"{file.read_text(encoding='utf-8')}emf = {str(wanted).lower()}\n", encoding="utf-8")
    daemon = assembly.daemon(load(file), sqlite_engine, show_nothing, Event())
    assert daemon._runner._ended is (emf.write if wanted else unheard)
