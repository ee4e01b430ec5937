"""The whole configuration: one frozen tree, read once, from its source and the environment."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from db.connection.session import found_from
from db.errors import quoted
from distill.settings import GatesSection, RedistillSection
from monitor.settings import (
    MetricsSection,
    MonitorSection,
    S3Section,
    ScoringSection,
    SqlTraffic,
    StudentSection,
    TeacherSection,
    Traffic,
    WebSection,
)
from redistill.configuration.database import DatabaseSection
from redistill.configuration.errors import explained, place
from redistill.configuration.source import ConfigError, Source
from redistill.configuration.variables import PREFIX, check_overrides, expanded, sources_of
from redistill.economics.settings import EconomicsSection
from triggers.alert_settings import Alert, LogAlert
from triggers.calibration_settings import CalibrationPolicy
from triggers.rule_sets import RULE_SETS
from triggers.settings import DEFAULT_RULES, SERVING_RULE, IncidentPolicy, QueueSection, Rule, Section
from triggers.worker_tasks.settings import EcsSection


class Settings(BaseSettings):
    """The sections of the file; `REDISTILL__SECTION__KEY` in the environment overrides the file."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    monitor: MonitorSection = MonitorSection()
    traffic: Traffic
    teacher: TeacherSection
    student: StudentSection
    metrics: MetricsSection = MetricsSection()
    rules: tuple[Rule, ...] = DEFAULT_RULES
    redistill: RedistillSection = RedistillSection()
    scoring: ScoringSection = ScoringSection()
    gates: GatesSection = GatesSection()
    calibration: CalibrationPolicy = CalibrationPolicy()
    database: DatabaseSection = DatabaseSection()
    queue: QueueSection = QueueSection()
    ecs: EcsSection | None = None
    alerts: tuple[Alert, ...] = (LogAlert(),)
    incidents: IncidentPolicy = IncidentPolicy()
    web: WebSection = WebSection()
    s3: S3Section = S3Section()
    economics: EconomicsSection = EconomicsSection()
    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path | None:
        """The folder of the configuration, relative to which the database stores paths."""
        return self._folder

    @property
    def calibrating(self) -> CalibrationPolicy:
        """The section [calibration], with `every` by its old name, too; off if it lacks its labelled file."""
        section, every = self.calibration, self.calibration.every
        if "calibrate_every" in self.redistill.model_fields_set:
            every = self.redistill.calibrate_every
        if section.on == "file" and self.redistill.calibration_file is None:
            every = None
        return section.model_copy(update={"every": every})

    @property
    def calibration_watched(self) -> CalibrationPolicy:
        """The policy by which a calibration is overdue: never where no labelled file asks for a worker."""
        policy = self.calibrating
        is_optional = policy.on == "auto" and self.redistill.calibration_file is None
        return policy.model_copy(update={"every": None}) if is_optional else policy

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - nor a secrets folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources in order of precedence: the environment, then the file."""
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _add_default_rules(cls, given: Any) -> Any:  # noqa: ANN401 - not validated yet
        student, monitor = given.get("student"), given.get("monitor")
        wanted = monitor.get("rule_set") if isinstance(monitor, dict) else None
        if "rules" in given:
            if wanted is not None:
                raise ValueError("[[rules]] and rule_set in [monitor] are both set: remove one of them")
            return given
        rules = next((rules for name, rules in RULE_SETS.items() if name == wanted), DEFAULT_RULES)
        if isinstance(student, dict) and student.get("scores") == "recorded":
            rules = (*rules, SERVING_RULE)
        return {**given, "rules": rules}

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_duplicates("rules", [rule.name for rule in self.rules])
        _refuse_duplicates("alerts", [alert.name for alert in self.alerts])
        return self

    @model_validator(mode="after")
    def _history_is_kept_as_long_as_needed(self) -> Self:
        monitor, keep = self.monitor, self.database.keep
        needed = max(timedelta(days=monitor.archive_days), monitor.catch_up + monitor.lateness)
        if keep is not None and keep < needed:
            raise ValueError(
                f"[database] keep = {keep.days}d is below the {needed.days} days of 'archive_days' and "
                "'catch_up' in [monitor], whose cycles are needed: raise keep, or lower these two"
            )
        return self

    @model_validator(mode="after")
    def _one_interval_of_calibrations(self) -> Self:
        old, new = self.redistill.model_fields_set, self.calibration.model_fields_set
        if "calibrate_every" in old and "every" in new:
            raise ValueError(
                "'calibrate_every' in [redistill] is the old name of 'every' in [calibration], and both are "
                "set: remove calibrate_every"
            )
        return self

    @model_validator(mode="after")
    def _ordered_jobs_can_run(self) -> Self:
        orders = any(rule.action == "redistill" for rule in self.rules)
        if orders and (self.redistill.train is None or self.redistill.test is None):
            raise ValueError(
                "[redistill] needs 'train' and 'test' (labelled JSONL files), because a rule has the action "
                "'redistill': add them, or give every rule the action 'alert'"
            )
        lowers = self.redistill.alpha_policy == "lower"
        if orders and lowers and self.redistill.alpha <= self.redistill.alpha_floor:
            raise ValueError(
                f"[redistill] alpha = {self.redistill.alpha} is not above alpha_floor = "
                f"{self.redistill.alpha_floor}, so no job would be ordered: lower alpha_floor, raise "
                "alpha, set alpha_policy = \"keep\", or give every rule the action 'alert'"
            )
        return self


class _RulesFile(Section):
    """A file with rules for `replay`."""

    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _refuse_duplicates("rules", [rule.name for rule in self.rules])
        return self


def _refuse_duplicates(kind: str, names: list[str]) -> None:
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise ValueError(f"[[{kind}]]: two have the name {quoted(min(duplicates))}: rename one of them")


def load(config: Source | Path) -> Settings:
    """Read and check a configuration; relative paths are resolved against the folder of the source.

    Raises:
        ConfigMissingError: the file or the object does not exist.
        ConfigError: the content is not TOML, a key is unknown or a value is invalid, in the content or in the
            environment.
        ScheduleError: `cron` is not a schedule.
    """
    source = Source(file=config) if isinstance(config, Path) else config
    with _shallow(source):
        document = expanded(source.read(), source)
    check_overrides(Settings)
    try:
        settings = Settings(**document)
    except ValidationError as error:
        path = sources_of([(each["loc"], each["msg"]) for each in error.errors()], source, Settings)
        raise ConfigError(path=path, problem=explained(error, Settings)) from error
    except SettingsError as error:
        path = f"the environment variables {PREFIX}…"
        raise ConfigError(path=path, problem=f"{error}: {error.__cause__}") from error
    _refuse_remote_paths(settings, source)
    _check_schedule(settings.monitor)
    return _with_absolute_paths(settings, source.folder)


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read the [[rules]] of a file; the other sections of a whole configuration are ignored.

    Raises:
        ConfigError: there is no such file, it has no rule, or a rule is invalid.
    """
    if not path.exists():
        raise ConfigError(path=path, problem="there is no such file; name the one with [[rules]]")
    with _shallow(path):
        document = Source(file=path).read()
    rules = {
        key: value for key, value in document.items() if key not in Settings.model_fields or key == "rules"
    }
    if rules in ({}, {"rules": []}):
        problem = "it has no rule: add a line [[rules]], with name, metric, and below or above under it"
        raise ConfigError(path=path, problem=problem)
    try:
        return _RulesFile(**rules).rules
    except ValidationError as error:
        raise ConfigError(path=path, problem=explained(error, _RulesFile)) from error


