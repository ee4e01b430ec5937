"""The section [database]: its URL, and where PostgreSQL's password comes from."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from monitor.setting_values import LocalPath, readable_url
from triggers.settings import Section
from triggers.values import Duration, Word, none_for

_SHORTEST_KEPT: Final = timedelta(days=30)


class DatabaseSection(Section):
    """The database of all cycles, jobs, models and incidents."""

    url: Annotated[Word, Field(pattern=r"^(sqlite|postgresql)(\+\w+)?://"), AfterValidator(readable_url)] = (
        "sqlite:///redistill.db"
    )
    #: "iam": a new RDS token for each connection
    auth: Literal["password", "iam"] = "password"
    #: a file with the password, read for each connection
    password_file: LocalPath | None = None
    #: a secret in AWS Secrets Manager with the password, read again when the server refuses the password
    password_secret: (
        Annotated[str, Field(pattern=r"^arn:[\w-]+:secretsmanager:[\w-]+:\d+:secret:.+")] | None
    ) = None
    #: the age at which history is deleted; "all", which is None: never
    keep: Annotated[Annotated[Duration, Field(ge=_SHORTEST_KEPT)] | None, none_for("all")] = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        named = [key for key in ("password_file", "password_secret") if getattr(self, key) is not None]
        named += ["auth = 'iam'"] if self.auth == "iam" else []
        if named and not self.url.startswith("postgresql"):
            raise ValueError(f"{named[0]} is for PostgreSQL: remove it, or give a postgresql:// URL")
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} exclude each other: keep one")
        return self
