"""Model directories: what they are identified by, what is loaded, and what is refused."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, RobertaConfig, RobertaForSequenceClassification
from transformers.utils import logging as transformers_logging

from monitor.scoring.models import ModelError, fingerprint, load, match_labels
from tests.support.world.models import CORPUS, make_copy, make_model, make_tokenizer, save

LABELS = ("faq", "promotion", "escalation")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "intact", LABELS, seed=1)


@pytest.fixture
def directory(intact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(intact, tmp_path / "model")


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(path / WEIGHTS)
    change(weights)
    save_file(weights, path / WEIGHTS, metadata={"format": "pt"})


def test_a_model_is_loaded_ready_to_score(intact: Path) -> None:
    model = load(intact)
    assert model.labels == LABELS
    assert model.version == fingerprint(intact)
    assert model.max_length == 64
    assert not model.network.training
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


def test_weights_of_half_precision_become_float32(directory: Path) -> None:
    edit_weights(directory, lambda weights: weights.update({name: w.half() for name, w in weights.items()}))
    edit_json(directory / "config.json", dtype="float16")
    assert {parameter.dtype for parameter in load(directory).network.parameters()} == {torch.float32}


def test_loading_prints_nothing_and_leaves_the_library_as_it_was(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also when a report about lacking weights would be printed."""
    before = (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())
    load(directory)
    edit_weights(directory, lambda weights: weights.pop("classifier.weight"))
    with pytest.raises(ModelError):
        load(directory)
    assert capfd.readouterr() == ("", "")
    assert before == (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())


def test_the_fingerprint_is_that_of_sha256sum(intact: Path) -> None:
    """So anyone can check it with the tools of the system."""
    names = ["config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in intact.iterdir()) == names
    listing = subprocess.run(["sha256sum", *names], cwd=intact, capture_output=True, check=True).stdout  # noqa: S607
    whole = subprocess.run(["sha256sum"], input=listing, capture_output=True, check=True).stdout  # noqa: S607
    assert fingerprint(intact) == whole.decode().split()[0]


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"])
def test_a_change_of_what_decides_the_answers_is_another_version(
    intact: Path, directory: Path, name: str
) -> None:
    content = (directory / name).read_bytes()
    (directory / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert fingerprint(directory) != fingerprint(intact)


def test_another_name_of_a_file_is_another_version(intact: Path, directory: Path) -> None:
    (directory / "tokenizer_config.json").rename(directory / "tokenizer_config.json.old")
    assert fingerprint(directory) != fingerprint(intact)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "manifest.json",
        "training_args.bin",
        "optimizer.pt",
        "trainer_state.json",
        "a/config.json",
    ],
)
def test_what_does_not_decide_the_answers_is_no_part_of_the_version(
    intact: Path, directory: Path, name: str
) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_bytes(b"anything")
    assert fingerprint(directory) == fingerprint(intact)


def without_directory(directory: Path) -> None:
    shutil.rmtree(directory)


def without(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def holding(name: str, content: bytes) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).write_bytes(content)

    return change


def config(**changes: object) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory / "config.json", **changes)


