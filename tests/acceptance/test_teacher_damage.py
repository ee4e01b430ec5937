"""A damaged teacher and input that it cannot read are caught at once; a drift that it handles is no fault."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from db.records import KnownTeacher, TeacherPoint
from monitor.measure import measure
from monitor.scoring.models import Model, load
from tests.support.world.installation import DRIFT
from tests.support.world.models import answers
from tests.support.world.tiny_world import LABELS, World, utterances
from triggers.rules.cycle_point import teacher_point_of
from triggers.settings import TeacherPolicy
from triggers.teacher.trust import TeacherJudgement, judge_teacher

N = 500
Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Service:
    """Both models, what was asked in the reference cycles, and their logits of today's traffic."""

    teacher: Model
    student: Model
    reference: tuple[TeacherPoint, ...]
    texts: list[str]
    answers: Logits

    def judge(self, teacher_logits: Logits, student_logits: Logits, *, is_new: bool) -> TeacherJudgement:
        known = KnownTeacher(
            version="v2" if is_new else "v1",
            predecessor="v1" if is_new else None,
            reference=self.reference,
            reference_version="v1",
        )
        return judge_teacher(point(teacher_logits, student_logits), known, TeacherPolicy())


def point(teacher_logits: Logits, student_logits: Logits) -> TeacherPoint:
    return teacher_point_of(measure(teacher_logits, student_logits, LABELS, temperature=3.0))


def texts(seed: int, *, new: float = 0.0) -> list[str]:
    return [each.text for each in utterances(N, new=new, rng=np.random.default_rng(seed))]


@pytest.fixture(scope="module")
def service(world: World) -> Service:
    teacher, student = load(world.teacher), load(world.student)
    usual = [texts(seed) for seed in (1, 2, 3)]
    return Service(
        teacher=teacher,
        student=student,
        reference=tuple(point(answers(teacher, each), answers(student, each)) for each in usual),
        texts=texts(4),
        answers=answers(student, texts(4)),
    )


@pytest.mark.parametrize(
    ("new", "is_new", "health"),
    [
        (0.0, False, "healthy"),
        (DRIFT, False, "healthy"),
        (1.0, False, "healthy"),
        (0.0, True, "changed"),
        (DRIFT, True, "changed"),
        (1.0, True, "unhealthy"),
    ],
)
def test_a_drift_that_the_teacher_handles_is_no_fault(
    service: Service,
    new: float,
    is_new: bool,  # noqa: FBT001
    health: str,
) -> None:
    """Though the student errs in it: the teacher has learned both kinds of words. But if in the window of a
    swap the student errs in more than half, nobody knows which of the two is wrong: a person decides.
    """
    drifted = texts(5, new=new)
    judged = service.judge(
        answers(service.teacher, drifted), answers(service.student, drifted), is_new=is_new
    )
    assert judged.health == health, judged.detail


UNREADABLE: dict[str, Callable[[str], str]] = {
    "another script": lambda text: "".join(chr(0x4E00 + ord(each)) for each in text),
    "letters in disorder": lambda text: "".join(np.random.default_rng(6).permutation(list(text))),
    "hexadecimal": lambda text: text.encode().hex(),
    "empty of words": lambda _: "?",
}


@pytest.mark.parametrize("garbled", UNREADABLE.values(), ids=UNREADABLE)
def test_input_that_it_cannot_read_is_a_fault(service: Service, garbled: Callable[[str], str]) -> None:
    """At the first cycle, without another version: the service's log is broken, or its tokenizer."""
    unreadable = [garbled(text) for text in service.texts]
    judged = service.judge(
        answers(service.teacher, unreadable), answers(service.student, unreadable), is_new=False
    )
    assert judged.is_fault, judged.detail


def damaged(service: Service, noise: float) -> Logits:
    """What the teacher answers with normal noise on all weights, in standard deviations of each matrix."""
    network = service.teacher.network
    whole = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.Generator().manual_seed(1)
    noisy = {
        name: value + noise * value.std() * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and value.numel() > 1
        else value
        for name, value in whole.items()
    }
    network.load_state_dict(noisy)
    found = answers(service.teacher, service.texts)
    network.load_state_dict(whole)
    return found


def test_a_teacher_with_noise_on_its_weights_is_a_fault(service: Service) -> None:
    """As much as there is signal; a tenth of it changes nothing that matters."""
    slight = service.judge(damaged(service, 0.1), service.answers, is_new=True)
    heavy = service.judge(damaged(service, 1.0), service.answers, is_new=True)
    assert (slight.health, heavy.health) == ("changed", "unhealthy"), (slight.detail, heavy.detail)


@pytest.mark.parametrize("shift", [1, 3])
def test_a_head_whose_labels_are_permuted_is_a_fault(service: Service, shift: int) -> None:
    """As sure as ever, and its labels have the same mix: only the student says otherwise."""
    permuted = np.roll(answers(service.teacher, service.texts), shift, axis=1)
    judged = service.judge(permuted, service.answers, is_new=True)
    assert (judged.health, judged.reason) == ("unhealthy", "contradicts"), judged.detail


@pytest.mark.parametrize("label", range(len(LABELS)))
@pytest.mark.parametrize("is_new", [False, True])
def test_a_teacher_that_is_stuck_on_a_label_is_a_fault(
    service: Service,
    label: int,
    is_new: bool,  # noqa: FBT001
) -> None:
    """However sure it is."""
    stuck = np.full((N, len(LABELS)), -5, dtype=np.float32)
    stuck[:, label] = 5
    judged = service.judge(stuck, service.answers, is_new=is_new)
    reason = "contradicts" if is_new else "labels_moved"
    assert (judged.health, judged.reason) == ("unhealthy", reason), judged.detail


def test_a_campaign_is_no_fault(service: Service) -> None:
    """Half of the requests are of one intent: the traffic's doing, and both models see it."""
    found = utterances(4 * N, new=0.0, rng=np.random.default_rng(8))
    campaign = [each.text for each in found if each.label == "promotion"][: N // 2]
    others = [each.text for each in found if each.label != "promotion"][: N // 2]
    today = campaign + others
    judged = service.judge(answers(service.teacher, today), answers(service.student, today), is_new=False)
    assert judged.health == "healthy", judged.detail
    assert judged.mix is not None
    assert judged.mix.label_shift > TeacherPolicy().label_gap
