"""The sections of the configuration that the worker needs."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from distill.training.fields import LabelledFields
from distill.training.schedule import Schedule
from monitor.setting_values import ArtifactLocation, Device, FileLocation, Precision, Share
from triggers.calibration_settings import DEFAULT_EVERY, Every
from triggers.settings import AlphaPolicy, Section
from triggers.values import Duration, none_for

#: "random": of requests drawn at random; "selected": of requests that somebody chose, such as complaints.
LabelSource = Literal["random", "selected"]
#: "online": the teacher answers while the student trains; "offline": before, once for each labelled file.
SoftLabelsMode = Literal["auto", "online", "offline"]
#: What becomes of a candidate that passes the gates.
Promote = Literal["auto", "manual", "shadow"]
#: A number of versions; "all" is None.
VersionCount = Annotated[Annotated[int, Field(ge=1)] | None, none_for("all")]


#: The name of a field or a column.
FieldName = Annotated[str, Field(min_length=1)]


class RedistillSection(AlphaPolicy):
    """The section [redistill]: training, labelled files and registry."""

    soft_labels: SoftLabelsMode = "auto"
    offline_above_runs_per_week: Annotated[int, Field(ge=0)] = 4  #: with more, "auto" is "offline"
    epochs: Annotated[int, Field(ge=1)] = 5
    batch_size: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 2025
    device: Device = "auto"  #: of trainings, and of the models that a job scores
    precision: Precision = "float32"
    train: FileLocation | None = None
    validation: FileLocation | None = None
    test: FileLocation | None = None
    text_field: FieldName = "text"  #: the name of the texts in these files, a field or a column
    label_field: FieldName = "label"
    student_init: ArtifactLocation | None = None
    traffic_labels: Literal["use", "ignore"] = "use"  #: the true labels of archived requests
    replay_jobs: Annotated[int, Field(ge=0)] = 3  #: earlier promoted jobs whose samples are trained on, too
    label_source: LabelSource = "random"  #: "selected": of requests such as complaints
    registry: ArtifactLocation = Path("registry")
    #: The name in the registry of the pointer to the student in service; monitors that share a registry need
    #: different names.
    link: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "current"
    keep_versions: VersionCount = (
        None  #: of those that jobs made, the newest; the files of others are deleted
    )
    checkpoint_every: Duration = timedelta(minutes=1)  #: of training; less often where saving is slow
    #: "shadow": a candidate is scored beside the student in service before it is promoted
    promote: Promote = "auto"
    calibrate_every: Every = DEFAULT_EVERY  #: the old name of `every` in [calibration]

    @property
    def schedule(self) -> Schedule:
        """The schedule of each training."""
        return Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=self.seed,
        )

    @property
    def fields(self) -> LabelledFields:
        """The names of text and label in the labelled files."""
        return LabelledFields(text=self.text_field, label=self.label_field)

    @property
    def calibration_file(self) -> FileLocation | None:
        """The labelled file for calibration; students are not trained on its rows."""
        return self.validation or self.test


#: Milliseconds above 0; "off" is None.
Milliseconds = Annotated[Annotated[float, Field(gt=0)] | None, none_for("off")]


#: The largest share of rows that is tolerated; "off" is None.
Most = Annotated[Share | None, none_for("off")]
#: The largest loss against the incumbent that is tolerated, as a share of rows; "off" is None.
Margin = Annotated[Annotated[float, Field(gt=0, lt=1)] | None, none_for("off")]


class GatesSection(Section):
    """The section [gates]: the thresholds for a candidate; a tie passes."""

    accuracy: Share = 0.905
    rare_class_accuracy: Share = 0.870
    ece: Share = 0.050
    ece_of: Literal["calibrated", "raw"] = "calibrated"  #: at the model's own temperature, or at T = 1
    latency_p95_ms: Milliseconds = 5.0
    agreement: Share = 0.95
    margin: Margin = 0.01  #: of the relative gates
    max_churn: Most = None  #: rows whose label changes from the incumbent
    max_negative_flips: Most = None  #: rows that the incumbent gets right and the candidate wrong
    #: "hold": a candidate with an inconclusive gate waits for a person
    on_inconclusive: Literal["pass", "hold"] = "pass"
