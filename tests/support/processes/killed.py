"""The end of a worker by SIGKILL, whose job the next one may take once its lease has expired."""

from sqlalchemy import Engine, select

from db.connection.session import reading
from db.tables import leases
from tests.support.processes.product import Process
from tests.support.processes.waiting import wait_until
from tests.support.world.installation import now


def killed(engine: Engine, worker: Process) -> None:
    """Kill the worker and wait until its lease has expired."""
    worker.kill()
    wait_until(lambda: lease_is_free(engine), "free")


def lease_is_free(engine: Engine) -> bool:
    with reading(engine) as connection:
        expires = connection.scalar(select(leases.c.expires_at).where(leases.c.name.like("job:%")))
    return expires is not None and expires <= now()
