"""A copy of a version, and one whose softmax is calibrated, for every architecture that is supported."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from distill.calibration import export as exporting
from distill.calibration.export import FolderNotEmptyError, HeadUnknownError, export
from monitor.scoring.models import load
from tests.support.world.architectures import SIZES, make_classifier
from tests.support.world.models import CORPUS, answers, make_tokenizer

T = 1.7
#: The first five are refused when they are loaded (docs/models.md); a longformer takes seconds.
LEFT_OUT = {"convbert", "fnet", "nystromformer", "xlnet", "big_bird", "longformer"}
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made("bert", tmp_path_factory.mktemp("version") / "bert")


def made(kind: str, folder: Path) -> Path:
    return make_classifier(kind, folder, tokenizer=make_tokenizer(CORPUS, max_length=32))


@pytest.mark.parametrize("kind", sorted(SIZES.keys() - LEFT_OUT))
def test_the_logits_of_a_calibrated_copy_are_those_of_the_version_divided(kind: str, tmp_path: Path) -> None:
    source, copy = made(kind, tmp_path / "source"), tmp_path / "copies" / "served"
    export(source, copy, temperature=T)
    before, after = (answers(load(each), CORPUS) for each in (source, copy))
    scale = max(1.0, float(np.abs(before).max()) / T)
    assert np.abs(after - before / T).max() <= 1e-5 * scale
    assert np.abs(after - before).max() > 1e-2 * scale
    assert [path.name for path in tmp_path.joinpath("copies").iterdir()] == ["served"]


def test_a_plain_copy_is_the_same_version_with_its_manifest(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(model, source)
    (source / "manifest.json").write_text("{}")
    (source / "optimizer.pt").write_text("not of the model")
    for copy in (tmp_path / "new", tmp_path / "empty"):
        if copy.name == "empty":
            copy.mkdir()
        export(source, copy)
        assert load(copy).version == load(source).version
        assert (copy / "manifest.json").exists()
        assert not (copy / "optimizer.pt").exists()


def test_only_the_last_layer_of_a_calibrated_copy_differs(model: Path, tmp_path: Path) -> None:
    (copy := tmp_path / "copy").mkdir()
    export(model, copy, temperature=T)
    before, after = (load_file(each / WEIGHTS) for each in (model, copy))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {"classifier.weight", "classifier.bias"}
    assert "classifier.weight" in changed
    assert load(copy).version != load(model).version
    assert not (copy / "manifest.json").exists()


@pytest.mark.parametrize("what", ["file", "folder with a file", "link"])
def test_only_a_new_or_an_empty_folder_is_written(what: str, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if what == "file":
        target.write_text("mine")
    elif what == "link":
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    with pytest.raises(FolderNotEmptyError, match="name a new or an empty one"):
        export(model, target)
    assert {path.name for path in tmp_path.iterdir()} <= {"target", "elsewhere"}


def test_a_head_that_is_stored_too_coarsely_is_refused(model: Path, tmp_path: Path) -> None:
    """In half precision the division rounds; nothing is left behind."""
    source = tmp_path / "source"
    shutil.copytree(model, source)
    weights = load_file(source / WEIGHTS)
    save_file({name: each.half() for name, each in weights.items()}, source / WEIGHTS, {"format": "pt"})
    with pytest.raises(HeadUnknownError, match=r"'classifier' divided, .* divide its logits by 1.7 where"):
        export(source, tmp_path / "copy", temperature=T)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_logits_that_no_linear_layer_gives_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a network that computes on with what its last layer gives."""
    monkeypatch.setattr(exporting, "_logits", lambda loaded, texts=CORPUS: answers(loaded, texts) + 1)
    with pytest.raises(HeadUnknownError, match="its logits are not the output of one linear layer"):
        export(model, tmp_path / "copy", temperature=T)
    assert list(tmp_path.iterdir()) == []
