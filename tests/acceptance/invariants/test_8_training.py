"""Invariant 8: the epochs in SQL follow from the steps beside the candidate, which add up to the loss."""

import json
from pathlib import Path
from statistics import fmean

import pytest

from db.connection.session import reading
from db.views import rows
from redistill import training_log
from redistill.training_log import JobTraining, print_training, training_of
from tests.support.world.repaired import Repaired


@pytest.fixture
def training(repaired: Repaired) -> JobTraining:
    with reading(repaired.engine) as connection:
        (job,) = rows(connection, "job_history", order_by="job_id")
        return training_of(connection, repaired.settings, int(str(job["job_id"])), job["candidate_version"])


def test_the_epochs_are_the_means_of_the_steps(repaired: Repaired, training: JobTraining) -> None:
    assert len(training.epochs) == repaired.settings.redistill.epochs
    assert [step.step for step in training.steps] == [*range(1, len(training.steps) + 1)]
    for epoch in training.epochs:
        steps = [step for step in training.steps if step.epoch == epoch["epoch"]]
        assert epoch["n_steps"] == len(steps)
        assert epoch["n_labelled"] == sum(step.n_labelled for step in steps)
        assert epoch["clipped_share"] == pytest.approx(fmean(step.gradient_norm > 1 for step in steps))
        for name in ("loss", "kl", "ce", "kl_gradient_share", "gradient_norm"):
            assert epoch[name] == pytest.approx(fmean(getattr(step, name) for step in steps))


def test_the_share_over_the_weights_is_measured_every_fifty_steps(training: JobTraining) -> None:
    measured = [step.step for step in training.steps if step.kl_gradient_share_weights is not None]
    assert measured == [*range(1, len(training.steps) + 1, 50)]
    shares = [step.kl_gradient_share_weights for step in training.steps]
    assert all(0 < share < 1 for share in shares if share is not None)


def test_the_manifest_has_the_epochs_and_not_the_steps(repaired: Repaired, training: JobTraining) -> None:
    version = training.epochs[0]["version"]
    folder = Path(str(repaired.settings.redistill.registry)) / "versions" / str(version)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {*manifest["training"]} == {"steps", "epochs"}
    assert [each["loss"] for each in manifest["training"]["epochs"]] == pytest.approx(
        [epoch["loss"] for epoch in training.epochs]
    )


def test_it_is_shown_by_epoch_and_by_step(
    training: JobTraining, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_log, "_ramp", lambda: training_log._ASCII)
    print_training(training)
    shown = capsys.readouterr().out
    table, _, plot = shown.partition(" steps, from the lowest")
    assert table.count("\n") == len(training.epochs) + 3
    assert {line.split()[0] for line in plot.splitlines()[1:]} == {*training_log._LINES}
    losses = [step.loss for step in training.steps]
    assert f"{min(losses):.3g} to {max(losses):.3g}" in plot


def test_what_is_missing_is_said(repaired: Repaired, capsys: pytest.CaptureFixture[str]) -> None:
    with reading(repaired.engine) as connection:
        other = training_of(connection, repaired.settings, 99, "f" * 64)
        none = training_of(connection, repaired.settings, 99, None)
    print_training(other)
    print_training(none)
    shown = capsys.readouterr().out
    assert "No epochs are stored: the job has not ended" in shown
    assert "The steps are not there: " in shown
    assert "the job has no candidate" in shown
