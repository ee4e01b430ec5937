"""Columns and column types that the tables share."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Integer, MetaData, Numeric, Text, TypeDecorator

#: The attribute of an engine's dialect with the folder that stored paths are relative to.
ROOT: Final = "redistill_root"

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
        """Convert a time to UTC; refuse a naive time instead of guessing its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a naive time cannot be stored: {value!r}")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the stored time as aware UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ExactAlpha(TypeDecorator[Decimal]):
    """An alpha in thousandths: NUMERIC(4, 3), and on SQLite the REAL nearest to it."""

    impl = Numeric(4, 3, asdecimal=False)
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> float | None:
        """Return the nearest double, which both drivers accept and which preserves three decimals."""
        del dialect
        return None if value is None else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> Decimal | None:
        """Return exactly three decimals: Decimal('0.6'), never 0.6000000000000001."""
        del dialect
        if value is None:
            return None
        return Decimal(f"{value:.3f}").normalize()


class ArtifactPath(TypeDecorator[str]):
    """A path or `s3://…` URI; a path in the folder of the configuration is stored relative to that folder.

    So an installation can be moved, or its folder mounted elsewhere. The folder is `ROOT` of the engine's
    dialect (see db.connection.session.connect); without one, paths are stored and returned as they are.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the path relative to the folder, if it is in it."""
        root: Path | None = getattr(dialect, ROOT, None)
        if value is None or root is None:
            return value
        folders = (each for each in (root, root.resolve()) if Path(value).is_relative_to(each))
        return next((str(Path(value).relative_to(folder)) for folder in folders), value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Return the absolute path; earlier versions stored only such paths."""
        root: Path | None = getattr(dialect, ROOT, None)
        if value is None or root is None or value.startswith("s3://"):
            return value
        return str(root / value)


BigId = BigInteger().with_variant(Integer, "sqlite")


def row_id(comment: str) -> Column[int]:
    """Return a primary key that the database generates: 64 bits, also on SQLite."""
    return Column("id", BigId, primary_key=True, comment=comment)


def version_column(name: str, comment: str, *, nullable: bool = True) -> Column[str]:
    """Return a column for the fingerprint of a model."""
    return Column(name, Text, nullable=nullable, comment=f"{comment}; SHA-256 of its files")
