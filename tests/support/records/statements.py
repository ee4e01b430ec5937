"""SQL that is compiled once for all tests. An engine has a cache of its own, and nearly each test an engine."""

from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.engine import Dialect


class _Compiled(dict[Any, Any]):
    """Statements by what they say, whichever engine has compiled them: SQLAlchemy's key begins with its dialect."""

    def get(self, key: Any, default: Any = None) -> Any:  # noqa: ANN401 - SQLAlchemy's
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        assert isinstance(key[0], Dialect)
        super().__setitem__(key[1:], value)


_COMPILED: Final = {"sqlite": _Compiled(), "postgresql": _Compiled()}


def compiled_once(engine: Engine) -> Engine:
    """The engine, which must be as `connect` makes it without a root: compiled statements know its dialect."""
    engine.update_execution_options(compiled_cache=_COMPILED[engine.dialect.name])
    return engine
