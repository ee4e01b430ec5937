"""The sections of the configuration that the daemon uses."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from db.errors import quoted
from monitor.setting_values import (
    ArtifactLocation,
    Device,
    FieldName,
    Format,
    LocalPath,
    Precision,
    RegularExpression,
    S3Uri,
    Share,
    readable_url,
)
from triggers.rule_sets import RuleSet
from triggers.settings import Section, TeacherPolicy, Temperature
from triggers.values import Duration, Secret, Word

#: The names of monitors; they are also names of folders.
MONITOR_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
#: More than any machine has cores; with tens of thousands torch ends the process.
MOST_THREADS: Final = 1_024
#: The fields of a row that SageMaker captured; the text as the Hugging Face containers accept it.
_CAPTURE_NAMES = {
    "text": "not_null(input.inputs, input.text, input[0])",
    "student_label": "not_null(output.label, output[0].label)",
    "student_logits": "not_null(output.logits, output[0].logits)",
    "label": None,
}


class MonitorSection(Section):
    """The schedule of a monitor, its samples and its archive."""

    name: Annotated[str, Field(pattern=f"^{MONITOR_NAME}$")] = "default"
    every: Annotated[Duration, Field(ge=timedelta(seconds=1))] | None = None
    cron: str | None = None
    lateness: Duration = timedelta(minutes=10)
    catch_up: Duration = timedelta(hours=24)
    sample_size: Annotated[int, Field(ge=1)] = 10_000
    label_floor: Annotated[int, Field(ge=0)] = (
        150  #: requests of each recorded student label, at least; 0: a uniform sample
    )
    min_samples: Annotated[int, Field(ge=1)] = 1_000
    #: The longest window to which slots with fewer requests are merged; not above the length of a slot: none.
    max_window: Duration = timedelta(hours=24)
    max_reject_share: Share = 0.05
    rule_set: RuleSet = "literal"  #: the rules where no [[rules]] are configured
    archive: ArtifactLocation = Path("archive")
    archive_days: Annotated[int, Field(ge=1, le=36_525)] = 30
    redact: bool = True
    redact_patterns: tuple[RegularExpression, ...] = ()

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise ValueError("give 'every' or 'cron', not both")
        if self.every is not None and self.every % timedelta(seconds=1):
            raise ValueError("'every' is not in whole seconds: round it")
        return self

    @model_validator(mode="after")
    def _a_sample_can_be_enough(self) -> Self:
        if self.min_samples > self.sample_size:
            raise ValueError(
                f"min_samples = {self.min_samples} is above sample_size = {self.sample_size}, so no cycle "
                "would have a verdict: lower min_samples or raise sample_size"
            )
        return self


class TrafficSection(Section):
    """The field names of the request log, and the key of the sample."""

    id: FieldName = "id"
    time: FieldName = "time"
    text: FieldName = "text"
    student_label: FieldName = "student_label"
    student_logits: FieldName = "student_logits"
    label: FieldName | None = "label"  #: the true label, if known; None: the log has none
    key: Word = "redistill"
    max_text_chars: Annotated[int, Field(ge=1, le=2**31 - 1)] = 10_000

    @model_validator(mode="before")
    @classmethod
    def _ignore_field_used_elsewhere(cls, given: object) -> object:
        if isinstance(given, dict) and "label" not in given and "label" in given.values():
            return {**given, "label": None}
        return given

    @model_validator(mode="after")
    def _two_labels(self) -> Self:
        if self.label is not None and self.label == self.student_label:
            raise ValueError(
                f"'label' and 'student_label' are both {quoted(self.label)}; 'label' is the true label, "
                "not the one that the student gave"
            )
        return self

    @model_validator(mode="after")
    def _one_purpose_each(self) -> Self:
        """Refuse one field for two purposes: an id is logged and archived as it is, a text must not be."""
        for one, other in (("id", "text"), ("id", "time"), ("time", "text")):
            if getattr(self, one) == getattr(self, other):
                raise ValueError(
                    f"'{one}' and '{other}' are both {quoted(getattr(self, one))}: name the field of each"
                )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of id, time, text, student label, student logits and, if any, true label."""
        names = (self.id, self.time, self.text, self.student_label, self.student_logits)
        return names if self.label is None else (*names, self.label)


