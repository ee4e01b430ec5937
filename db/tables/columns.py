"""Columns and types that the tables share."""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Integer, MetaData, Numeric, Text, TypeDecorator

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which has no time zones, stores it as naive UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time rather than guess its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time cannot be stored: {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ExactAlpha(TypeDecorator[Decimal]):
    """An alpha in thousandths: NUMERIC(4, 3), and on SQLite the REAL nearest to it."""

    impl = Numeric(4, 3, asdecimal=False)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> float | None:
        """Both drivers take the nearest double, which three decimals survive."""
        del dialect
        return None if value is None else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> Decimal | None:
        """0.6 comes back as Decimal('0.6'), never as 0.6000000000000001."""
        del dialect
        if value is None:
            return None
        return Decimal(f"{value:.3f}").normalize()


BigId = BigInteger().with_variant(Integer, "sqlite")


def row_id(comment: str) -> Column[int]:
    """A primary key that the database gives: 64 bits, also on SQLite."""
    return Column("id", BigId, primary_key=True, comment=comment)


def version_column(name: str, comment: str, *, nullable: bool = True) -> Column[str]:
    """The fingerprint of a model."""
    return Column(name, Text, nullable=nullable, comment=f"{comment}; SHA-256 of its files")
