"""Whether the models, the request log and the labelled files are there to be used, and fit each other."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from time import perf_counter

from db.records import Slot, Traffic
from distill.evaluation.confusion import unknown_label
from distill.training.dataset import LabelledSet, read_labelled, text_hash, training_set
from monitor.daemon.schedule import make_trigger, newest_complete_slot
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load, match_labels
from monitor.settings import FilesTraffic
from monitor.sources.kinds import open_source
from monitor.sources.port import NOT_REJECTED, WindowSample
from monitor.sources.survey import survey
from monitor.stop import never_stopped
from redistill.checks.result import CheckResult, bad, good, warn
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.times import length

_PROBE = "where is my order?"
_LOOKED_AT = 100  #: requests of the window, for what they hold


class Loaded(list[Model]):
    """The models that could be loaded."""


class Looked(list[WindowSample]):
    """The sample of the newest complete window, as a cycle draws it, if it could be read."""


def model(role: str, directory: Path, loaded: Loaded) -> Iterator[CheckResult]:
    """It loads and answers; it is added to `loaded`."""
    found = load(directory)
    start = perf_counter()
    score(
        found,
        [_PROBE],
        tokens_per_batch=found.max_length,
        stopped=never_stopped,
        progress=lambda _done: None,
    )
    milliseconds = (perf_counter() - start) * 1_000
    loaded.append(found)
    about = f"{show.version(found.version)}, {len(found.labels)} labels, answers in {milliseconds:.0f} ms"
    yield good(role, f"{directory}: {about}")


def labels(settings: Settings, teacher: Model, student: Model) -> Iterator[CheckResult]:
    """The two know the same labels, and the rare ones and those of misroutes are among them."""
    match_labels(teacher, student)
    unknown = [label for label in settings.metrics.rare_labels if label not in teacher.labels]
    misrouted = unknown_label(settings.metrics.misroutes, teacher.labels)
    if unknown:
        mend = f"mend rare_labels in [metrics]; there are {', '.join(teacher.labels)}"
        yield bad("labels", f"the rare label {unknown[0]!r} is unknown to the models", mend)
    elif misrouted is not None:
        mend = f"mend [[metrics.misroutes]]; there are {', '.join(teacher.labels)}"
        yield bad("labels", f"the misrouted label {misrouted!r} is unknown to the models", mend)
    else:
        yield good("labels", "teacher and student know the same")


def traffic(
    settings: Settings, label_names: Sequence[str], now: datetime, looked: Looked
) -> Iterator[CheckResult]:
    """The newest complete window, added to `looked`, has enough requests and few that cannot be used."""
    monitor = settings.monitor
    slot = newest_complete_slot(make_trigger(monitor), monitor.name, now=now, lateness=monitor.lateness)
    source = open_source(settings.traffic, label_names, lambda _end: None)
    sample = source.read_window(
        slot.window_start,
        slot.window_end,
        k=monitor.sample_size,
        floor=monitor.label_floor,
        stopped=never_stopped,
    )
    looked.append(sample)
    found = sample.traffic
    if found.n_seen + found.n_rejected == 0:
        yield _no_traffic(settings, slot)
    elif found.n_rejected > monitor.max_reject_share * (found.n_seen + found.n_rejected):
        mend = "mend the log, or the field names in [traffic]"
        yield bad("traffic", f"{_window(slot)}: {_counts(found)}, mostly {_worst(found)}", mend)
    elif found.n_seen < monitor.min_samples:
        mend = f"a verdict needs min_samples = {monitor.min_samples}: choose a longer window with every"
        yield bad("traffic", f"{_window(slot)}: {_counts(found)}", mend)
    elif settings.student.scores == "recorded" and not any(each.student_logits for each in sample.requests):
        mend = "name the field with student_logits in [traffic], or set scores = 'model' in [student]"
        yield bad("traffic", f"{_window(slot)}: {_counts(found)}, none with the student's logits", mend)
    else:
        yield good("traffic", f"{_window(slot)}: {_counts(found)}{_true_labels(sample)}")
        yield from _unknown_labels(sample, label_names)


def labelled(settings: Settings, label_names: Sequence[str]) -> Iterator[CheckResult]:
    """The rows can be read, and none that is trained on is in the test set."""
    section = settings.redistill
    named = {"train": section.train, "test": section.test, "validation": section.validation}
    sets: dict[str, LabelledSet] = {}
    for name, path in named.items():
        if path is not None:
            sets[name] = read_labelled(path, label_names)
            yield good(name, f"{path}: {show.count(len(sets[name].texts))} rows")
    if section.train is None or section.test is None:
        yield good("labelled data", "none is needed, since no rule orders a re-distillation")
        return
    training_set(sets["train"], (), sets["test"])
    yield good("fence", "no training row is in the test set")
    if "validation" in sets:
        yield from _shared_with_test(sets["validation"], sets["test"])


def _shared_with_test(validation: LabelledSet, test: LabelledSet) -> Iterator[CheckResult]:
    tested = {text_hash(text) for text in test.texts}
    n = sum(text_hash(text) in tested for text in validation.texts)
    if n:
        found = f"{show.count(n)} of {show.count(len(validation.texts))} validation rows are in the test set"
        mend = (
            "remove them from one: the gate ece judges on test rows the temperature that validation rows gave"
        )
        yield warn("validation", found, mend)


def calibration(settings: Settings) -> Iterator[CheckResult]:
    """Whether the student is calibrated, how often and on what; the file itself is read by `labelled`."""
    section = settings.redistill
    if section.calibration_file is None:
        yield good("calibration", "off, since no labelled file is named (validation or test in [redistill])")
    elif section.calibrate_every is None:
        yield good("calibration", "off, as configured; `redistill models calibrate` does it once")
    else:
        yield good("calibration", f"every {length(section.calibrate_every)}, on {section.calibration_file}")


def _no_traffic(settings: Settings, slot: Slot) -> CheckResult:
    if not isinstance(settings.traffic, FilesTraffic):
        return bad(
            "traffic", f"{_window(slot)}: none", "mend [traffic], or look whether the service writes its log"
        )
    look = survey(settings.traffic)
    if look.last_time is None:
        first = look.problem
        why = f"; the first record is refused as {first.reason}" if first else ""
        mend = (
            "mend 'uri' or the field names in [traffic]" if first else "let the service write its log there"
        )
        return bad("traffic", f"{settings.traffic.uri} has no usable request{why}", mend)
    last = look.last_time
    mend = (
        f"mend 'uri' in [traffic] if there should be some; `redistill cycle --at {last:%Y-%m-%dT%H:%M:%SZ}` "
    )
    mend += "looks at the log's last window"
    return bad("traffic", f"{_window(slot)}: none; the last request is of {show.time(last)}", mend)


def _window(slot: Slot) -> str:
    return f"{show.time(slot.window_start)} to {show.time(slot.window_end)}"


def _counts(found: Traffic) -> str:
    return f"{show.count(found.n_seen)} requests, {show.count(found.n_rejected)} unusable records"


def _true_labels(sample: WindowSample) -> str:
    """How many of the requests that were looked at have one, if any has."""
    some = sample.requests[:_LOOKED_AT]
    n = sum(each.label is not None for each in some)
    return f"; {n} of {len(some)} have a true label" if n else ""


def _unknown_labels(sample: WindowSample, label_names: Sequence[str]) -> Iterator[CheckResult]:
    """A warning where most true labels are none of the models': both models count as wrong about them."""
    given = [each.label for each in sample.requests if each.label is not None]
    unknown = [label for label in given if label not in label_names]
    if 2 * len(unknown) <= len(given):
        return
    share = f"{show.count(len(unknown))} of {show.count(len(given))} true labels of the window"
    found = f"{share} are not labels of the models, such as {unknown[0]!r}: both models count as wrong there"
    mend = "name the field of the true labels with 'label' in [traffic], or one that the log does not have"
    yield warn("true labels", found, mend)


def _worst(found: Traffic) -> str:
    refused = [each for each in found.rejects if each.reason not in NOT_REJECTED]
    worst = max(refused, key=lambda each: each.n)
    return f"{worst.reason}, such as in {worst.example_object}"
