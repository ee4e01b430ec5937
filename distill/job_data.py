"""The data that one job trains on and is judged on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Final, Literal

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import Engine

from db.archives import cycle_archives
from db.archives.cycle_archives import PairArchive
from db.connection.session import reading
from db.cycles import labels as imported
from db.errors import RedistillError
from db.records import Job
from distill.settings import RedistillSection
from distill.training.archived import ArchivedRow, archived_rows, with_first
from distill.training.dataset import (
    LabelledSet,
    TrainingSet,
    read_labelled,
    split_archive,
    text_hash,
    training_set,
)
from monitor.archive import files
from monitor.archive.places import ArchiveReadError, ArchiveUnavailableError
from monitor.archive.redaction import Redact
from monitor.archive.sample import ScoredSample
from monitor.labels.truth import Late
from monitor.storage.artifacts import Artifacts
from monitor.strata import Strata

#: The most requests in the archived samples that a job trains on: six samples of the usual size. The samples
#: of its cycle and of the earlier cycles of the episode are taken newest first; the sample of its own
#: cycle is always included.
MAX_ARCHIVED_REQUESTS: Final = 60_000


#: The share of the archived requests that the fence of the test set may leave out without a warning.
MOST_FENCED: Final = 0.2


#: Returns the teacher's logits (n, labels) for the train file; None: the teacher answers during the training.
OfflineSoftLabels = Callable[[LabelledSet], NDArray[np.float32] | None]


class NoLabelledDataError(RedistillError):
    """[redistill] 'train' or 'test' is not set: name the labelled files, then retry the job."""


@dataclass(frozen=True, kw_only=True)
class Condemned:
    """The held-out part of the sample that condemned the incumbent.

    For a job that a person ordered it is that of the newest sample.
    """

    rows: tuple[ArchivedRow, ...]
    strata: Strata

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts, (n,)."""
        return tuple(row.text for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class JobData:
    """The data of one job. `training` has no text of `test` and no archived text of `condemned`."""

    training: TrainingSet
    validation: LabelledSet | None
    test: LabelledSet
    condemned: Condemned | None  #: None if a person ordered the job and no sample was archived
    sha256: Mapping[str, str]  #: of each file, by its role
    soft_labels: Literal["online", "offline"] = "online"


def read_job_data(
    engine: Engine,
    job: Job,
    section: RedistillSection,
    artifacts: Artifacts,
    *,
    labels: Sequence[str],
    redact: Redact,
    kept: timedelta,
    soft_labels: OfflineSoftLabels = lambda _rows: None,
) -> JobData:
    """Read the labelled files and the archived samples of the job.

    The samples are those of the job's cycle and of the earlier cycles of its episode that are archived, for
    `kept` at most (see `cycle_archives.of_pair`), followed by those of `replay_jobs` earlier jobs (see
    `cycle_archives.of_promoted_jobs`), within `MAX_ARCHIVED_REQUESTS`. `soft_labels` gives the teacher's
    logits for the train file; then all archived requests have theirs, too.

    Raises:
        NoLabelledDataError, DatasetUnreadableError, DatasetRowError, DatasetEmptyError,
        DatasetOverlapError, ArchiveReadError: a file is missing or unusable; the error names it.
        ArchiveUnavailableError: the archive is unreachable; a later try may succeed.
    """
    if section.train is None or section.test is None:
        raise NoLabelledDataError
    train, test = (
        read_labelled(artifacts.file(each), labels, section.fields) for each in (section.train, section.test)
    )
    validation = (
        read_labelled(artifacts.file(section.validation), labels, section.fields)
        if section.validation
        else None
    )
    own, replayed = _archives(engine, job, kept, section.replay_jobs)
    archives, left_out = within([*own, *replayed], MAX_ARCHIVED_REQUESTS)
    late = _late_labels(engine, archives) if section.traffic_labels == "use" else {}
    logits = soft_labels(train)
    archived: list[ArchivedRow] = []
    condemned = None
    read: list[PairArchive] = []
    for index, archive in enumerate(archives):  # only one sample at a time is in memory with its logits
        sample = _sample(archive, is_needed=archive in own)
        if sample is None:
            continue
        read.append(archive)
        rows = archived_rows(sample, labels, late.get(archive.cycle_id), with_logits=logits is not None)
        held_out = dict.fromkeys(split_archive([row.text for row in rows]).rows)
        archived += [row for number, row in enumerate(rows) if number not in held_out]
        if index == 0 and own:
            condemned = _condemned(sample, rows, [*held_out])
    training = training_set(train, archived, test, redact=redact, label_source=section.label_source)
    if logits is not None:
        training = replace(training, known_logits=with_first(logits, training.known_logits))
    structlog.get_logger().info(
        "training data read",
        job_id=job.job_id,
        n_labelled=len(train.texts),
        n_samples=len(read),
        n_samples_replayed=sum(archive not in own for archive in read),
        n_samples_left_out=len(left_out),
        n_requests_left_out=sum(each.n for each in left_out),
        n_archived=len(archived),
        n_fenced=training.n_fenced,
        n_labelled_traffic=training.traffic_labels.n,
        n_out_of_scope=training.traffic_labels.n_out_of_scope,
        label_source=training.traffic_labels.source,
        label_weight=round(training.traffic_labels.weight, 4),
        soft_labels="online" if logits is None else "offline",
    )
    _warn_of_fence(job, len(archived), training.n_fenced)
    named = {"train": train, "validation": validation, "test": test}
    return JobData(
        training=training,
        validation=validation,
        test=test,
        condemned=condemned,
        soft_labels="online" if logits is None else "offline",
        sha256={
            **{name: rows.sha256 for name, rows in named.items() if rows is not None},
            **{f"archive:{Path(each.uri).name}": each.sha256 for each in read},
        },
    )


def within(
    archives: Sequence[PairArchive], limit: int
) -> tuple[Sequence[PairArchive], Sequence[PairArchive]]:
    """Split archives, newest first, into those to train on and the older rest.

    The first one always counts; the others count while all of them together have at most `limit` requests.
    """
    sizes = accumulate(each.n for each in archives)
    n = sum(1 for index, size in enumerate(sizes) if index == 0 or size <= limit)
    return archives[:n], archives[n:]


def _condemned(sample: ScoredSample, rows: Sequence[ArchivedRow], held_out: Sequence[int]) -> Condemned:
    chosen = tuple(rows[row] for row in held_out)
    number: dict[bytes, int] = {}
    of_texts = [number.setdefault(text_hash(row.text), len(number)) for row in chosen]
    strata = sample.strata.at(np.array(held_out, dtype=np.intp))
    return Condemned(rows=chosen, strata=replace(strata, clusters=np.array(of_texts, dtype=np.intp)))


def _late_labels(engine: Engine, archives: Sequence[PairArchive]) -> Mapping[int, Late]:
    """Return the imported labels of the requests of each sample, by its cycle."""
    with reading(engine) as connection:
        return {each.cycle_id: imported.of_cycle(connection, each.cycle_id) for each in archives}


def _sample(archive: PairArchive, *, is_needed: bool) -> ScoredSample | None:
    """Return an archived sample; None if one of an earlier job cannot be read, as it may have expired."""
    try:
        return files.read(archive.uri, sha256=archive.sha256)
    except ArchiveUnavailableError:
        raise
    except ArchiveReadError as error:
        if is_needed:
            raise
        structlog.get_logger().warning("archive passed over", error=str(error))
        return None


def _warn_of_fence(job: Job, n_archived: int, n_fenced: int) -> None:
    if n_fenced > MOST_FENCED * n_archived:
        structlog.get_logger().warning(
            "much of the archive is in the test set", job_id=job.job_id, share=round(n_fenced / n_archived, 3)
        )


def _archives(
    engine: Engine, job: Job, kept: timedelta, replay_jobs: int
) -> tuple[tuple[PairArchive, ...], tuple[PairArchive, ...]]:
    """Return the samples of the job's own episode, and those of earlier jobs, each sample once."""
    with reading(engine) as connection:
        own = () if job.cycle_id is None else cycle_archives.of_pair(connection, job.cycle_id, kept=kept)
        earlier = cycle_archives.of_promoted_jobs(connection, job, newest=replay_jobs, kept=kept)
    return own, tuple(each for each in dict.fromkeys(earlier) if each not in own)
