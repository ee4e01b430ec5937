"""The catalogue of commands, by panel of `redistill --help`. Each panel is a folder of this package."""

from collections.abc import Mapping
from typing import Final

PANELS: Final[Mapping[str, Mapping[str, str]]] = {
    "Setup": {
        "demo": "Run the whole loop on a small simulated service, in minutes.",
        "distill": "Make the first student of a teacher from labelled rows.",
        "init": "Write a redistill.toml for the models and the request log in this folder.",
        "db": "Create the database, or upgrade it to this version.",
        "doctor": "Check everything that a cycle and a re-distillation need.",
    },
    "Run": {
        "monitor": "Run cycles as they fall due and send notifications, until stopped.",
        "worker": "Run re-distillation jobs as they are queued, until stopped.",
        "cycle": "Run one cycle now, or the cycles of a range, and exit.",
    },
    "Inspect": {
        "status": "Show the current state on one screen.",
        "history": "List the cycles, oldest first.",
        "evaluate": "Measure the student and the teacher on labelled data.",
        "economics": "Compare what the student saves with what its misroutes and its monitoring cost.",
        "replay": "Apply rules to past cycles without writing anything.",
    },
    "Manage": {
        "monitors": "List the monitors of the database, or rename one.",
        "jobs": "List, enqueue, cancel or retry re-distillation jobs.",
        "models": "List model versions, and choose the student that serves.",
        "incidents": "List incidents, or acknowledge one.",
        "alerts": "Test the channels that notify the on-call.",
        "labels": "Import true labels that arrived after their window, matched by request id.",
        "archive": "Rank the archived requests that disagree most, or erase requests from the archive.",
    },
}

#: Help of the option --config, which is accepted before and after the name of a command.
CONFIG_HELP: Final = "Path of the configuration file, or s3://BUCKET/KEY."

#: Command to help line.
COMMANDS: Final[Mapping[str, str]] = {
    name: line for commands in PANELS.values() for name, line in commands.items()
}


def module_of(name: str) -> str:
    """Return the name of the module that defines a command."""
    folder = next(panel for panel, commands in PANELS.items() if name in commands)
    return f"redistill.commands.{folder.lower()}.{name}"
