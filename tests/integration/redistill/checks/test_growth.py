"""What `doctor` says of the size of the history and of the registry, and of what is deleted next."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, make_url

from db.connection.session import writing
from db.tables import jobs, models
from monitor.clock import utc_now
from monitor.daemon.retention import Retention
from monitor.stop import never_stopped
from redistill.checks.growth import history, versions
from redistill.checks.result import run_check
from redistill.configuration.settings import Settings, load
from tests.support.records.factories import START, make_new_job
from tests.support.records.long_history import MONITOR, write_history
from triggers.settings import DEFAULT_RULES

CONFIG = """
[monitor]
name = "{monitor}"
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
{redistill}
[database]
url = "{url}"
{database}
"""


def make_settings(folder: Path, engine: Engine, *, redistill: str = "", database: str = "") -> Settings:
    path, url = folder / "redistill.toml", make_url(engine.url).render_as_string(hide_password=False)
    path.write_text(CONFIG.format(monitor=MONITOR, url=url, redistill=redistill, database=database))
    return load(path)


def found(settings: Settings) -> str:
    (result,) = run_check("history", lambda: history(settings, utc_now()))
    assert result.ok
    return result.found


def test_the_history_is_shown_with_what_goes_next(engine: Engine, tmp_path: Path) -> None:
    newest = utc_now().replace(minute=0, second=0, microsecond=0)
    write_history(engine, 900, newest=newest)
    said = found(make_settings(tmp_path, engine))
    first, before = newest - timedelta(hours=899), newest - timedelta(days=30)
    assert said.endswith(f"; 900 cycles since {first:%Y-%m-%d %H:%M}; all of it is kept")
    assert " rows in " in said
    kept = make_settings(tmp_path, engine, database='keep = "30d"')
    start = f"keep = 30d; to be deleted next, from before {before:%Y-%m-%d %H:%M}: "
    assert start in found(kept)
    assert " cycles, " in found(kept).partition(start)[2]
    own = Retention(
        engine=engine, monitor=MONITOR, rules=DEFAULT_RULES, keep=timedelta(days=30), reference_cycles=3
    )
    while own.delete_some(never_stopped):
        pass
    assert found(kept).endswith(f"nothing from before {before:%Y-%m-%d %H:%M} is to be deleted")


def test_an_empty_database_is_shown(engine: Engine, tmp_path: Path) -> None:
    assert found(make_settings(tmp_path, engine, database='keep = "3y"')).endswith("MiB; keep = 1095d")


@pytest.fixture
def registered(sqlite_engine: Engine, tmp_path: Path) -> Engine:
    """Three versions that jobs have made, and their files."""
    with writing(sqlite_engine) as connection:
        for number in range(3):
            version, at = f"{number}" * 64, START + timedelta(days=number)
            job = {**vars(make_new_job(MONITOR)), "soft_labels": "online", "status": "rejected", "attempt": 1}
            job_id = connection.execute(
                insert(jobs).values(**job, enqueued_at=at).returning(jobs.c.id)
            ).scalar_one()
            made = {
                "monitor": MONITOR,
                "version": version,
                "role": "student",
                "uri": version,
                "job_id": job_id,
            }
            connection.execute(insert(models).values(**made, created_at=at))
            folder = tmp_path / "registry" / "versions" / version
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(b"x" * 2**19)
    return sqlite_engine


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("", "all are kept"),
        ("keep_versions = 5", "keep_versions = 5; none is to be deleted"),
        ("keep_versions = 1", f"keep_versions = 1; to be deleted next: {'0' * 12}, {'1' * 12}"),
    ],
)
def test_the_versions_are_shown_with_those_that_go_next(
    registered: Engine, tmp_path: Path, section: str, said: str
) -> None:
    settings = make_settings(tmp_path, registered, redistill=section)
    (result,) = run_check("versions", lambda: versions(settings))
    assert (result.ok, result.found) == (True, f"3 versions in 1.5 MiB; {said}")


def test_a_registry_without_versions_is_not_shown(sqlite_engine: Engine, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, sqlite_engine)
    assert list(run_check("versions", lambda: versions(settings))) == []
