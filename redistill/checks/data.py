"""Checks of the models, the request log and the labelled files, and of whether they match."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from time import perf_counter

from db.errors import quoted
from db.records import Reject, Slot, Traffic
from db.states import RejectReason
from distill.evaluation.confusion import unknown_label
from distill.job_data import MOST_FENCED
from distill.training.dataset import LabelledSet, read_labelled, text_hash, training_set
from monitor.daemon.schedule import longest_window, make_trigger, newest_complete_slot
from monitor.labels.spelling import or_alike
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load, match_labels
from monitor.scoring.placement import Placement
from monitor.settings import FilesTraffic, S3Traffic
from monitor.sources.kinds import open_source
from monitor.sources.port import NOT_REJECTED, WindowSample
from monitor.sources.survey import survey
from monitor.stop import never_stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from redistill.artifacts import artifacts
from redistill.checks.result import CheckResult, ok, problem, warning
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.times import length
from redistill.display.words.reject_words import ADVICE, undated_objects

_PROBE = "where is my order?"
_INSPECTED = 100  #: requests of the window that are inspected for true labels


class LoadedModels(list[Model]):
    """The models that could be loaded."""


class NewestSample(list[WindowSample]):
    """The sample of the newest complete window, as a cycle draws it; empty if it could not be read."""


def model(
    role: str, location: Location, *, opener: Artifacts, placement: Placement, loaded: LoadedModels
) -> Iterator[CheckResult]:
    """Check that a model loads and answers, and add it to `loaded`."""
    found = load(opener.directory(location), placement)
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
    yield ok(role, f"{location}: {about}")


def labels(settings: Settings, teacher: Model, student: Model) -> Iterator[CheckResult]:
    """Check that both models have the same labels, among them the rare and the misrouted ones.

    One model in both roles agrees with itself, so it is reported, too.
    """
    match_labels(teacher, student)
    if teacher.version == student.version:
        found = f"teacher and student are the same model, {show.version(teacher.version)}: they always agree"
        yield warning("labels", found, "correct uri in [teacher] or in [student]")
    unknown = [label for label in settings.metrics.rare_labels if label not in teacher.labels]
    misrouted = unknown_label(settings.metrics.misroutes, teacher.labels)
    known = f"the labels are {', '.join(teacher.labels)}"
    if unknown:
        fix = f"correct rare_labels in [metrics]; {known}{or_alike(unknown[0], teacher.labels)}"
        yield problem("labels", f"the rare label {quoted(unknown[0])} is unknown to the models", fix)
    elif misrouted is not None:
        fix = f"correct [[metrics.misroutes]]; {known}{or_alike(misrouted, teacher.labels)}"
        yield problem("labels", f"the misrouted label {quoted(misrouted)} is unknown to the models", fix)
    else:
        yield ok("labels", "teacher and student have the same labels")


def traffic(
    settings: Settings, label_names: Sequence[str], now: datetime, samples: NewestSample
) -> Iterator[CheckResult]:
    """Check that the newest complete window, added to `samples`, has enough requests and few rejects."""
    monitor = settings.monitor
    trigger = make_trigger(monitor)
    slot = newest_complete_slot(trigger, monitor.name, now=now, lateness=monitor.lateness)
    longest = longest_window(trigger, slot, monitor.max_window) - slot.window_start
    source = open_source(settings.traffic, label_names, lambda _end: None)
    sample = source.read_window(
        slot.window_start,
        slot.window_end,
        k=monitor.sample_size,
        floor=monitor.label_floor,
        stopped=never_stopped,
    )
    samples.append(sample)
    counts = sample.traffic
    yield from _repeated_ids(settings, counts)
    found = f"{_window(slot)}: {_counts(counts)}"
    undated = next((each for each in counts.rejects if each.reason is RejectReason.UNDATED_OBJECT), None)
    if counts.n_seen + counts.n_rejected == 0:
        yield _no_traffic(settings, slot, undated)
    elif counts.n_rejected > monitor.max_reject_share * (counts.n_seen + counts.n_rejected):
        worst = _worst(counts)
        example = f", for example in {worst.example_object}" if worst.example_object else ""
        mostly = f"{found}, mostly {worst.reason}{example}"
        yield problem("traffic", mostly, ADVICE[worst.reason])
    elif counts.n_seen < monitor.min_samples and undated:
        yield _undated(slot, counts, undated)
    elif counts.n_seen * (longest / (slot.window_end - slot.window_start)) < monitor.min_samples:
        yield problem("traffic", found, _longer(settings, slot, longest))
    elif settings.student.scores == "recorded" and not any(each.student_logits for each in sample.requests):
        fix = "name their field with student_logits in [traffic], or set scores = 'model' in [student]"
        yield problem("traffic", f"{found}, none with the student's logits", fix)
    else:
        yield ok("traffic", f"{found}{_waits(settings, counts)}{_true_labels(sample)}")
        yield from _unknown_labels(sample, label_names)


def labelled(settings: Settings, label_names: Sequence[str]) -> Iterator[CheckResult]:
    """Check that the labelled files can be read, and that no training row is in the test set."""
    section = settings.redistill
    named = {"train": section.train, "test": section.test, "validation": section.validation}
    sets: dict[str, LabelledSet] = {}
    for name, path in named.items():
        if path is not None:
            sets[name] = read_labelled(artifacts(settings).file(path), label_names, section.fields)
            yield ok(name, f"{path}: {show.count(len(sets[name].texts))} rows")
    if section.train is None or section.test is None:
        yield ok("labelled data", "not needed, because no rule orders a re-distillation")
        return
    training_set(sets["train"], (), sets["test"])
    yield ok("fence", "no training row is in the test set")
    if "validation" in sets:
        yield from _shared_with_test(sets["validation"], sets["test"])


def fenced(settings: Settings, label_names: Sequence[str], samples: NewestSample) -> Iterator[CheckResult]:
    """Yield a warning if much of the newest window's traffic is in the test set: no job trains on it."""
    test = settings.redistill.test
    texts = [request.text for sample in samples for request in sample.requests]
    if test is None or not texts:
        return
    tested = {text_hash(text) for text in read_labelled(artifacts(settings).file(test), label_names).texts}
    n = sum(text_hash(text) in tested for text in texts)
    if n > MOST_FENCED * len(texts):
        found = f"the texts of {n / len(texts):.0%} of the window's requests are in the test set"
        fix = "take frequent texts out of 'test' in [redistill]: a job trains on no text of the test set"
        yield warning("fence", found, fix)


