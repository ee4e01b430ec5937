"""`redistill incidents`: the incidents and their notifications."""

import getpass
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy import select

from db import incidents as stored
from db.states import IncidentState
from db.tables import incidents
from db.views import rows
from redistill.commands.options import LARGEST_ID, Config, Json, configured, examples, group
from redistill.database import reading_from, time_in, writing_to
from redistill.display import show
from redistill.display.show import Column, Row
from triggers.incidents.announce import Audience, Occasion, carry_out
from triggers.incidents.lifecycle import acknowledge

IncidentId = Annotated[
    int, typer.Argument(metavar="INCIDENT", help="The incident's number.", min=1, max=LARGEST_ID)
]
By = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="NAME", help="Person who handles the incident.", show_default="the current user"
    ),
]
Open = Annotated[bool, typer.Option("--open", help="List only incidents that are not resolved.")]

_COLUMNS = (
    Column(title="incident", align="right"),
    Column(title="kind"),
    Column(title="severity"),
    Column(title="state"),
    Column(title="opened (UTC)"),
    Column(title="resolved (UTC)", spare=2),
    Column(title="job", align="right", spare=3),
    Column(title="notifications", spare=4),
    Column(title="summary", spare=1),
)
_COLOURS = {"firing": show.BAD, "acknowledged": "yellow", "resolved": show.GOOD}

app = group("incidents")


@app.command("list", epilog=examples("redistill incidents list --open", "redistill incidents list --json"))
def list_incidents(
    ctx: typer.Context, *, only_open: Open = False, config: Config = None, as_json: Json = False
) -> None:
    """List the incidents, oldest first."""
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        found = rows(connection, "incident_history", monitor=settings.monitor.name, order_by="incident_id")
        of_monitor = incidents.c.monitor == settings.monitor.name
        query = select(incidents.c.id, incidents.c.summary).where(of_monitor)
        summaries = {row.id: row.summary for row in connection.execute(query)}
    shown = [
        {**row, "summary": summaries[int(str(row["incident_id"]))]}
        for row in found
        if not only_open or row["state"] != IncidentState.RESOLVED
    ]
    if as_json:
        show.print_json(shown)
    elif shown:
        show.listing(_COLUMNS, [_cells(incident) for incident in shown])
    else:
        show.say("No incident is open." if only_open else "No incidents yet.")


@app.command(epilog=examples("redistill incidents ack 3 --by ada"))
def ack(ctx: typer.Context, incident_id: IncidentId, *, by: By = None, config: Config = None) -> None:
    """Acknowledge a firing incident; the channels that were notified of it receive the person's name."""
    settings = configured(ctx, config)
    audience = Audience(monitor=settings.monitor.name, alerts=settings.alerts, policy=settings.incidents)
    with writing_to(settings) as connection:
        incident = stored.get(connection, settings.monitor.name, incident_id)
        transition = acknowledge(incident, by or getpass.getuser())
        now = time_in(connection)
        carry_out(connection, audience, transition, Occasion(at=now, now=now, details={}))
    show.say(f"Incident {incident_id} is acknowledged. The daemon notifies the channels that received it.")


def _cells(incident: Row) -> list[show.Cell]:
    state = str(incident["state"])
    person = incident["acknowledged_by"] if state == IncidentState.ACKNOWLEDGED else None
    return [
        show.word(incident["incident_id"]),
        show.word(incident["kind"]),
        show.word(incident["severity"]),
        Text(f"{state} by {person}" if person else state, style=_COLOURS[state]),
        show.time(incident["opened_at"]),
        show.time(incident["resolved_at"]),
        show.word(incident["job_id"]),
        _notifications(incident),
        show.word(incident["summary"]),
    ]


def _notifications(incident: Row) -> Text:
    pending, dead = incident["deliveries_pending"], incident["deliveries_dead"]
    counts = [f"{incident['deliveries_ok']} sent"]
    counts += [f"{pending} pending"] if pending else []
    counts += [f"{dead} dead"] if dead else []
    return Text(", ".join(counts), style=show.BAD if dead else "")
