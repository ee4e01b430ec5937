"""A time and an alpha come back as they went in, on both databases."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy import Engine, insert, select, text
from sqlalchemy.exc import StatementError

from db.connection.session import reading, writing
from db.tables import leases, models
from tests.support.records.factories import START

INDIA = timezone(timedelta(hours=5, minutes=30))


def store_time(engine: Engine, time: datetime) -> None:
    with writing(engine) as connection:
        connection.execute(insert(leases).values(name="monitor:a", owner="me", token=1, expires_at=time))


def store_alpha(engine: Engine, alpha: Decimal | None) -> None:
    with writing(engine) as connection:
        connection.execute(
            insert(models).values(
                monitor="a", version="1", role="student", uri="file", alpha=alpha, created_at=START
            )
        )


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(datetime(2026, 11, 24, 10, 0, 3, tzinfo=UTC), id="utc"),
        pytest.param(datetime(2026, 11, 24, 10, 0, 3, 123_456, tzinfo=UTC), id="microseconds"),
        pytest.param(datetime(2026, 11, 24, 2, 15, tzinfo=INDIA), id="another zone, the day before in UTC"),
    ],
)
def test_an_aware_time_comes_back_as_the_same_instant_in_utc(engine: Engine, time: datetime) -> None:
    store_time(engine, time)
    with reading(engine) as connection:
        found = connection.scalars(select(leases.c.expires_at).where(leases.c.expires_at == time)).one()
    assert found == time
    assert found.tzinfo is UTC


def test_times_are_compared_as_instants(engine: Engine) -> None:
    store_time(engine, START)
    same_in_india = START.astimezone(INDIA)
    with reading(engine) as connection:
        before = select(leases).where(leases.c.expires_at < same_in_india)
        after = select(leases).where(leases.c.expires_at < same_in_india + timedelta(microseconds=1))
        assert connection.execute(before).all() == []
        assert len(connection.execute(after).all()) == 1


def test_a_naive_time_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="a naive time cannot be stored"):
        store_time(engine, START.replace(tzinfo=None))


@pytest.mark.parametrize(
    "alpha", ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.125", "0.999", "1"]
)
def test_an_alpha_comes_back_exactly(engine: Engine, alpha: str) -> None:
    store_alpha(engine, Decimal(alpha))
    with reading(engine) as connection:
        found = connection.scalars(select(models.c.alpha).where(models.c.alpha == Decimal(alpha))).one()
    assert isinstance(found, Decimal)
    assert str(found) == alpha


def test_an_unknown_alpha_stays_unknown(engine: Engine) -> None:
    store_alpha(engine, None)
    with reading(engine) as connection:
        assert connection.scalars(select(models.c.alpha)).one() is None


def test_an_analyst_finds_an_alpha_by_its_decimal(engine: Engine) -> None:
    store_alpha(engine, Decimal("0.7") - Decimal("0.1"))
    with reading(engine) as connection:
        found = connection.execute(text("SELECT version FROM model_history WHERE alpha = 0.6"))
        assert found.scalars().all() == ["1"]
