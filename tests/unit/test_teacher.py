"""Whether a teacher can be believed."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm

from db.records import Correctness, Interval, KnownTeacher, LabelMeasurement, TeacherPoint
from db.states import TeacherHealth, TeacherReason
from tests.factories import make_interval, make_teacher
from triggers.correctness import split
from triggers.settings import TeacherPolicy
from triggers.teacher import accuracy_of, judge_teacher, mix_divergence, mix_noise

USUAL = {"faq": 0.5, "checkout": 0.3, "escalation": 0.2}
POLICY = TeacherPolicy()


def make_point(
    mix: Mapping[str, float] = USUAL,
    *,
    n: int = 5_500,
    agreement: float = 0.97,
    label_agreements: Mapping[str, float] | None = None,
    **numbers: float,
) -> TeacherPoint:
    shares = dict.fromkeys(mix, agreement) | (label_agreements or {})
    return TeacherPoint(
        measured=make_teacher(n=n, **numbers),
        agreement=make_interval(agreement),
        labels={
            label: LabelMeasurement(
                label=label, n=round(n * share), share=share, agreement=make_interval(shares[label]), kl=0.01
            )
            for label, share in mix.items()
        },
    )


def known(*reference: TeacherPoint, predecessor: str | None = None) -> KnownTeacher:
    return KnownTeacher(
        version="0123456789abcdef",
        predecessor=predecessor,
        reference=reference,
        reference_version="reference" if reference else None,
    )


REFERENCE = (make_point(), make_point(confidence=0.92), make_point(entropy=0.2))


@pytest.mark.parametrize(
    ("point", "reason", "sentence"),
    [
        (make_point(), None, "a cycle like the others"),
        (make_point(confidence=0.99, entropy=0.01), None, "to be surer than ever is no fault"),
        (make_point(confidence=0.834), None, "the interval reaches to 0.08 below the lowest one"),
        (make_point(confidence=0.831), TeacherReason.CONFIDENCE_FALLEN, "all of it lies lower"),
        (make_point(entropy=0.456), None, "0.25 nats above the highest"),
        (make_point(entropy=0.459), TeacherReason.ENTROPY_RISEN, "all of it lies higher"),
        (make_point(confidence=0.5, entropy=1.0), TeacherReason.CONFIDENCE_FALLEN, "the first is named"),
        (make_point({"faq": 0.2, "checkout": 0.2, "escalation": 0.6}), None, "along with the traffic"),
        (
            make_point({"faq": 0.2, "checkout": 0.2, "escalation": 0.6}, label_gap=0.09),
            TeacherReason.LABELS_MOVED,
            "without the student",
        ),
        (make_point(label_gap=0.3), None, "the student's labels moved, not the teacher's"),
        (make_point({"escalation": 1.0}), TeacherReason.LABELS_MOVED, "stuck, and the student with it"),
        (make_point({"new": 1.0}), TeacherReason.LABELS_MOVED, "a label that never was is nothing infinite"),
        (make_point(agreement=0.1), None, "a student that is wrong is no fault of a teacher that is known"),
    ],
)  # fmt: skip
def test_what_is_held_against_a_known_teacher(
    point: TeacherPoint, reason: TeacherReason | None, sentence: str
) -> None:
    judged = judge_teacher(point, known(*REFERENCE), POLICY)
    assert judged.is_fault is (reason is not None), sentence
    assert judged.reason is (reason or TeacherReason.WITHIN), sentence
    assert judged.health is (TeacherHealth.HEALTHY if reason is None else TeacherHealth.UNHEALTHY)


@pytest.mark.parametrize(
    ("point", "health", "reason", "sentence"),
    [
        (make_point(), "changed", "new_version", "like its predecessor"),
        (make_point(agreement=0.6), "changed", "new_version", "the student agrees with it on most"),
        (make_point(agreement=0.49), "unhealthy", "contradicts", "on less than half"),
        (make_point(confidence=0.5), "unhealthy", "confidence_fallen", "held to its predecessor's numbers"),
        (make_point(label_agreements={"faq": 0.4}), "unhealthy", "contradicts", "one label is another now"),
        (make_point(n=400, label_agreements={"escalation": 0}), "changed", "new_version", "80 requests"),
        (make_point({**USUAL, "new": 0.02}, label_agreements={"new": 0}), "changed", "new_version", "new"),
    ],
)  # fmt: skip
def test_what_is_held_against_a_new_teacher(
    point: TeacherPoint, health: str, reason: str, sentence: str
) -> None:
    judged = judge_teacher(point, known(*REFERENCE, predecessor="teacher-1"), POLICY)
    assert (judged.health, judged.reason) == (health, reason), sentence
    assert judged.detail.startswith("new teacher 0123456789ab after teacher-1: ")
    accepted = judge_teacher(
        point, known(*REFERENCE, predecessor="teacher-1"), TeacherPolicy(accept="0123456789ab")
    )
    assert (accepted.health, accepted.reason) == ("changed", "new_version")


def test_a_label_that_the_student_never_gave_is_not_held_against_a_new_teacher() -> None:
    never = make_point(label_agreements={"faq": 0.1})
    judged = judge_teacher(never, known(never, never, never, predecessor="teacher-1"), POLICY)
    assert judged.health is TeacherHealth.CHANGED


@pytest.mark.parametrize(("predecessor", "health"), [(None, "unknown"), ("teacher-1", "changed")])
def test_without_a_reference_nothing_speaks_against_a_teacher(predecessor: str | None, health: str) -> None:
    judged = judge_teacher(make_point(confidence=0.2), known(predecessor=predecessor), POLICY)
    assert (judged.health, judged.label_shift, judged.reference_version) == (health, None, None)


def test_every_fault_is_told_with_its_numbers() -> None:
    point = make_point({"faq": 0.1, "escalation": 0.9}, confidence=0.5, entropy=1.0, label_gap=0.2)
    judged = judge_teacher(point, known(*REFERENCE), POLICY)
    assert judged.detail == (
        "confidence 0.5000 [0.4960, 0.5040] below 0.8360; entropy 1.0000 [0.9960, 1.0040] above 0.4540 nats; "
        f"labels {judged.label_shift:.4f} nats from their usual mix, 0.2000 from the student's"
    )


def labelled(agreeing: str, disagreeing: str) -> Correctness:
    """Requests on which both agree and on which they do not; of each whether the teacher is right."""
    answers = [(0 if right == "y" else 1, 0, 0) for right in agreeing]
    answers += [(0 if right == "y" else 1, 0, 1) for right in disagreeing]
    truth, teacher, student = zip(*answers, strict=True)
    return split(truth, teacher, student, [1.0] * len(answers))


@pytest.mark.parametrize(
    ("now", "before", "is_fault", "sentence"),
    [
        (labelled("y" * 95 + "n" * 5, "yn"), [], False, "right in 95%"),
        (labelled("y" * 50 + "n" * 50, "yn"), [], True, "right in half"),
        (labelled("y" * 6 + "n" * 4, "yn"), [], False, "of ten requests: the interval reaches above"),
        (labelled("y" * 40, "n" * 400), [], False, "wrong where they disagree, which is seldom"),
        (labelled("n" * 400, ""), [], False, "nothing known of where they disagree"),
        (None, [labelled("y" * 50 + "n" * 50, "yn")], True, "labels that came late count"),
        (
            labelled("y" * 300, "y"),
            [labelled("y" * 50 + "n" * 50, "yn")],
            False,
            "together with those of the cycle",
        ),
    ],
)
@pytest.mark.parametrize("reference", [(), REFERENCE])
def test_true_labels_say_how_often_it_is_right(
    now: Correctness | None,
    before: list[Correctness],
    is_fault: bool,  # noqa: FBT001
    sentence: str,
    reference: tuple[TeacherPoint, ...],
) -> None:
    """Whether it has a reference or not."""
    teacher = replace(known(*reference), labelled=tuple(before))
    judged = judge_teacher(replace(make_point(), correctness=now), teacher, POLICY)
    assert judged.is_fault is is_fault, sentence
    assert (judged.reason is TeacherReason.ACCURACY_LOW) is is_fault


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_accuracy_is_that_of_both_kinds_as_they_are_in_the_traffic(
    n_agreeing: int, n_disagreeing: int, agreement: float, seed: int
) -> None:
    """However many of the one or the other people were asked about."""
    rng = np.random.default_rng(seed)
    kinds = ["".join(rng.choice(["y", "n"], n)) for n in (n_agreeing, n_disagreeing)]
    found = accuracy_of(labelled(*kinds), agreement)
    assert found is not None
    right = [kind.count("y") / len(kind) for kind in kinds]
    assert found.estimate == pytest.approx(agreement * right[0] + (1 - agreement) * right[1])
    assert 0 <= found.low <= found.estimate <= found.high <= 1


shares = st.lists(st.floats(0.001, 1), min_size=1, max_size=12)
mixes = shares.map(lambda found: {str(label): share / sum(found) for label, share in enumerate(found)})


@given(mixes, mixes)
def test_the_divergence_of_mixes_is_scipys(one: dict[str, float], other: dict[str, float]) -> None:
    """Whatever labels they share; symmetric, and the same in any order of the labels."""
    labels = sorted({**one, **other})
    p, q = ([mix.get(label, 0.0) for label in labels] for mix in (one, other))
    found = mix_divergence(one, other)
    assert found == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-9)
    assert 0 <= found <= math.log(2)
    assert found == mix_divergence(dict(reversed(other.items())), one)


def test_mixes_without_a_common_label_are_ln_2_apart() -> None:
    assert mix_divergence({"a": 1.0}, {"b": 0.5, "c": 0.5}) == math.log(2)
    assert mix_divergence(USUAL, USUAL) == 0
    assert math.isnan(mix_divergence({}, USUAL))


@pytest.mark.parametrize(("n", "m", "labels"), [(500, 1_500, 10), (1_000, 1_000, 3), (10_000, 30_000, 150)])
def test_the_noise_of_a_divergence_is_what_samples_of_one_mix_give(n: int, m: int, labels: int) -> None:
    """In 2.5% of 4,000 pairs, to 1 point: where labels are rare the law is not exactly a chi-square."""
    rng = np.random.default_rng(2025)
    mix = rng.dirichlet(np.full(labels, 5.0))
    one, other = rng.multinomial(n, mix, 4_000) / n, rng.multinomial(m, mix, 4_000) / m
    found = jensenshannon(one, other, axis=1) ** 2
    assert (found > mix_noise(n, m, labels)).mean() == pytest.approx(0.025, abs=0.01)


@given(
    st.integers(1, 150),
    st.integers(250, 20_000),
    st.floats(0.2, 1),
    st.floats(0, 2),
    st.integers(0, 2**32 - 1),
)
def test_samples_of_one_law_never_make_a_teacher_unhealthy(
    labels: int, n: int, confidence: float, entropy: float, seed: int
) -> None:
    """Not at 250 requests: an error of three standard ones is far within bounds."""
    rng = np.random.default_rng(seed)
    mix = rng.dirichlet(np.full(labels, 5.0))

    def drawn() -> TeacherPoint:
        found = rng.multinomial(n, mix) / n
        point = make_point({str(label): share for label, share in enumerate(found) if share}, n=n)
        return replace(
            point,
            measured=replace(
                point.measured,
                confidence=noisy(confidence, 0.4 / math.sqrt(n), rng),
                entropy=noisy(entropy, 0.8 / math.sqrt(n), rng),
            ),
        )

    assert not judge_teacher(drawn(), known(drawn(), drawn(), drawn()), POLICY).is_fault


def noisy(mean: float, error: float, rng: np.random.Generator) -> Interval:
    return make_interval(mean + error * rng.uniform(-3, 3), half_width=1.96 * error)


@given(st.floats(0.3, 0.9), st.floats(0, 0.6))
def test_a_fall_counts_from_the_bound_on(confidence: float, fall: float) -> None:
    """In exactly those cycles whose whole interval lies more than the bound below the reference's."""
    point = make_point(confidence=confidence - fall)
    judged = judge_teacher(point, known(make_point(confidence=confidence)), POLICY)
    assert judged.is_fault is (point.measured.confidence.high < confidence - 0.004 - POLICY.confidence_fall)


@pytest.mark.parametrize(("n", "at_most"), [(250, 1e-5), (1_000, 1e-9)])
def test_noise_calls_a_sound_teacher_unhealthy_as_seldom_as_the_document_says(n: int, at_most: float) -> None:
    """Both means normal, with the largest deviation that a number in [0, 1] can have."""
    error = 0.5 / math.sqrt(n)
    needed = POLICY.confidence_fall + 2 * 1.96 * error
    assert norm.sf(needed / (math.sqrt(2) * error)) < at_most
