"""What docs/metrics.md says of a teacher's health beside a drift, on real utterances (CLINC150)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from db.records import KnownTeacher, TeacherPoint
from tests.support.world.clinc import SEED, Logits, Router, data_folder, read_router
from tests.support.world.damage import exchanged, garblings, noisy, stuck
from tests.support.world.writing import STYLES
from triggers.settings import TeacherPolicy
from triggers.teacher.trust import TeacherJudgement, judge_teacher

DOC: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
SHARES: Final = (0.1, 0.2, 0.4, 0.6)
UNTAUGHT: Final = (1, 3, 6)
TEACHERS: Final = 42  #: of each of 48 kinds: 2,016
TRIALS: Final = 5  #: of each damage in each of the 12 drifts
POLICY: Final = TeacherPolicy()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Router:
    return read_router(data_folder(), tmp_path_factory.mktemp("training"))


def known(*reference: TeacherPoint, is_new: bool = False) -> KnownTeacher:
    return KnownTeacher(
        version="v2" if is_new else "v1",
        predecessor="v1" if is_new else None,
        reference=reference,
        reference_version="v1",
    )


def judged(
    router: Router, rng: np.random.Generator, shares: list[float], n_untaught: int, *, with_labels: bool
) -> Iterator[TeacherJudgement]:
    """The judgements of the windows with these shares of untaught intents, after the first three."""
    logits = router.answers("as it is")
    points = [
        router.point(logits, router.window(rng, share=share, n_untaught=n_untaught), with_labels=with_labels)
        for share in shares
    ]
    return (judge_teacher(point, known(*points[:3]), POLICY) for point in points[3:])


@pytest.mark.parametrize("n_untaught", UNTAUGHT)
@pytest.mark.parametrize("is_sudden", [True, False], ids=["sudden", "gradual"])
@pytest.mark.parametrize("with_labels", [True, False], ids=["labels", "none"])
def test_no_healthy_teacher_is_blamed_for_a_drift(
    router: Router,
    n_untaught: int,
    is_sudden: bool,  # noqa: FBT001
    with_labels: bool,  # noqa: FBT001
) -> None:
    """None of 2,016 in all. A gradual drift begins in the reference cycles; each of its cycles is judged."""
    rng = np.random.default_rng([SEED, n_untaught, is_sudden, with_labels])
    for share in SHARES:
        shares = [0.0, 0.0, 0.0, share] if is_sudden else np.linspace(0, share, 9).tolist()
        for _ in range(TEACHERS):
            for found in judged(router, rng, shares, n_untaught, with_labels=with_labels):
                assert not found.is_fault, (share, found.detail)


def damages(router: Router) -> dict[str, tuple[tuple[Logits, Logits], bool]]:
    """What both models answer to each text, and whether the teacher is another version by its fingerprint."""
    right, student = router.answers("as it is")
    taught, untaught = router.taught, router.untaught
    is_hit = np.random.default_rng(SEED).random(len(router.texts)) < 0.4
    weights: dict[str, Any] = {
        **{f"noise of {noise:g}": noisy(router.teacher, noise, router.texts, seed=SEED) for noise in (1, 2)},
        "logits halved": right / 2,
        "labels permuted by one": np.roll(right, 1, axis=1),
        "two labels swapped": exchanged(right, taught[0], taught[1]),
        "one label for every request": stuck(right, taught[3]),
        "one label that the student never gave, for every request": stuck(right, untaught[0]),
        "that label for 40% of the requests": np.where(is_hit[:, None], stuck(right, untaught[0]), right),
    }
    garbled = {name: (router.answers(name, change), False) for name, change in garblings(SEED).items()}
    return garbled | {name: ((logits, student), True) for name, logits in weights.items()}


def documented() -> dict[str, list[str]]:
    """The damage → how often it was found: alone and beside a drift, each without and with true labels."""
    _, _, after = DOC.partition("| damage | alone |")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in after.split("\n\n")[0].splitlines()[2:]
    ]
    return {name: rest for name, *rest in cells}


def test_each_damage_is_found_at_its_first_cycle_as_often_as_the_document_says(router: Router) -> None:
    """Always where it says so; else to 10 windows of 60, since training differs between machines."""
    rng = np.random.default_rng(SEED)
    reference = [
        router.point(router.answers("as it is"), router.window(rng), with_labels=False) for _ in range(3)
    ]
    found: dict[str, list[str]] = {}
    for name, (logits, is_new) in damages(router).items():

        def is_found(share: float, n_untaught: int, *, with_labels: bool) -> bool:
            rows = router.window(rng, share=share, n_untaught=n_untaught)
            point = router.point(logits, rows, with_labels=with_labels)  # noqa: B023 - called at once
            return judge_teacher(point, known(*reference, is_new=is_new), POLICY).is_fault  # noqa: B023

        drifts = [(share, n) for share in SHARES for n in UNTAUGHT] * TRIALS
        cells = [
            [is_found(*drift, with_labels=with_labels) for drift in which]
            for which in ([(0.0, 0)] * len(drifts), drifts)
            for with_labels in (False, True)
        ]
        found[name] = [f"{sum(each)} of {len(each)}" for each in cells]
    table = "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in found.items())
    said = documented()
    assert said.keys() == found.keys(), f"the table is\n{table}"
    for name, shown in found.items():
        is_always = all(cell == "60 of 60" for cell in said[name])
        counts = [[int(cell.split()[0]) for cell in each] for each in (said[name], shown)]
        assert counts[1] == pytest.approx(counts[0], abs=0 if is_always else 10), f"the table is\n{table}"


@pytest.mark.parametrize("style", STYLES)
def test_no_teacher_is_blamed_for_the_way_users_write(router: Router, style: str) -> None:
    """Whether a fifth, half or all of the requests are written so."""
    rng = np.random.default_rng([SEED, len(style)])
    usual = router.answers("as it is")
    written = router.answers(style, STYLES[style](rng))
    reference = [router.point(usual, router.window(rng), with_labels=False) for _ in range(3)]
    for share in (0.2, 0.5, 1.0):
        for _ in range(30):
            rows, is_written = router.window(rng), (rng.random(len(router.texts)) < share)[:, None]
            mixed = tuple(np.where(is_written, new, old) for new, old in zip(written, usual, strict=True))
            point = router.point((mixed[0], mixed[1]), rows, with_labels=False)
            found = judge_teacher(point, known(*reference), POLICY)
            assert not found.is_fault, (share, found.detail)


@pytest.mark.parametrize("share", [0.0, *SHARES])
def test_no_teacher_is_blamed_for_a_seasonal_mix(router: Router, share: float) -> None:
    """One to four labels have three times their share for a day, alone or beside a drift."""
    rng = np.random.default_rng([SEED, round(10 * share)])
    usual = router.answers("as it is")
    reference = [router.point(usual, router.window(rng), with_labels=False) for _ in range(3)]
    for _ in range(100):
        tripled = rng.choice(router.taught, rng.integers(1, 5), replace=False).tolist()
        rows = router.window(
            rng, share=share, n_untaught=int(rng.choice(UNTAUGHT)), weights=dict.fromkeys(tripled, 3.0)
        )
        found = judge_teacher(router.point(usual, rows, with_labels=False), known(*reference), POLICY)
        assert not found.is_fault, found.detail
