"""Backups of a database in use, as an operator makes them, and their restoration."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from tests.support.servers.postgres import program


def back_up(url: str, to: Path) -> None:
    """`.backup` of the sqlite3 shell, or pg_dump; others may write meanwhile."""
    if (file := _sqlite_file(url)) is not None:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(to)) as target:
            source.backup(target)
        return
    _run("pg_dump", "--format=custom", f"--file={to}", url)


def restore(url: str, backup: Path) -> None:
    """In place of what the database holds; nobody uses it meanwhile."""
    if (file := _sqlite_file(url)) is not None:
        for left in (file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
            left.unlink(missing_ok=True)
        shutil.copyfile(backup, file)
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    _run("pg_restore", "--single-transaction", "--no-owner", f"--dbname={url}", str(backup))


def _sqlite_file(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(str(parsed.database)) if parsed.drivername == "sqlite" else None


def _run(name: str, *arguments: str) -> None:
    subprocess.run([program(name), *arguments], check=True, capture_output=True)
