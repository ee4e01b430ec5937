"""Model folders whose files have odd values or damage: they load and score, or a ModelError says why not."""

import json
import shutil
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.scoring.models import ModelError, load
from tests.fuzz.inputs import TEXTS, changed, edited, inputs
from tests.support.world.models import answers, make_model

#: Without numbers for which transformers builds a network that no memory holds.
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.floats(-2, 2), TEXTS, st.just([]), st.just({})
)
EDITED = ("config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "model", ["Refund", "Search"], seed=1)


def check(folder: Path) -> None:
    """Load the model; its answers are finite numbers, one for each label."""
    with suppress(ModelError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries say of some values that they are outdated
        found = load(folder)
        logits = answers(found, ["where is my order", "", "é"])
        assert logits.shape == (3, len(found.labels))
        assert np.isfinite(logits).all()


def copied(model: Path, name: str, content: bytes) -> Path:
    """A copy of the model with another content of one file."""
    folder = model.with_name("changed")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder)
    (folder / name).write_bytes(content)
    return folder


@inputs(3_000)
@given(data=st.data(), name=st.sampled_from(EDITED))
def test_values_of_models(model: Path, data: st.DataObject, name: str) -> None:
    document = json.loads((model / name).read_bytes())
    content = json.dumps(data.draw(edited([document], VALUES)))
    check(copied(model, name, content.encode(errors="surrogatepass")))


@inputs(2_000)
@given(data=st.data(), name=st.sampled_from(("model.safetensors", *EDITED)))
def test_damaged_models(model: Path, data: st.DataObject, name: str) -> None:
    content = (model / name).read_bytes()
    head, rest = content[:2_000], content[2_000:]
    check(copied(model, name, data.draw(changed([head])) + rest))


@inputs(500)
@given(
    index=edited([{"metadata": {"total_size": 1}, "weight_map": {"classifier.bias": "model-1.safetensors"}}])
)
def test_indexes_of_models(model: Path, index: object) -> None:
    check(copied(model, "model.safetensors.index.json", json.dumps(index).encode()))
