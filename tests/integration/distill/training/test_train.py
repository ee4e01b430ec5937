import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from transformers import BertForSequenceClassification

from distill.training.adamw import TrainingDivergedError
from distill.training.archived import KnownLogits
from distill.training.batches import TokenRows, shuffled_batches
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.loop import NoRecorder, minimise
from distill.training.objective import Distillation
from distill.training.schedule import Schedule
from distill.training.train import TrainingLog, Validation, fit, train
from monitor.divergence import kl_divergence
from monitor.scoring.batches import score
from monitor.scoring.models import Model, ModelError, load
from monitor.stop import StoppedError, never_stopped
from tests.support.world.models import CORPUS, make_config, make_copy, make_model, make_tokenizer, save

KEYWORDS = ("hello", "money", "order")
LABELS = ("faq", "returns", "order_tracking")


def make_texts(n: int, seed: int) -> tuple[str, ...]:
    """Random words, among them the one that tells the label."""
    rng = np.random.default_rng(seed)
    noise = sorted(set(" ".join(CORPUS).split()) - set(KEYWORDS))
    texts = [
        rng.permutation([*rng.choice(noise, rng.integers(2, 9)), rng.choice(KEYWORDS)]) for _ in range(n)
    ]
    return tuple(" ".join(text) for text in texts)


def true_labels(texts: tuple[str, ...]) -> NDArray[np.int64]:
    found = [[keyword in text.split() for keyword in KEYWORDS].index(True) for text in texts]
    return np.array(found, dtype=np.int64)


def labelled_set(texts: tuple[str, ...]) -> LabelledSet:
    return LabelledSet(
        path=Path("rows.jsonl"),
        sha256="",
        texts=texts,
        labels=true_labels(texts),
        lines=tuple(range(1, len(texts) + 1)),
    )


def top1(model: Model, texts: tuple[str, ...]) -> NDArray[np.intp]:
    logits = score(model, texts, tokens_per_batch=1_024, stopped=never_stopped, progress=lambda _: None)
    return logits.argmax(axis=1)


