import gc
import sys
from types import ModuleType

import pytest

from redistill.process.garbage import collector_paused


def test_nothing_is_collected_while_libraries_load() -> None:
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_loaded_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_freeze_count()
    with collector_paused():
        monkeypatch.setitem(sys.modules, "loaded", ModuleType("loaded"))
    assert gc.get_freeze_count() > before


def test_what_is_garbage_later_is_collected_where_nothing_was_loaded() -> None:
    before = gc.get_freeze_count()
    with collector_paused():
        pass
    assert gc.get_freeze_count() <= before  # what was frozen may have been freed
