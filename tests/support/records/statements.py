"""SQL that is compiled once for all tests: nearly each test has an engine, and an engine its own cache."""

from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.engine import Dialect


class _Compiled(dict[Any, Any]):
    """Statements, whichever engine compiled them: SQLAlchemy's key begins with the engine's dialect."""

    def get(self, key: Any, default: Any = None) -> Any:  # noqa: ANN401 - SQLAlchemy's
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        assert isinstance(key[0], Dialect)
        super().__setitem__(key[1:], value)


_COMPILED: Final = {"sqlite": _Compiled(), "postgresql": _Compiled()}


def compiled_once(engine: Engine) -> Engine:
    """The engine, which has no root: compiled statements know a dialect, and the dialect the root."""
    engine.update_execution_options(compiled_cache=_COMPILED[engine.dialect.name])
    return engine