def weights(model: Model) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def make_untrained(directory: Path, *, hidden: int, seed: int) -> Path:
    tokenizer = make_tokenizer(CORPUS, max_length=64)
    config = make_config(LABELS, len(tokenizer), hidden, 1, 64)
    config.initializer_range = 0.1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return save(BertForSequenceClassification(config), tokenizer, directory)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that was taught to tell the labels."""
    model = load(make_untrained(tmp_path_factory.mktemp("models") / "teacher", hidden=32, seed=1))
    fit(
        model,
        labelled_set(make_texts(300, seed=9)),
        Schedule(epochs=8, batch_size=16, learning_rate=3e-3, seed=1),
        stopped=never_stopped,
        progress=lambda *_: None,
    )
    return model


@pytest.fixture(scope="module")
def student_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_untrained(tmp_path_factory.mktemp("models") / "student", hidden=16, seed=2)


@pytest.fixture
def student(student_directory: Path) -> Model:
    return load(student_directory)


@pytest.fixture(scope="module")
def data() -> TrainingSet:
    """Three quarters of the rows have a label."""
    texts = make_texts(240, seed=0)
    labelled = np.arange(len(texts)) % 4 != 3
    return TrainingSet(texts=texts, labels=np.where(labelled, true_labels(texts), 0), labelled=labelled)


def run(
    student: Model,
    teacher: Model,
    data: TrainingSet,
    *,
    epochs: int = 2,
    learning_rate: float = 5e-3,
    seed: int = 2025,
    **changed: object,
) -> TrainingLog:
    schedule = Schedule(epochs=epochs, batch_size=16, learning_rate=learning_rate, seed=seed)
    arguments: dict[str, object] = {
        "alpha": 0.7,
        "temperature": 3.0,
        "stopped": never_stopped,
        "progress": lambda *_: None,
    }
    return train(student, teacher, data, schedule, **{**arguments, **changed})  # type: ignore[arg-type]


def test_the_loss_falls_and_the_student_comes_to_agree_on_texts_it_has_not_seen(
    student: Model, teacher: Model, data: TrainingSet
) -> None:
    rows = labelled_set(make_texts(100, seed=1))
    before = float(np.mean(top1(student, rows.texts) == rows.labels))
    log = run(student, teacher, data, epochs=8, validation=rows)
    assert log.steps == 8 * 15
    assert len(log.epochs) == 8
    assert log.epochs[-1].loss < 0.7 * log.epochs[0].loss
    assert log.epochs[-1].kl < 0.5 * log.epochs[0].kl
    after = float(np.mean(top1(student, rows.texts) == rows.labels))
    agreement = float(np.mean(top1(student, rows.texts) == top1(teacher, rows.texts)))
    assert log.epochs[-1].validation == Validation(accuracy=after, agreement=agreement)
    assert agreement > 0.9
    assert after > before + 0.4


def test_the_log_adds_up_to_the_loss(student: Model, teacher: Model, data: TrainingSet) -> None:
    """Where every row has a label; elsewhere the loss has other weights than the logged means."""
    labelled = replace(
        data, labels=true_labels(data.texts), labelled=np.ones(len(data.texts), dtype=np.bool_)
    )
    for epoch in run(student, teacher, labelled).epochs:
        assert epoch.loss == pytest.approx(0.7 * 9 * epoch.kl + 0.3 * epoch.ce, rel=1e-5)
        assert 0 < epoch.kl_gradient_share < 1
        assert epoch.validation is None


def test_the_same_seed_gives_the_same_weights_to_the_bit_and_another_seed_others(
    student_directory: Path, teacher: Model, data: TrainingSet
) -> None:
    students = [load(student_directory) for _ in range(3)]
    for student, seed in zip(students, (7, 7, 8), strict=True):
        torch.rand(1)  # the global generator's state must not matter
        run(student, teacher, data, seed=seed)
    assert equal(weights(students[0]), weights(students[1]))
    assert not equal(weights(students[0]), weights(students[2]))


def test_a_validation_set_changes_no_weight(
    student_directory: Path, teacher: Model, data: TrainingSet
) -> None:
    one, other = load(student_directory), load(student_directory)
    run(one, teacher, data)
    run(other, teacher, data, validation=labelled_set(make_texts(100, seed=1)))
    assert equal(weights(one), weights(other))


def test_training_leaves_the_global_generator_and_the_teacher_alone_and_ends_in_evaluation_mode(
    student: Model, teacher: Model, data: TrainingSet
) -> None:
    state, before = torch.random.get_rng_state(), weights(teacher)
    run(student, teacher, data, epochs=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert equal(weights(teacher), before)
    assert all(parameter.grad is None for parameter in teacher.network.parameters())
    assert not teacher.network.training
    assert not student.network.training


def test_alpha_decides_between_teacher_and_labels(
    student_directory: Path, teacher: Model, data: TrainingSet
) -> None:
    """With labels that are all wrong, alpha = 1 follows the teacher and alpha = 0 the labels."""
    wrong = replace(
        data,
        labels=(top1(teacher, data.texts).astype(np.int64) + 1) % len(LABELS),
        labelled=np.ones(len(data.texts), dtype=np.bool_),
    )
    followed = {}
    for alpha in (0.0, 1.0):
        student = load(student_directory)
        run(student, teacher, wrong, alpha=alpha, epochs=8)
        answers = top1(student, wrong.texts)
        followed[alpha] = (
            float(np.mean(answers == top1(teacher, wrong.texts))),
            float(np.mean(answers == wrong.labels)),
        )
    assert followed[1.0] == (pytest.approx(1.0, abs=0.2), pytest.approx(0.0, abs=0.2))
    assert followed[0.0] == (pytest.approx(0.0, abs=0.2), pytest.approx(1.0, abs=0.2))


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_what_stands_in_a_row_without_a_label_changes_nothing(
    alpha: float, student_directory: Path, teacher: Model, data: TrainingSet
) -> None:
    garbled = replace(data, labels=np.where(data.labelled, data.labels, 2))
    one, other = load(student_directory), load(student_directory)
    run(one, teacher, data, alpha=alpha)
    run(other, teacher, garbled, alpha=alpha)
    assert equal(weights(one), weights(other))


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_batch_without_labels_is_taught_by_the_teacher_alone_whatever_alpha(
    alpha: float, student: Model, teacher: Model, data: TrainingSet
) -> None:
    unlabelled = replace(data, labelled=np.zeros_like(data.labelled))
    gradients = []
    for weight, training_set in ((alpha, unlabelled), (1.0, data)):
        student.network.zero_grad()
        objective = Distillation(student, teacher, training_set, alpha=weight, temperature=3.0)
        objective.loss(torch.arange(16)).backward()
        classifier: Any = student.network.classifier
        gradients.append(classifier.weight.grad.clone())
        assert [log.kl_gradient_share for log in objective.logs] == [1.0]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_known_logits_of_the_teacher_stand_for_those_that_it_computes(
    student: Model, teacher: Model, data: TrainingSet
) -> None:
    """Of half of the rows of the batch; the others are computed as before."""
    rows = torch.arange(16)
    logits = np.random.default_rng(3).normal(size=(8, len(LABELS))).astype(np.float32)
    known = KnownLogits(rows=np.arange(1, 17, 2), logits=logits)
    found = Distillation(
        student, teacher, replace(data, known_logits=known), alpha=1.0, temperature=3.0
    ).loss(rows)
    texts = data.texts[:16]
    theirs, ours = (
        score(each, texts, tokens_per_batch=1_024, stopped=never_stopped, progress=lambda _: None)
        for each in (teacher, student)
    )
    theirs[1::2] = logits[:8]
    expected = 9 * kl_divergence(theirs, ours, 3.0).mean()
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_a_student_whose_labels_stand_in_another_order_learns_the_same(
    student_directory: Path, teacher: Model, data: TrainingSet, tmp_path: Path
) -> None:
    order = (LABELS[2], LABELS[0], LABELS[1])
    permuted = load(make_copy(student_directory, tmp_path / "permuted", labels=order))
    plain = load(student_directory)
    logs = [run(student, teacher, data).epochs for student in (plain, permuted)]
    assert [epoch.loss for epoch in logs[1]] == pytest.approx([epoch.loss for epoch in logs[0]], rel=1e-4)
    columns = [order.index(label) for label in LABELS]
    classifiers: list[Any] = [student.network.classifier for student in (permuted, plain)]
    torch.testing.assert_close(classifiers[0].weight[columns], classifiers[1].weight, rtol=1e-3, atol=1e-4)


def test_models_that_know_different_labels_cannot_be_distilled(
    teacher: Model, data: TrainingSet, tmp_path: Path
) -> None:
    student = load(make_model(tmp_path / "other", ("faq", "returns", "escalation"), seed=2))
    with pytest.raises(ModelError, match=r"escalation|order_tracking"):
        run(student, teacher, data)


def test_progress_hears_of_every_step_with_its_loss(
    student: Model, teacher: Model, data: TrainingSet
) -> None:
    heard: list[tuple[int, int, float]] = []
    log = run(student, teacher, data, progress=lambda *step: heard.append(step))
    assert [(done, steps) for done, steps, _ in heard] == [(done, 30) for done in range(1, 31)]
    assert np.mean([loss for *_, loss in heard[:15]]) == pytest.approx(log.epochs[0].loss)


def test_a_stop_is_obeyed_before_the_next_step(student: Model, teacher: Model, data: TrainingSet) -> None:
    heard: list[int] = []
    with pytest.raises(StoppedError):
        run(
            student,
            teacher,
            data,
            stopped=lambda: len(heard) == 3,
            progress=lambda done, *_: heard.append(done),
        )
    assert heard == [1, 2, 3]
    assert not student.network.training


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(
    student: Model, teacher: Model, data: TrainingSet
) -> None:
    with pytest.raises(TrainingDivergedError, match="lower learning_rate"):
        run(student, teacher, data, learning_rate=1e25)


def test_biases_and_layer_norms_are_not_decayed(student: Model, data: TrainingSet) -> None:
    """Of a loss without a gradient only the decay moves a weight."""
    before = weights(student)
    rows = TokenRows(student, data.texts)
    minimise(
        student.network,
        lambda batch: 0 * student.logits(rows.padded(batch)).sum(),
        rows.lengths,
        Schedule(epochs=2, batch_size=16, learning_rate=5e-3, seed=2025),
        stopped=never_stopped,
        progress=lambda *_: None,
        recorder=NoRecorder(),
        checkpoints=None,
    )
    for name, weight in student.network.named_parameters():
        decays = weight.ndim > 1
        assert torch.equal(weight, before[name]) != (decays and before[name].any().item()), name


def test_fit_teaches_a_model_the_labels(student: Model) -> None:
    rows = labelled_set(make_texts(100, seed=1))
    losses: list[float] = []
    fit(
        student,
        rows,
        Schedule(epochs=20, batch_size=16, learning_rate=5e-3, seed=1),
        stopped=never_stopped,
        progress=lambda _done, _steps, loss: losses.append(loss),
    )
    assert len(losses) == 20 * 7
    assert np.mean(top1(student, rows.texts) == rows.labels) > 0.9


def test_padded_batches_are_those_of_the_tokenizer(student: Model, data: TrainingSet) -> None:
    rows = torch.tensor([5, 0, 17, 100])
    ours = TokenRows(student, data.texts).padded(rows)
    texts = [data.texts[row] for row in rows.tolist()]
    theirs = student.tokenizer(texts, padding=True, return_tensors="pt")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=300),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_batches_hold_each_row_once_and_all_but_one_are_full(
    lengths: list[int], batch_size: int, seed: int
) -> None:
    batches = [
        batch.tolist()
        for batch in shuffled_batches(torch.tensor(lengths), batch_size, torch.Generator().manual_seed(seed))
    ]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == math.ceil(len(lengths) / batch_size)
    assert sum(len(batch) != batch_size for batch in batches) <= 1


def test_batches_are_short_of_padding_and_differ_from_epoch_to_epoch() -> None:
    lengths = torch.from_numpy(np.random.default_rng(0).integers(4, 64, 3_200))
    generator = torch.Generator().manual_seed(0)
    epochs = [list(shuffled_batches(lengths, 32, generator)) for _ in range(2)]
    padded = sum(len(batch) * int(lengths[batch].max()) for batch in epochs[0])
    assert padded < 1.05 * int(lengths.sum())
    assert {tuple(batch.tolist()) for batch in epochs[0]} != {tuple(batch.tolist()) for batch in epochs[1]}
