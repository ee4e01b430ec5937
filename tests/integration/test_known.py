"""The archives of earlier windows as the cache of the teacher's logits."""

from dataclasses import replace
from pathlib import Path

import structlog

from db.records import Slot
from monitor.archive import files
from monitor.archive.known import known_logits
from monitor.archive.sample import ScoredSample
from tests.samples import HOUR, TEN, make_sample

NOW = Slot(monitor="prod", window_start=TEN, window_end=TEN + HOUR)
PLENTY = 2**20


def archived(place: Path, sample: ScoredSample, *, redacted: tuple[int, ...] = ()) -> ScoredSample:
    flags = tuple(row in redacted for row in range(len(sample.requests)))
    files.write(place, replace(sample, redacted=flags))
    return sample


def texts(sample: ScoredSample) -> list[str]:
    return [request.text for request in sample.requests]


def known(place: Path, *, slot: Slot = NOW, limit_bytes: int = PLENTY) -> dict[str, list[float]]:
    found = known_logits(
        place, slot, teacher_version="t" * 64, labels=("faq", "promotion"), limit_bytes=limit_bytes
    )
    return {text: logits.tolist() for text, logits in found.items()}


def test_what_was_archived_for_earlier_windows_is_known_to_the_last_bit(tmp_path: Path) -> None:
    """Of a text that was scored twice, the later logits."""
    older = archived(tmp_path, make_sample(seed=1, end=TEN - HOUR))
    newer = archived(
        tmp_path,
        replace(make_sample(seed=2), requests=(older.requests[0], *make_sample(seed=2).requests[1:])),
    )
    assert known(tmp_path) == {
        **dict(zip(texts(older), older.teacher_logits.tolist(), strict=True)),
        **dict(zip(texts(newer), newer.teacher_logits.tolist(), strict=True)),
    }


def test_the_own_and_later_windows_are_not_looked_at(tmp_path: Path) -> None:
    """A cycle that died after it wrote its archive finds nothing more when it is run again."""
    archived(tmp_path, make_sample(end=NOW.window_end))
    archived(tmp_path, make_sample(end=NOW.window_end + HOUR))
    archived(tmp_path, make_sample(monitor="other"))
    assert known(tmp_path) == {}


def test_a_text_that_was_redacted_is_not_known(tmp_path: Path) -> None:
    sample = archived(tmp_path, make_sample(), redacted=(1,))
    assert list(known(tmp_path)) == [texts(sample)[0], texts(sample)[2]]


def test_an_archive_that_does_not_say_what_was_redacted_is_not_used(tmp_path: Path) -> None:
    files.write(tmp_path, make_sample())
    assert known(tmp_path) == {}


def test_another_teacher_ends_the_search(tmp_path: Path) -> None:
    archived(tmp_path, make_sample(end=TEN - HOUR))
    archived(tmp_path, replace(make_sample(end=TEN), teacher_version="u" * 64))
    assert known(tmp_path) == {}


def test_archives_are_read_up_to_the_limit(tmp_path: Path) -> None:
    newest = archived(tmp_path, make_sample(seed=1))
    archived(tmp_path, make_sample(seed=2, end=TEN - HOUR))
    size = max(tmp_path.glob("prod/*")).stat().st_size
    assert list(known(tmp_path, limit_bytes=size)) == texts(newest)
    assert known(tmp_path, limit_bytes=size - 1) == {}
    assert known(tmp_path, limit_bytes=0) == {}


def test_a_damaged_archive_is_told_and_passed_over(tmp_path: Path) -> None:
    older = archived(tmp_path, make_sample(seed=1, end=TEN - HOUR))
    archived(tmp_path, make_sample(seed=2))
    newest = max(tmp_path.glob("prod/*"))
    newest.write_bytes(newest.read_bytes()[:-9])
    with structlog.testing.capture_logs() as logs:
        assert list(known(tmp_path)) == texts(older)
    assert [line["event"] for line in logs] == ["archive passed over"]
