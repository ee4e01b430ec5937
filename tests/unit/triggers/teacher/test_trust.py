"""Whether a teacher can be believed."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from db.records import Correctness, Interval, KnownTeacher, LabelMeasurement, TeacherPoint
from db.states import TeacherHealth, TeacherReason
from tests.support.records.factories import make_interval, make_teacher
from triggers.settings import TeacherPolicy
from triggers.teacher.correctness import split
from triggers.teacher.trust import accuracy_of, judge_teacher

USUAL = {"faq": 0.5, "checkout": 0.3, "escalation": 0.2}
#: The usual mix, but for a label that the student was never taught.
UNTAUGHT = {"faq": 0.2, "checkout": 0.12, "escalation": 0.08, "new": 0.6}
POLICY = TeacherPolicy()


def make_point(
    mix: Mapping[str, float] = USUAL,
    *,
    n: int = 5_500,
    agreement: float = 0.97,
    label_agreements: Mapping[str, float] | None = None,
    answered: Mapping[str, str] | None = None,
    **numbers: float,
) -> TeacherPoint:
    """A cycle in which the teacher gives `mix`. The student errs on all other labels alike, or gives the one
    that it has `answered` to all requests of a label of the teacher's.
    """
    shares = dict.fromkeys(mix, agreement) | dict.fromkeys(answered or {}, 0.0) | dict(label_agreements or {})
    confusion = {(label, label): share * shares[label] for label, share in mix.items()}
    for label, share in mix.items():
        others = (
            [(answered or {})[label]]
            if label in (answered or {})
            else [each for each in mix if each != label]
        )
        for other in others:
            confusion[label, other] = share * (1 - shares[label]) / len(others)
    return TeacherPoint(
        measured=replace(make_teacher(n=n, **numbers), confusion=confusion),
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
            make_point({"faq": 0.2, "checkout": 0.2, "escalation": 0.6}, answered={"escalation": "faq"}),
            TeacherReason.LABELS_MOVED,
            "without the student",
        ),
        (make_point(answered={"faq": "checkout"}), None, "the student's labels moved, not the teacher's"),
        (
            make_point(UNTAUGHT, answered={"new": "faq"}),
            None,
            "more than half of the requests have a label that the student was never taught",
        ),
        (
            make_point(
                {"faq": 0.05, "checkout": 0.1, "escalation": 0.25, "new": 0.6},
                answered={"new": "faq", "escalation": "checkout"},
            ),
            TeacherReason.LABELS_MOVED,
            "and the labels that it was taught have moved without it",
        ),
        (make_point({"faq": 0.1, "new": 0.9}, answered={"new": "faq"}), TeacherReason.LABELS_MOVED, "beyond"),
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
        (make_point(agreement=0.48), "unhealthy", "contradicts", "on less than half"),
        (
            make_point(UNTAUGHT, answered={"new": "faq"}),
            "changed",
            "new_version",
            "on less than half, but only on a label that it was never taught",
        ),
        (make_point(confidence=0.5), "unhealthy", "confidence_fallen", "held to its predecessor's numbers"),
        (make_point(label_agreements={"faq": 0.4}), "unhealthy", "contradicts", "one label is another now"),
        (make_point(n=120, label_agreements={"escalation": 0}), "changed", "new_version", "24 requests"),
        (make_point(n=125, label_agreements={"escalation": 0}), "unhealthy", "contradicts", "25 requests"),
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
    assert (judged.health, judged.mix, judged.reference_version) == (health, None, None)


def test_every_fault_is_told_with_its_numbers() -> None:
    point = make_point(
        {"faq": 0.1, "escalation": 0.9}, confidence=0.5, entropy=1.0, answered={"escalation": "faq"}
    )
    judged = judge_teacher(point, known(*REFERENCE), POLICY)
    mix = judged.mix
    assert mix is not None
    assert mix.familiar_gap is not None
    assert judged.detail == (
        "confidence 0.5000 [0.4960, 0.5040] below 0.8360; entropy 1.0000 [0.9960, 1.0040] above 0.4540 nats; "
        f"label mix {mix.label_shift:.4f} nats from the reference; familiar labels {mix.label_shift:.4f} "
        f"nats from the reference and {mix.familiar_gap:.4f} nats from the student's (label_shift 0.3, "
        "label_gap 0.05)"
    )


def test_labels_that_the_student_never_gave_are_named() -> None:
    mix = {
        "faq": 0.5,
        "checkout": 0.2,
        "escalation": 0.1,
        "a": 0.1,
        "b": 0.05,
        "c": 0.02,
        "d": 0.02,
        "e": 0.01,
    }
    judged = judge_teacher(make_point(mix, answered=dict.fromkeys("abcde", "faq")), known(*REFERENCE), POLICY)
    assert judged.health is TeacherHealth.HEALTHY
    assert judged.detail.endswith(
        "; 20.0% of the requests have labels that the student has never given: a 10.0%, b 5.0%, c 2.0% "
        "and 2 more"
    )


@pytest.mark.parametrize(
    ("now", "before", "is_fault", "sentence"),
    [
        ("y" * 97 + "n" * 3, None, False, "the whole interval of its accuracy is above min_accuracy"),
        ("y" * 80 + "n" * 20, None, True, "not the whole of it"),
        ("y" * 6, None, True, "too few"),
        (None, "y" * 97, True, "labels of earlier cycles say nothing of damage since"),
        (None, None, True, "no labels"),
    ],
)
def test_true_labels_of_the_cycle_overrule_the_mix(
    now: str | None,
    before: str | None,
    is_fault: bool,  # noqa: FBT001
    sentence: str,
) -> None:
    moved = make_point({"faq": 0.1, "escalation": 0.9}, answered={"escalation": "faq"})
    if now is not None:
        moved = replace(moved, correctness=labelled(now, "y" * 90))
    teacher = replace(known(*REFERENCE), labelled=(labelled(before, "y" * 90),) if before else ())
    judged = judge_teacher(moved, teacher, POLICY)
    assert judged.is_fault is is_fault, sentence
    damaged = replace(moved, measured=replace(moved.measured, confidence=make_interval(0.5)))
    assert judge_teacher(damaged, teacher, POLICY).reason is TeacherReason.CONFIDENCE_FALLEN


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
