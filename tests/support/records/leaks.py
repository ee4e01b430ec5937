"""Looks for the text of requests where none may be: in the database and in what processes have said."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Engine, inspect, text

from db.connection.session import reading
from tests.support.world.installation import CANARY, Site
from tests.support.world.tiny_world import KEYWORDS


def leaks(site: Site, engine: Engine) -> list[str]:
    """Where a keyword or the canary turns up, and which one; [] if nowhere."""
    return [
        f"{place}: {word}"
        for place, said in _said(site, engine)
        for word in (*KEYWORDS, CANARY)
        if word in said
    ]


def _said(site: Site, engine: Engine) -> Iterator[tuple[str, str]]:
    with reading(engine) as connection:
        names = inspect(connection).get_table_names() + inspect(connection).get_view_names()
        for name in names:
            for row in connection.execute(text(f'SELECT * FROM "{name}"')):  # noqa: S608 - its own tables
                yield name, repr(tuple(row))
    if engine.dialect.name == "sqlite":  # what was deleted or is not checkpointed yet lies there too
        file = Path(str(engine.url.database))
        for path in file.parent.glob(f"{file.name}*"):
            yield path.name, path.read_bytes().decode(errors="replace")
    for path in site.logs.iterdir():
        yield path.name, path.read_text(encoding="utf-8")
