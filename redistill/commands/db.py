"""`redistill db`: the database's schema."""

import typer

from db import migrate
from db.errors import RedistillError
from redistill import show
from redistill.commands.options import Config, command, configured, examples
from redistill.database import existing, opened, telling


class SchemaDiffersError(RedistillError):
    """The database is at this version's revision, but its tables differ from it: {differences}. Somebody
    has changed them by hand; change them back.
    """


app = command(help="Make the database, or bring it to this version.")


@app.command(epilog=examples("redistill db upgrade"))
def upgrade(ctx: typer.Context, *, config: Config = None) -> None:
    """Make the database, or bring it to the schema of this version; its rows stay."""
    with opened(configured(ctx, config)) as engine, telling(engine):
        migrate.upgrade(engine)
    show.say("The database has the schema of this version.")


@app.command(epilog=examples("redistill db check"))
def check(ctx: typer.Context, *, config: Config = None) -> None:
    """Check that the database has the schema of this version; exit 1 if not."""
    with existing(configured(ctx, config)) as engine, telling(engine):
        migrate.check(engine)
        differences = migrate.diff(engine)
    if differences:
        raise SchemaDiffersError(differences="; ".join(differences))
    show.say("The database has the schema of this version.")