def _shared_with_test(validation: LabelledSet, test: LabelledSet) -> Iterator[CheckResult]:
    tested = {text_hash(text) for text in test.texts}
    n = sum(text_hash(text) in tested for text in validation.texts)
    if n:
        found = f"{show.count(n)} of {show.count(len(validation.texts))} validation rows are in the test set"
        fix = (
            "remove them from one: the gate ece tests, on test rows, a temperature fitted on validation rows"
        )
        yield warning("validation", found, fix)


def _longer(settings: Settings, slot: Slot, longest: timedelta) -> str:
    needed = f"a verdict needs min_samples = {settings.monitor.min_samples}"
    if longest > slot.window_end - slot.window_start:
        rate = f"and max_window = {length(longest)} holds too few at this rate"
        return f"choose a longer max_window in [monitor]: {needed}, {rate}"
    return f"choose a longer window with every, or a longer max_window in [monitor]: {needed}"


def _waits(settings: Settings, counts: Traffic) -> str:
    """Return what becomes of a window with too few requests, or nothing if it has enough."""
    needed = settings.monitor.min_samples
    if counts.n_seen >= needed:
        return ""
    return f"; fewer than min_samples = {needed}, so it is judged with the next windows"


def _undated(slot: Slot, counts: Traffic, undated: Reject) -> CheckResult:
    found = f"{_window(slot)}: {_counts(counts)}, for example {undated.example_object}"
    return problem("traffic", found, ADVICE[undated.reason])


