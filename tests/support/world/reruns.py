"""A site's configuration run once more in this process, on its own database, and what it measures there."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Table

from db.connection.migrate import upgrade
from db.connection.session import connect
from db.tables import class_metrics, cycles, rejects, strata
from redistill.configuration.settings import Settings
from tests.support.records.cycles import stored
from tests.support.world.installation import Site

#: What must not depend on who ran a cycle, when, and how often it was cut off.
MEASURED: Final = [
    *("n_seen", "n_sampled", "n_scored", "n_rejected", "n_disagreements"),
    *("agreement", "agreement_low", "agreement_high", "kl", "kl_low", "kl_high"),
    *("kl_p50", "kl_p95", "kl_p99", "kl_t1", "js", "archive_sha256"),
]


@contextmanager
def rerun(site: Site, folder: Path, **sections: dict[str, Any]) -> Iterator[tuple[Settings, Engine]]:
    """The site's settings with other values in `sections`, and an empty database, archive and registry."""
    folder.mkdir()
    changes: dict[str, dict[str, Any]] = {
        "database": {"url": f"sqlite:///{folder / 'redistill.db'}"},
        "monitor": {"archive": folder / "archive"},
        "redistill": {"registry": folder / "registry"},
    }
    own = site.settings
    settings = own.model_copy(
        update={
            name: getattr(own, name).model_copy(update={**changes.get(name, {}), **sections.get(name, {})})
            for name in {*changes, *sections}
        }
    )
    engine = connect(settings.database.url, root=settings.folder)
    upgrade(engine)
    yield settings, engine
    engine.dispose()


def measured(engine: Engine) -> dict[tuple[datetime, str], dict[str, Any]]:
    """What each slot's cycle measured on which student, as it is stored, to the last bit."""
    return {
        (cycle["window_end"], cycle["student_version"]): {
            **{name: cycle[name] for name in MEASURED},
            "labels": _parts(engine, class_metrics, cycle["id"]),
            "strata": _parts(engine, strata, cycle["id"]),
            "rejects": _parts(engine, rejects, cycle["id"]),
        }
        for cycle in stored(engine, cycles)
    }


def _parts(engine: Engine, table: Table, cycle_id: int) -> list[dict[str, Any]]:
    own = [row for row in stored(engine, table) if row["cycle_id"] == cycle_id]
    return [{name: value for name, value in row.items() if name != "cycle_id"} for row in own]