@contextmanager
def _shallow(source: Source | Path) -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise ConfigError(path=source, problem="its tables or lists are nested too deeply") from error


def _refuse_remote_paths(settings: Settings, source: Source) -> None:
    for name, section in settings:
        for key, value in section if isinstance(section, Section) else ():
            if isinstance(value, Path) and value.parts and value.parts[0].endswith(":"):
                problem = f"{place([name, key])}expected a local path, not a URL ({value.parts[0]}//)"
                if (name, key) == ("traffic", "uri"):
                    problem += ": for a log in S3 or in a table, set kind = 's3' or kind = 'sql'"
                path = sources_of([((name, key), problem)], source, type(settings))
                raise ConfigError(path=path, problem=problem)


def _check_schedule(section: MonitorSection) -> None:
    if section.cron is not None:
        from monitor.daemon.schedule import make_trigger  # noqa: PLC0415 - APScheduler takes long to load

        make_trigger(section)


def _with_absolute_paths(settings: Settings, folder: Path) -> Settings:
    sections: dict[str, Section] = {}
    for name, section in settings:
        if isinstance(section, Section):
            paths = {key: folder / value.expanduser() for key, value in section if isinstance(value, Path)}
            sections[name] = section.model_copy(update=paths)
    url = found_from(settings.database.url, folder)
    sections["database"] = sections["database"].model_copy(update={"url": url})
    if isinstance(settings.traffic, SqlTraffic):
        uri = SecretStr(found_from(settings.traffic.uri.get_secret_value(), folder))
        sections["traffic"] = settings.traffic.model_copy(update={"uri": uri})
    absolute = settings.model_copy(update=sections)
    absolute._folder = folder  # noqa: SLF001 - its own class, which is frozen for others
    return absolute