def _no_traffic(settings: Settings, slot: Slot, undated: Reject | None) -> CheckResult:
    found = f"{_window(slot)}: no requests"
    if undated:
        found += f", {undated_objects(undated.n)}, for example {undated.example_object}"
    if isinstance(settings.traffic, S3Traffic):
        prefix = f"s3://{settings.traffic.bucket}/{slot.window_start.strftime(settings.traffic.hour_prefix)}"
        fix = "correct 'uri' in [traffic] (two slashes after the bucket for keys that begin with one)"
        return problem("traffic", f"{found}; its first hour is read from {prefix}", fix)
    if not isinstance(settings.traffic, FilesTraffic):
        fix = "correct 'table' and 'time' in [traffic], or check that the service writes its log"
        return problem("traffic", found, fix)
    contents = survey(settings.traffic)
    last, first_problem = contents.last_time, contents.problem
    if last is None:
        why = f"; the first record is rejected as {first_problem.reason}" if first_problem else ""
        fix = ADVICE[first_problem.reason] if first_problem else "let the service write its log there"
        return problem("traffic", f"{settings.traffic.uri} has no usable request{why}", fix)
    if undated:
        return problem("traffic", found, ADVICE[undated.reason])
    at = f"`redistill cycle --at {last:%Y-%m-%dT%H:%M:%SZ}`"
    fix = f"correct 'uri' in [traffic] if requests are missing, or run the log's last window with {at}"
    return problem("traffic", f"{found}; the last request is of {show.time(last)}", fix)


def _window(slot: Slot) -> str:
    return f"{show.time(slot.window_start)} to {show.time(slot.window_end)}"


def _counts(found: Traffic) -> str:
    repeated = f", {show.count(n)} repeated ids" if (n := _n(found, RejectReason.REPEATED_ID)) else ""
    undated = f", {undated_objects(n)}" if (n := _n(found, RejectReason.UNDATED_OBJECT)) else ""
    counts = f"{show.count(found.n_seen)} requests, {show.count(found.n_rejected)} unusable records"
    return f"{counts}{repeated}{undated}"


def _n(found: Traffic, reason: RejectReason) -> int:
    return sum(each.n for each in found.rejects if each.reason is reason)


def _repeated_ids(settings: Settings, found: Traffic) -> Iterator[CheckResult]:
    """Yield a warning if most records repeat the id of another, of which only one counts."""
    n = _n(found, RejectReason.REPEATED_ID)
    if n > found.n_seen:
        records = show.count(found.n_seen + n)
        said = f"{records} records have only {show.count(found.n_seen)} ids, and each id counts once"
        own = settings.traffic.id
        fix = f"set 'id' in [traffic] to a field that is different in each record, instead of {quoted(own)}"
        yield warning("request ids", said, fix)


def _true_labels(sample: WindowSample) -> str:
    """Return how many of the first requests have a true label, or nothing if none has."""
    some = sample.requests[:_INSPECTED]
    n = sum(each.label is not None for each in some)
    return f"; {n} of {len(some)} have a true label" if n else ""


def _unknown_labels(sample: WindowSample, label_names: Sequence[str]) -> Iterator[CheckResult]:
    """Yield a warning if the models do not have most of the true labels."""
    given = [each.label for each in sample.requests if each.label is not None]
    unknown = [label for label in given if label not in label_names]
    if 2 * len(unknown) <= len(given):
        return
    share = f"{show.count(len(unknown))} of {show.count(len(given))} true labels of the window"
    such = f"such as {quoted(unknown[0])}{or_alike(unknown[0], label_names)}"
    found = f"{share} are not labels of the models, {such}; both models count as wrong there"
    fix = "name the field of the true labels with 'label' in [traffic], or a field that the log does not have"
    yield warning("true labels", found, fix)


def _worst(found: Traffic) -> Reject:
    rejects = (each for each in found.rejects if each.reason not in NOT_REJECTED)
    return max(rejects, key=lambda each: each.n)
