"""One configuration among several: it is tried again until it works, and no name is in force twice."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

import redistill.several.lives
from redistill.configuration.settings import Settings
from redistill.configuration.source import Source
from redistill.several.lives import Life, Work, lives
from tests.support.processes.waiting import comes_true, wait_until
from tests.support.world.waiting_monitor import written


@contextmanager
def living(work: Work, *files: Path) -> Iterator[tuple[Life, ...]]:
    stop = threading.Event()
    found = lives([Source(file=file) for file in files], stop)
    for life in found:
        life.prepare()

    def until_stopped(settings: Settings) -> None:
        work(settings)
        stop.wait()

    threads = [life.start(until_stopped) for life in found]
    try:
        yield found
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redistill.several.lives, "_FIRST_WAIT_SECONDS", 0.1)


def nothing(_settings: Settings) -> None:
    """It works."""


def test_a_configuration_that_is_missing_or_broken_is_read_until_it_works(tmp_path: Path) -> None:
    good, missing, broken = (tmp_path / name for name in ("good.toml", "missing.toml", "broken.toml"))
    written(good, name="good")
    broken.write_text("[monitr]\n")
    with living(nothing, missing, broken, good) as (absent, wrong, sound):
        wait_until(lambda: sound.problem is None, "sound")
        assert (absent.monitor, wrong.monitor, sound.monitor) == (str(missing), str(broken), "good")
        wait_until(lambda: absent.problem != "starting" != wrong.problem, "found")
        assert f"{missing} does not exist" in str(absent.problem)
        assert "unknown section 'monitr'" in str(wrong.problem)
        written(missing, name="late")
        written(broken, name="repaired")
        wait_until(lambda: absent.problem is None and wrong.problem is None, "sound")
        assert (absent.monitor, wrong.monitor) == ("late", "repaired")


def test_what_fails_is_tried_again_after_waits_that_grow(tmp_path: Path) -> None:
    written(tmp_path / "a.toml", name="a")
    times: list[float] = []

    def fail(_settings: Settings) -> None:
        times.append(time.monotonic())
        raise RuntimeError("no")

    with living(fail, tmp_path / "a.toml") as (life,):
        wait_until(lambda: len(times) == 4, "tried four times")
        wait_until(lambda: life.problem == "RuntimeError: no", "failed")
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert [wait > least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sqlite:///redistill.db", "sqlite:///./redistill.db"),
        ("postgresql://a:secret@host/name", "postgresql+psycopg://b@host:5432/name?sslmode=require"),
    ],
    ids=["sqlite", "postgresql"],
)
def test_a_name_is_in_force_once_in_a_database(one: str, other: str, tmp_path: Path) -> None:
    first, second = written(tmp_path / "a.toml", url=one), written(tmp_path / "b.toml", url=other)
    with living(nothing, first, second) as (life, refused):
        wait_until(lambda: life.problem is None and refused.problem not in {None, "starting"}, "settled")
        problem = str(refused.problem)
        assert problem.startswith(f"{second} names the monitor 'waiting' of the database ")
        assert problem.endswith(
            f"as does {first}: rename one of them in [monitor] name, or leave one of the configurations out."
        )
        assert "secret" not in problem
        written(second, url=other, name="another")
        wait_until(lambda: refused.problem is None, "in force")


def test_a_name_is_free_when_its_configuration_no_longer_names_it(tmp_path: Path) -> None:
    """While the first one fails for another reason, the second does not take its place."""
    first, second = written(tmp_path / "a.toml"), written(tmp_path / "b.toml")
    begun: list[float] = []

    def fail(_settings: Settings) -> None:
        begun.append(time.monotonic())
        if len(begun) < 3:
            raise RuntimeError
        if len(begun) == 3:
            first.unlink()
            raise RuntimeError

    with living(fail, first, second) as (life, refused):
        wait_until(lambda: len(begun) == 3, "the first one only", timeout=20)
        wait_until(lambda: refused.problem is None, "in its place", timeout=20)
        assert "does not exist" in str(life.problem)


def test_two_databases_may_have_monitors_of_one_name(tmp_path: Path) -> None:
    files = [
        written(tmp_path / f"{host}.toml", url=f"postgresql://user@{host}/name") for host in ("one", "other")
    ]
    with living(nothing, *files) as found:
        assert comes_true(lambda: [life.problem for life in found] == [None, None])
