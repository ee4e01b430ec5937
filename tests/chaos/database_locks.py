"""What Linux and the databases tell of a process that does not say anything itself."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text

from db.connection.session import reading
from tests.support.processes.product import Process

_WRITE_LOCK: Final = 120  #: the byte of the -shm file that SQLite's writer locks
_NAME: Final = "chaos {pid}"


def name_at_the_database() -> None:
    """Let PostgreSQL know which process a connection is of."""
    os.environ["PGAPPNAME"] = _NAME.format(pid=os.getpid())


def is_writing(engine: Engine, process: Process) -> bool:
    """Whether the process is in a transaction that has written."""
    if engine.dialect.name == "sqlite":
        return _has_the_write_lock(Path(f"{engine.url.database}-shm"), process.pid)
    with reading(engine) as connection:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name AND backend_xid IS NOT NULL"
        )
        return bool(connection.scalar(text(query), {"name": _NAME.format(pid=process.pid)}))


def _has_the_write_lock(path: Path, pid: int) -> bool:
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return False
    for line in Path("/proc/locks").read_text().splitlines():
        _, *blocked, _kind, _, access, owner, where, first, last = line.split()
        if blocked or access != "WRITE" or int(owner) != pid or int(where.rpartition(":")[2]) != inode:
            continue
        if last == "EOF" or int(first) <= _WRITE_LOCK <= int(last):
            return True
    return False


def ports_of(process: Process) -> set[int]:
    """From which it has connections by TCP."""
    sockets = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):  # it is closed meanwhile
            sockets.add(str(descriptor.readlink()))
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    columns = [line.split() for line in lines]
    return {int(each[1].rpartition(":")[2], 16) for each in columns if f"socket:[{each[9]}]" in sockets}