class ObjectsSection(TrafficSection):
    """A request log in objects (files)."""

    format: Format = "jsonl"
    max_object_bytes: Annotated[int, Field(ge=1)] = 2**33  #: decompressed; anything beyond is not read

    @model_validator(mode="before")
    @classmethod
    def _use_capture_names(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("format") == "sagemaker-capture":
            return {**_CAPTURE_NAMES, **given}
        return given


class FilesTraffic(ObjectsSection):
    """A request log in a folder, or in one file."""

    kind: Literal["files"] = "files"
    uri: LocalPath


class S3Traffic(ObjectsSection):
    """A request log in a bucket whose keys begin with the hour (UTC) in which an object was written."""

    kind: Literal["s3"]
    uri: S3Uri
    late: Duration = timedelta(minutes=15)  #: how long after its last record an object may be written

    @property
    def bucket(self) -> str:
        """Return the name of the bucket."""
        return self.uri.removeprefix("s3://").partition("/")[0]

    @property
    def hour_prefix(self) -> str:
        """Return the prefix of the keys of an hour, as a pattern for strftime."""
        pattern = self.uri.removeprefix("s3://").partition("/")[2]
        if "%" in pattern:
            return pattern
        slash = "/" if pattern and not pattern.endswith("/") else ""
        return f"{pattern}{slash}%Y/%m/%d/%H/"


class SqlTraffic(TrafficSection):
    """A request log in a table or view of a database; field names are column names."""

    kind: Literal["sql"]
    uri: Annotated[Secret, AfterValidator(readable_url)]  #: an SQLAlchemy URL; it may contain a password
    #: A table or view; `schema.table` if it is not in the default schema.
    table: Annotated[str, Field(min_length=1)]


def _kind(traffic: object) -> object:
    return traffic.get("kind", "files") if isinstance(traffic, dict) else getattr(traffic, "kind", None)


Traffic = Annotated[
    Annotated[FilesTraffic, Tag("files")]
    | Annotated[S3Traffic, Tag("s3")]
    | Annotated[SqlTraffic, Tag("sql")],
    Discriminator(_kind),
]


class TeacherSection(TeacherPolicy):
    """The larger model, with which the student is compared."""

    uri: ArtifactLocation


class StudentSection(Section):
    """The smaller model that serves at the start; later students follow from promotions in the database."""

    uri: ArtifactLocation
    scores: Literal["model", "recorded"] = "model"
    #: The number of recorded answers of a sample that are checked with the model.
    rescored: Annotated[int, Field(ge=1)] = 500


#: Any label, in a misroute.
ANY_LABEL = "*"


class Misroute(Section):
    """The cost of predicting one label for another."""

    true: Annotated[str, Field(min_length=1)] = ANY_LABEL
    predicted: Annotated[str, Field(min_length=1)] = ANY_LABEL
    cost: Annotated[float, Field(ge=0)] = 1.0  #: per request, in your currency
    critical: bool = False


class MetricsSection(Section):
    """The measurement of the distance between the models, and of the quality of each."""

    temperature: Temperature = 3.0
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (2025, 2026, 2027)
    input_sample: Annotated[int, Field(ge=0, le=2_000)] = (
        1_000  #: texts that are compared to detect input drift; 0: off
    )
    rare_labels: tuple[str, ...] = ()
    misroutes: tuple[Misroute, ...] = ()  #: of two for the same pair, the later one counts
    misroute_cost: Annotated[float, Field(ge=0)] = 1.0  #: per request, for all other misroutes


class ScoringSection(Section):
    """The engine that reads the request log and runs the models."""

    engine: Literal["local", "ray"] = "local"
    #: HOST:PORT of the head of the Ray cluster; auto: the cluster that this machine has joined.
    address: Annotated[str, Field(pattern=r"^(auto|[^:/\s]+:\d{1,5})$")] = "auto"
    tokens_per_batch: Annotated[int, Field(ge=1)] = 1_024
    cache_bytes: Annotated[int, Field(ge=0)] = (
        0  #: of archives to read for answers that the teacher gave before
    )
    threads: Annotated[int, Field(ge=0, le=MOST_THREADS)] = 0  #: 0: one per core that this process may use
    device: Device = "auto"  #: of cycles; with engine = "ray" the CPU
    precision: Precision = "float32"

    @model_validator(mode="after")
    def _cluster_without_gpu(self) -> Self:
        if self.engine == "ray" and self.device == "cuda":
            raise ValueError(
                "device = 'cuda' needs engine = 'local', as a cluster scores on its CPUs: change one of them"
            )
        return self


class S3Section(Section):
    """The use of S3: the copies of what is there, and the encryption of what is written to it."""

    cache: LocalPath = Path("cache")  #: the folder of the copies of models, labelled files and checkpoints
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None  #: None: the bucket's
    kms_key: str | None = None  #: the ARN, id or alias of the key

    @model_validator(mode="after")
    def _key_of_kms(self) -> Self:
        kinds = ("aws:kms", "aws:kms:dsse")
        if self.kms_key is not None and self.server_side_encryption not in kinds:
            raise ValueError("'kms_key' needs server_side_encryption = 'aws:kms'")
        return self

    @property
    def encryption(self) -> dict[str, str]:
        """The parameters of each upload."""
        given = {"ServerSideEncryption": self.server_side_encryption, "SSEKMSKeyId": self.kms_key}
        return {name: value for name, value in given.items() if value is not None}


class WebSection(Section):
    """The address of the probes and the metrics, and what is served there."""

    host: Word = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    token: Secret | None = None  #: the bearer token that everything but the probes asks for
    by_label: bool = True  #: whether /metrics has the share and agreement of each label
    emf: bool = False  #: whether each ended cycle writes a line of CloudWatch's embedded metric format
