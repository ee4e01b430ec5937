"""The source of a configuration: a TOML file, an object in S3, or a variable that holds the TOML itself."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from db.errors import RedistillError
from monitor.storage.location import Location, NotALocationError, s3_object
from monitor.storage.store import ArtifactMissingError, ArtifactReadError

#: The variable that holds a whole configuration, for containers that have no file.
VARIABLE: Final = "REDISTILL_TOML"
_DEFAULT: Final = Path("redistill.toml")


class ConfigMissingError(RedistillError):
    """{path} does not exist: {fix}, or name another file with --config."""

    exit_code = 2


class ConfigError(RedistillError):
    """{path}: {problem}"""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file or an object in S3, or the variable REDISTILL_TOML if `file` is None."""

    file: Location | None

    @classmethod
    def chosen(cls, files: Sequence[Path]) -> tuple[Self, ...]:
        """Return the named files, or if none is named, the variable, or if it is not set, redistill.toml."""
        if not files and VARIABLE in os.environ:
            return (cls(file=None),)
        return tuple(cls(file=_location(file)) for file in _rejoined(files) or (_DEFAULT,))

    def __str__(self) -> str:
        return f"the environment variable {VARIABLE}" if self.file is None else str(self.file)

    @property
    def exists(self) -> bool:
        """Return whether there is a configuration to read."""
        return not isinstance(self.file, Path) or self.file.exists()

    @property
    def folder(self) -> Path:
        """Return the folder of relative paths: that of the file, or the working directory."""
        return self.file.resolve().parent if isinstance(self.file, Path) else Path.cwd()

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options with which another process, in any folder, reads the same configuration."""
        if self.file is None:
            return ()
        return "--config", str(self.file.resolve() if isinstance(self.file, Path) else self.file)

    def read(self) -> dict[str, Any]:
        """Return the content.

        Raises:
            ConfigMissingError: the file or the object does not exist.
            ConfigError: the content cannot be read or is not TOML.
        """
        try:
            return tomllib.loads(self._text(), parse_float=Decimal)
        except FileNotFoundError as error:
            raise ConfigMissingError(path=self, fix="run `redistill init` to write it") from error
        except OSError as error:
            raise ConfigError(path=self, problem=f"the file cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            what = "its content" if self.file is None else "the file"
            raise ConfigError(path=self, problem=f"{what} is not valid TOML: {error}") from error

    def _text(self) -> str:
        if self.file is None:
            return os.environ[VARIABLE].removeprefix("\ufeff")
        if isinstance(self.file, Path):
            return self.file.read_text(encoding="utf-8-sig")
        return self._object(self.file).decode("utf-8-sig")

    def _object(self, uri: str) -> bytes:
        try:
            s3_object(uri)
        except NotALocationError as error:
            raise ConfigError(path="--config", problem=error) from error
        from monitor.storage.artifacts import Artifacts  # noqa: PLC0415 - boto3 takes long to load

        try:
            return Artifacts().read(uri)
        except ArtifactMissingError as error:
            raise ConfigMissingError(path=self, fix="upload it") from error
        except ArtifactReadError as error:
            problem = f"the object cannot be read: {error.fields['problem']}"
            raise ConfigError(path=self, problem=problem) from error


def _rejoined(files: Sequence[Path]) -> list[Path]:
    """Return the files, with `s3://…` whole: a variable with several files is divided at each colon."""
    found: list[Path] = []
    for file in files:
        if found and found[-1] == Path("s3") and str(file).startswith("//"):
            found[-1] = Path(f"s3:{file}")
        else:
            found.append(file)
    return found


def _location(file: Path) -> Location:
    """Return the location that an option names: a path has lost the second slash of `s3://`."""
    scheme, *rest = file.parts or ("",)
    return f"s3://{'/'.join(rest)}" if scheme == "s3:" else file
