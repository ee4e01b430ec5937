"""The source of a configuration: a TOML file, or an environment variable that holds the TOML itself."""

import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from db.errors import RedistillError

#: The variable that holds a whole configuration, for containers that have no file.
VARIABLE: Final = "REDISTILL_TOML"
_DEFAULT: Final = Path("redistill.toml")


class ConfigMissingError(RedistillError):
    """{path} does not exist: run `redistill init` to write it, or name another file with --config."""

    exit_code = 2


class ConfigError(RedistillError):
    """{path}: {problem}"""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file, or the variable REDISTILL_TOML if `file` is None."""

    file: Path | None

    @classmethod
    def chosen(cls, files: Sequence[Path]) -> tuple[Self, ...]:
        """Return the named files, or if none is named, the variable, or if it is not set, redistill.toml."""
        if not files and VARIABLE in os.environ:
            return (cls(file=None),)
        return tuple(cls(file=file) for file in files or (_DEFAULT,))

    def __str__(self) -> str:
        return f"the environment variable {VARIABLE}" if self.file is None else str(self.file)

    @property
    def exists(self) -> bool:
        """Return whether there is a configuration to read."""
        return self.file is None or self.file.exists()

    @property
    def folder(self) -> Path:
        """Return the folder of relative paths: that of the file, or the working directory."""
        return Path.cwd() if self.file is None else self.file.resolve().parent

    @property
    def options(self) -> tuple[str, ...]:
        """Return the options with which another process, in any folder, reads the same configuration."""
        return () if self.file is None else ("--config", str(self.file.resolve()))

    def read(self) -> dict[str, Any]:
        """Return the content.

        Raises:
            ConfigMissingError: the file does not exist.
            ConfigError: the content cannot be read or is not TOML.
        """
        try:
            return tomllib.loads(self._text(), parse_float=Decimal)
        except FileNotFoundError as error:
            raise ConfigMissingError(path=self) from error
        except OSError as error:
            raise ConfigError(path=self, problem=f"the file cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            what = "its content" if self.file is None else "the file"
            raise ConfigError(path=self, problem=f"{what} is not valid TOML: {error}") from error

    def _text(self) -> str:
        if self.file is None:
            return os.environ[VARIABLE].removeprefix("\ufeff")
        return self.file.read_text(encoding="utf-8-sig")
