"""The log of a training's steps: as a file, and in a checkpoint."""

import pytest

from distill.training.steps import TrainingStep, dumped, packed, restored, summarised, unpacked


def step(number: int, *, share: float | None = None, norm: float = 0.5) -> TrainingStep:
    return TrainingStep(
        step=number,
        epoch=1,
        learning_rate=1e-4 / number,
        loss=1.0 / number,
        kl=0.1,
        ce=0.2,
        n_labelled=3,
        kl_gradient_share=0.6,
        kl_gradient_share_weights=share,
        gradient_norm=norm,
        clipped=norm > 1,
    )


STEPS = [step(1, share=0.7), step(2, norm=1.5), step(3)]


def test_the_file_and_the_checkpoint_give_the_steps_back() -> None:
    assert unpacked(packed(STEPS)) == STEPS
    assert restored(dumped(STEPS)) == STEPS
    assert unpacked(packed([])) == []


@pytest.mark.parametrize("content", [b"", b"no zstandard", packed(STEPS)[:-3]])
def test_a_damaged_file_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(content)


def test_an_epoch_is_the_mean_of_its_steps() -> None:
    epoch = summarised(STEPS, accuracy=0.9, agreement=None)
    assert (epoch.n_steps, epoch.n_labelled) == (3, 9)
    assert epoch.loss == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert epoch.learning_rate == STEPS[-1].learning_rate
    assert epoch.kl_gradient_share_weights == 0.7
    assert epoch.clipped_share == pytest.approx(1 / 3)
    assert (epoch.validation_accuracy, epoch.validation_agreement) == (0.9, None)
    assert summarised(STEPS[1:], accuracy=None, agreement=None).kl_gradient_share_weights is None