def truncated_weights(directory: Path) -> None:
    content = (directory / WEIGHTS).read_bytes()
    (directory / WEIGHTS).write_bytes(content[: len(content) // 2])


def pickle_only(directory: Path) -> None:
    network = AutoModelForSequenceClassification.from_pretrained(directory)
    torch.save(network.state_dict(), directory / "pytorch_model.bin")
    (directory / WEIGHTS).unlink()


def without_head(directory: Path) -> None:
    edit_weights(directory, lambda weights: weights.pop("classifier.weight"))


def wider_head(directory: Path) -> None:
    edit_weights(directory, lambda weights: weights.update({"classifier.weight": torch.zeros(5, 32)}))


def more_tokens_than_embeddings(directory: Path) -> None:
    content = json.loads((directory / "tokenizer.json").read_text())
    content["model"]["vocab"]["zebra"] = 100_000
    (directory / "tokenizer.json").write_text(json.dumps(content))


def without_padding_token(directory: Path) -> None:
    edit_json(directory / "tokenizer_config.json", pad_token=None, tokenizer_class="PreTrainedTokenizerFast")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_directory, "there is no such directory; correct the path"),
        (without("config.json"), "it has no config.json; save the model there"),
        (without(WEIGHTS), "it has no model*.safetensors; save the model there"),
        (
            without("tokenizer.json"),
            "it has no tokenizer.json or vocab* or *.model; save the tokenizer there",
        ),
        (pickle_only, "pytorch_model.bin is a pickle and is not opened: load it where you trust it"),
        (holding("config.json", b"{"), "its network cannot be loaded (OSError: It looks like the config"),
        (holding("config.json", b"[]"), "its network cannot be loaded (ValueError: Unrecognized model"),
        (config(model_type="nosuch"), "does not recognize this architecture"),
        (config(hidden_size="many"), "its network cannot be loaded"),
        (config(model_type="mine", auto_map={"AutoConfig": "mine.Config"}), "contains custom code"),
        (holding(WEIGHTS, b""), "its network cannot be loaded (SafetensorError"),
        (holding(WEIGHTS, b"x" * 1_000), "its network cannot be loaded (SafetensorError"),
        (truncated_weights, "its network cannot be loaded (SafetensorError"),
        (without_head, "its weights lack classifier.weight, which would be random"),
        (wider_head, "classifier.weight is [5, 32] in its weights and [3, 32] by its config"),
        (
            config(id2label={"0": "a", "1": "b", "2": "c", "3": "d"}),
            "[3] in its weights and [4] by its config",
        ),
        (config(id2label={"0": "faq", "1": "faq", "2": "c"}), "gives the label 'faq' to two logits"),
        (config(id2label={"0": "a", "1": "b", "7": "c"}), "id2label of its config.json must name the labels"),
        (holding("tokenizer.json", b"{"), "its tokenizer cannot be loaded (JSONDecodeError"),
        (
            holding("tokenizer.json", b'{"added_tokens": [], "model": {"type": "?"}}'),
            "its tokenizer cannot be",
        ),
        (more_tokens_than_embeddings, "token ids up to 100000, its network knows"),
        (without_padding_token, "its tokenizer has no padding token"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line_with_its_path_and_the_mend(
    directory: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(directory)
    with pytest.raises(ModelError) as refused:
        load(directory)
    message = str(refused.value)
    assert message.startswith(f"The model {directory} cannot be used: ")
    assert said in message
    assert "\n" not in message


def test_code_that_comes_with_a_model_is_never_run(directory: Path) -> None:
    """A known architecture is loaded as the library knows it."""
    for name in ("mine.py", "tokenization_mine.py"):
        (directory / name).write_text("raise SystemExit('executed')\n")
    classes = {"AutoConfig": "mine.C", "AutoModelForSequenceClassification": "mine.M"}
    edit_json(directory / "config.json", auto_map=classes)
    edit_json(directory / "tokenizer_config.json", auto_map={"AutoTokenizer": ["mine.T", "mine.T"]})
    assert load(directory).labels == LABELS


def test_labels_are_matched_by_name(intact: Path, tmp_path: Path) -> None:
    """The permutation brings the student's logits into the teacher's order."""
    teacher = load(intact)
    student = load(make_copy(intact, tmp_path / "student", labels=("escalation", "faq", "promotion")))
    order = match_labels(teacher, student)
    assert order.tolist() == [1, 2, 0]
    assert tuple(np.array(student.labels)[order]) == teacher.labels
    assert match_labels(teacher, teacher).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (("faq", "promotion"), "it lacks 'escalation', a label of the teacher"),
        (("faq", "promotion", "refund"), "it lacks 'escalation', a label of the teacher"),
        (("faq", "promotion", "escalation", "refund"), "it lacks 'refund', a label of the student"),
        (("FAQ", "promotion", "escalation"), "it lacks 'faq', a label of the teacher"),
    ],
)
def test_a_label_that_only_one_model_knows_is_an_error_that_names_it_and_the_other_model(
    intact: Path, tmp_path: Path, labels: tuple[str, ...], said: str
) -> None:
    teacher, student = load(intact), load(make_model(tmp_path / "student", labels, seed=2))
    lacking = student if "teacher" in said else teacher
    with pytest.raises(ModelError) as refused:
        match_labels(teacher, student)
    assert f"The model {lacking.version[:12]} cannot be used: {said}" in str(refused.value)


@pytest.mark.parametrize("other", ["FAQ", "f a q", "f-a-q", "fa\N{LATIN SMALL LETTER Q}_"])
def test_a_label_in_another_spelling_is_named(intact: Path, tmp_path: Path, other: str) -> None:
    student = make_model(tmp_path, (other, *LABELS[1:]), seed=1)
    with pytest.raises(ModelError) as refused:
        match_labels(load(intact), load(student))
    expected = (
        f"it lacks 'faq', a label of the teacher, and has {other!r}; labels are compared letter by letter"
    )
    assert expected in str(refused.value)


def test_the_first_positions_of_a_roberta_are_not_counted(tmp_path: Path) -> None:
    """Its position embeddings start after the padding index; a text of `max_length` tokens still fits."""
    tokenizer = make_tokenizer(CORPUS, max_length=10**30)
    sizes: Any = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    network = RobertaForSequenceClassification(
        RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=20, pad_token_id=1, **sizes)
    )
    model = load(save(network, tokenizer, tmp_path))
    assert model.max_length == 18
    assert model.network(input_ids=torch.full((1, 18), 5)).logits.shape == (1, 2)
    with pytest.raises(RuntimeError, match="out of bounds"):
        model.network(input_ids=torch.full((1, 19), 5))
