"""`redistill db`: the schema of the database."""

from typing import Final

import typer

from db.connection import migrate
from db.connection.migrate import Level
from db.errors import RedistillError
from redistill.commands.options import Config, configured, examples, group
from redistill.database import existing, opened, translated_errors
from redistill.display import show


class SchemaDiffersError(RedistillError):
    """The database is at this version's revision, but its tables differ from that schema ({differences}):
    undo the changes that were made by hand.
    """


_REPORT: Final = {
    Level.CURRENT: "The database has the schema of this version.",
    Level.AHEAD: "A later version of redistill has upgraded the database; this version still works with it.",
}

app = group("db")


@app.command(epilog=examples("redistill db upgrade"))
def upgrade(ctx: typer.Context, *, config: Config = None) -> None:
    """Create the database, or upgrade it to the schema of this version; its rows are kept.

    Other processes may use the database meanwhile, including those of the previous version.
    """
    with opened(configured(ctx, config)) as engine, translated_errors(engine):
        level = migrate.upgrade(engine)
    show.say(_REPORT[level])


@app.command(epilog=examples("redistill db check"))
def check(ctx: typer.Context, *, config: Config = None) -> None:
    """Check that this version works with the database; exit 1 if it does not."""
    with existing(configured(ctx, config)) as engine, translated_errors(engine):
        level = migrate.check(engine)
        differences = migrate.diff(engine) if level is Level.CURRENT else ()
    if differences:
        raise SchemaDiffersError(differences="; ".join(differences))
    show.say(_REPORT[level])
