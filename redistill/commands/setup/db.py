"""`redistill db`: the database's schema."""

from typing import Final

import typer

from db.connection import migrate
from db.connection.migrate import Level
from db.errors import RedistillError
from redistill.commands.options import Config, configured, examples, group
from redistill.database import existing, opened, telling
from redistill.display import show


class SchemaDiffersError(RedistillError):
    """The database is at this version's revision, but its tables differ from it: {differences}. Somebody
    has changed them by hand; change them back.
    """


_SAID: Final = {
    Level.CURRENT: "The database has the schema of this version.",
    Level.AHEAD: "A later version of redistill has added to the database; this one works on it as it is.",
}

app = group("db")


@app.command(epilog=examples("redistill db upgrade"))
def upgrade(ctx: typer.Context, *, config: Config = None) -> None:
    """Make the database, or bring it to the schema of this version; its rows stay.

    Others may work on it meanwhile, also those of the version before.
    """
    with opened(configured(ctx, config)) as engine, telling(engine):
        level = migrate.upgrade(engine)
    show.say(_SAID[level])


@app.command(epilog=examples("redistill db check"))
def check(ctx: typer.Context, *, config: Config = None) -> None:
    """Check that this version works on the database; exit 1 if not."""
    with existing(configured(ctx, config)) as engine, telling(engine):
        level = migrate.check(engine)
        differences = migrate.diff(engine) if level is Level.CURRENT else ()
    if differences:
        raise SchemaDiffersError(differences="; ".join(differences))
    show.say(_SAID[level])
