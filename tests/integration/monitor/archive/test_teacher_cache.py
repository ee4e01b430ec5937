"""Archives of earlier windows as the cache of the teacher's logits."""

from dataclasses import replace
from pathlib import Path

import structlog

from monitor.archive import files
from monitor.archive.sample import ScoredSample
from monitor.archive.teacher_cache import known_logits
from tests.support.records.samples import HOUR, TEN, make_sample

PLENTY = 2**20
Archive = tuple[str, str]


def sample_of(seed: int) -> ScoredSample:
    """Each has texts of its own."""
    sample = make_sample(seed=seed, end=TEN - seed * HOUR)
    requests = tuple(each._replace(text=f"{seed} {each.text}") for each in sample.requests)
    return replace(sample, requests=requests)


def archived(place: Path, sample: ScoredSample, *, redacted: tuple[int, ...] = ()) -> Archive:
    flags = tuple(row in redacted for row in range(len(sample.requests)))
    written = files.write(place, replace(sample, redacted=flags))
    return written.uri, written.sha256


def texts(sample: ScoredSample) -> list[str]:
    return [request.text for request in sample.requests]


def known(*archives: Archive, limit_bytes: int = PLENTY) -> dict[str, list[float]]:
    return {text: logits.tolist() for text, logits in known_logits(archives, limit_bytes=limit_bytes).items()}


def by_text(sample: ScoredSample) -> dict[str, list[float]]:
    return dict(zip(texts(sample), sample.teacher_logits.tolist(), strict=True))


def test_what_was_archived_is_known_to_the_last_bit(tmp_path: Path) -> None:
    """Of a text that was scored twice, the later logits."""
    older, other = sample_of(2), sample_of(1)
    newer = replace(other, requests=(older.requests[0], *other.requests[1:]))
    found = known(archived(tmp_path, newer), archived(tmp_path, older))
    assert found == {**by_text(older), **by_text(newer)}


def test_a_text_that_was_redacted_is_not_known(tmp_path: Path) -> None:
    sample = make_sample()
    assert list(known(archived(tmp_path, sample, redacted=(1,)))) == [texts(sample)[0], texts(sample)[2]]


def test_an_archive_that_does_not_say_what_was_redacted_is_not_used(tmp_path: Path) -> None:
    written = files.write(tmp_path, make_sample())
    assert known((written.uri, written.sha256)) == {}


def test_archives_are_read_until_the_limit_is_reached(tmp_path: Path) -> None:
    """So one is read in any case, however large."""
    samples = [sample_of(seed) for seed in range(3)]
    archives = [archived(tmp_path, sample) for sample in samples]
    size = Path(archives[0][0]).stat().st_size
    assert known(*archives, limit_bytes=0) == {}
    assert list(known(*archives, limit_bytes=1)) == texts(samples[0])
    assert list(known(*archives, limit_bytes=size)) == texts(samples[0])
    assert list(known(*archives, limit_bytes=size + 1)) == texts(samples[0]) + texts(samples[1])


def test_one_that_is_damaged_or_was_changed_is_told_and_passed_over(tmp_path: Path) -> None:
    older = sample_of(2)
    uri, sha256 = archived(tmp_path, sample_of(1))
    with structlog.testing.capture_logs() as logs:
        assert known((uri, "0" * 64), archived(tmp_path, older)) == by_text(older)
        Path(uri).write_bytes(Path(uri).read_bytes()[:-9])
        assert known((uri, sha256), archived(tmp_path, older)) == by_text(older)
    assert [line["event"] for line in logs] == ["archive passed over"] * 2


def test_one_that_is_missing_is_passed_over(tmp_path: Path) -> None:
    """Deleted by hand: the teacher is asked again."""
    older = sample_of(2)
    missing = f"{tmp_path}/prod/20261124T100000Z.jsonl.zst"
    with structlog.testing.capture_logs() as logs:
        assert known((missing, "0" * 64), archived(tmp_path, older)) == by_text(older)
    assert [line["event"] for line in logs] == ["archive passed over"]
