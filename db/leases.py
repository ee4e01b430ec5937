"""Who may write. A lease is a row with a fencing token; time is the database's own clock.

A holder that was away too long finds a higher token at its next `guard` and writes nothing
(Kleppmann, "How to do distributed locking", 2016).
"""

import os
import socket
import uuid
from typing import Final

from sqlalchemy import ColumnElement, Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.connection.clock import Clock
from db.errors import LeaseLostError
from db.records import Lease
from db.tables import leases

#: No lease is longer. One that is was written before the database's clock was set back, by a holder that is
#: dead: another would have renewed it since.
LONGEST_SECONDS: Final = 900.0


def new_owner() -> str:
    """A name for this start of this process: no other start ever has the same."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def acquire(connection: Connection, name: str, *, owner: str, seconds: float) -> Lease | None:
    """Take the lease if nobody holds it, else None."""
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert
    statement = insert(leases).values(name=name, owner=owner, token=1, expires_at=Clock(seconds))
    token = connection.scalar(
        statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={
                "owner": owner,
                "token": leases.c.token + 1,
                "expires_at": statement.excluded.expires_at,
            },
            where=~_runs(),
        ).returning(leases.c.token)
    )
    return None if token is None else Lease(name=name, owner=owner, token=token)


def renew(connection: Connection, lease: Lease, *, seconds: float) -> None:
    """Hold it for `seconds` more from now.

    Raises:
        LeaseLostError: somebody else has taken it since.
    """
    changed = connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.token == lease.token)
        .values(expires_at=Clock(seconds))
    )
    if changed.rowcount != 1:
        raise LeaseLostError(name=lease.name, token=lease.token)


def release(connection: Connection, lease: Lease) -> None:
    """Give it back, so that the next process need not wait; harmless if it is lost already."""
    connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.token == lease.token)
        .values(expires_at=Clock())
    )


def revoke(connection: Connection, name: str) -> None:
    """Take it from whoever holds it: the holder's next `renew` or `guard` fails, and anybody may take it."""
    connection.execute(
        update(leases).where(leases.c.name == name).values(token=leases.c.token + 1, expires_at=Clock())
    )


def is_held(connection: Connection, name: str) -> bool:
    """Whether somebody has it now, by the database's clock."""
    return bool(connection.scalar(select(_runs()).where(leases.c.name == name)))


def token_of(connection: Connection, name: str) -> int:
    """Its fencing token, which grows with each holder; 0 if nobody ever had it."""
    return connection.scalar(select(leases.c.token).where(leases.c.name == name)) or 0


def guard(connection: Connection, lease: Lease) -> None:
    """Let this transaction go on only while the lease is ours; nobody can take it until it ends.

    Raises:
        LeaseLostError: somebody else has taken it since.
    """
    token = connection.scalar(select(leases.c.token).where(leases.c.name == lease.name).with_for_update())
    if token != lease.token:
        raise LeaseLostError(name=lease.name, token=lease.token)


def _runs() -> ColumnElement[bool]:
    return (leases.c.expires_at > Clock()) & (leases.c.expires_at <= Clock(LONGEST_SECONDS))
