"""Models that would be another model, or whose numbers mean something else: refused, with the reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from monitor.scoring.models import ModelError, fingerprint, load
from tests.support.world.architectures import edit_json, make_classifier
from tests.support.world.models import CORPUS, make_model, make_tokenizer

LABELS = ("faq", "promotion", "escalation")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 133466304\n"

REGEX = {
    "pre_tokenizer": {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
}
CHARSMAP = {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "intact", LABELS, seed=1, layers=2)


@pytest.fixture
def directory(intact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(intact, tmp_path / "model")


def refusal(directory: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load(directory)
    message = str(refused.value)
    assert message.startswith(f"The model {directory} cannot be used: ")
    assert "\n" not in message
    return message


def edited(name: str, **changes: object) -> Damage:
    return lambda directory: edit_json(directory / name, **changes)


def holding(name: str, content: bytes) -> Damage:
    return lambda directory: (directory / name).write_bytes(content)


def named(*names: str) -> dict[int, str]:
    return dict(enumerate(names))


def weights_in(name: str) -> Damage:
    """The weights under another name, to which the index refers, and a decoy under a name that is covered."""

    def change(directory: Path) -> None:
        target = directory / name
        tensors = load_file(directory / WEIGHTS)
        (directory / WEIGHTS).rename(directory / "model-decoy.safetensors")
        save_file(tensors, target, metadata={"format": "pt"})
        shards = dict.fromkeys(tensors, str(name))
        (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": shards}))

    return change


def with_another_weight(name: str) -> Damage:
    def change(directory: Path) -> None:
        tensors = load_file(directory / WEIGHTS) | {name: torch.zeros(32, 32)}
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})

    return change


def with_weights_in(kind: torch.dtype) -> Damage:
    def change(directory: Path) -> None:
        tensors = {name: tensor.to(kind) for name, tensor in load_file(directory / WEIGHTS).items()}
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        # Another meaning of the logits.
        (
            edited(CONFIG, problem_type="multi_label_classification"),
            "problem_type in its config.json is 'multi_label_classification'; the only supported one is",
        ),
        (edited(CONFIG, problem_type="regression"), "problem_type in its config.json is 'regression'"),
        (edited(CONFIG, problem_type="ranking"), "problem_type in its config.json is 'ranking'"),
        (edited(CONFIG, problem_type=["regression"]), "problem_type in its config.json is ['regression']"),
        (edited(CONFIG, return_dict=False), "return_dict in its config.json is false"),
        (edited(CONFIG, return_dict=None), "return_dict in its config.json is null"),
        (edited(CONFIG, id2label=["a", "b", "c"]), "id2label in its config.json is not an object"),
        (edited(CONFIG, label2id="faq"), "label2id in its config.json is not an object"),
        (edited(CONFIG, problem_type="x" * 9_000), f"problem_type in its config.json is '{'x' * 197}…';"),
        # Another model than the weights are of.
        (
            edited(CONFIG, num_hidden_layers=1),
            "no place for the weight bert.encoder.layer.1.attention.output",
        ),
        (edited(CONFIG, num_hidden_layers=3), "its weights lack bert.encoder.layer.2.attention.output"),
        (
            with_another_weight("bert.encoder.layer.0.attention.self.query.lora_A.weight"),
            "no place for the weight bert.encoder.layer.0.attention.self.query.lora_A.weight; put the files",
        ),
        (
            with_weights_in(torch.int8),
            "its weight bert.embeddings.LayerNorm.weight is quantized, to I8; save",
        ),
        (with_weights_in(torch.float8_e4m3fn), "is quantized, to F8_E4M3; save it as it was before that"),
        (
            edited(CONFIG, architectures=["ModernBertForTokenClassification"]),
            "it labels tokens (ModernBertForTokenClassification in its config.json); use a classifier of",
        ),
        # Tokens that differ each time, or of which there is no number.
        (
            edited("tokenizer.json", model={"type": "BPE", "dropout": 0.1, "vocab": {}, "merges": []}),
            "its tokenizer leaves out merges at random (dropout 0.1 in tokenizer.json), so that a text",
        ),
        *(
            (
                edited(TOKENIZER_CONFIG, model_max_length=length),
                f"model_max_length in its tokenizer_config.json is {length!r}; write a whole number",
            )
            for length in (0, 1, -1, 32.0, "32", True, float("nan"))
        ),
        (holding("adapter_config.json", b"{}"), "it has an adapter (adapter_config.json); merge that into"),
        (edited(CONFIG, quantization_config={"load_in_4bit": True}), "its weights are quantized"),
        (
            edited(CONFIG, model_type="led"),
            "transformers has no classifier of texts for its model_type 'led'",
        ),
        (
            edited(CONFIG, model_type="mine", auto_map={"AutoConfig": "mine.Config"}),
            "it contains custom code (auto_map in its config.json), which is never run; use a model of",
        ),
        # Files that the fingerprint does not cover.
        (weights_in("weights.safetensors"), f"its {INDEX} refers to 'weights.safetensors'; save the whole"),
        (weights_in("../outside.safetensors"), f"its {INDEX} refers to '../outside.safetensors'"),
        (weights_in("model.bin"), f"its {INDEX} refers to 'model.bin'"),
        (weights_in("tokenizer.safetensors"), f"its {INDEX} refers to 'tokenizer.safetensors'"),
        (
            holding(INDEX, json.dumps({"weight_map": {"w": "model-2.safetensors"}}).encode()),
            f"it lacks model-2.safetensors, to which its {INDEX} refers",
        ),
        (
            edited(CONFIG, transformers_weights="other.safetensors"),
            "its config.json refers to 'other.safetensors'",
        ),
        (
            edited(CONFIG, configuration_files=["config.4.0.0.json"]),
            "its config.json refers to 'config.4.0.0.json'",
        ),
        (
            edited(TOKENIZER_CONFIG, fast_tokenizer_files=["a/tokenizer.4.0.0.json"]),
            "its tokenizer_config.json refers to 'a/tokenizer.4.0.0.json'",
        ),
        # Files that are not what they are called.
        (holding(WEIGHTS, LFS), f"its {WEIGHTS} is only a pointer of Git LFS; run `git lfs pull`"),
        (holding("tokenizer.json", LFS), "its tokenizer.json is only a pointer of Git LFS"),
        # Labels that cannot be kept apart, or not be stored.
        (
            edited(CONFIG, label2id={"faq": 2, "promotion": 1, "escalation": 0}),
            "the label 'faq' is 0 in the id2label of its config.json and 2 in its label2id",
        ),
        (
            edited(CONFIG, id2label=named("faq", "pro\0motion", "escalation")),
            r"its label 'pro\x00motion' cannot",
        ),
        (
            edited(CONFIG, id2label=named("faq", "\ud800", "escalation")),
            r"its label '\ud800' cannot be stored",
        ),
        (edited(CONFIG, id2label=named("faq", " ", "escalation")), "its label ' ' cannot be stored"),
    ],
)
def test_what_is_another_model_is_refused_with_the_reason_and_the_fix(
    directory: Path, damage: Damage, said: str
) -> None:
    damage(directory)
    assert said in refusal(directory)


def test_weights_elsewhere_are_refused_by_their_absolute_path(directory: Path, tmp_path: Path) -> None:
    weights_in(str(tmp_path / "model-outside.safetensors"))(directory)
    assert f"its {INDEX} refers to '{tmp_path}/model-outside.safetensors'" in refusal(directory)


def test_weights_in_several_files_are_loaded(directory: Path) -> None:
    tensors = load_file(directory / WEIGHTS)
    (directory / WEIGHTS).unlink()
    shards = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(tensors)}
    for shard in {*shards.values()}:
        part = {name: tensors[name] for name in tensors if shards[name] == shard}
        save_file(part, directory / shard, metadata={"format": "pt"})
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    assert load(directory).labels == LABELS


@pytest.mark.parametrize(
    "name",
    [
        "bert.pooler.extra.weight",
        "lm_head.dense.weight",
        "cls.predictions.bias",
        "generator_predictions.dense.weight",
        "vocab_projector.weight",
        "bert.embeddings.position_ids",
        "final_logits_bias",
    ],
)
def test_weights_of_heads_that_no_classifier_uses_are_ignored(directory: Path, name: str) -> None:
    """Classifiers that were saved by other classes have them."""
    with_another_weight(name)(directory)
    assert load(directory).labels == LABELS


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_in_other_floating_point_types_are_loaded(directory: Path, kind: torch.dtype) -> None:
    with_weights_in(kind)(directory)
    assert load(directory).labels == LABELS


@pytest.mark.parametrize("length", [None, 32, int(1e30), 1e30])
def test_a_tokenizer_with_a_limit_or_none_is_loaded(directory: Path, length: float | None) -> None:
    edit_json(directory / TOKENIZER_CONFIG, model_max_length=length)
    assert load(directory).labels == LABELS


def test_a_label2id_with_other_names_contradicts_nothing(directory: Path) -> None:
    """Who sets only id2label leaves the default label2id behind."""
    edit_json(directory / CONFIG, label2id={"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2})
    assert load(directory).labels == LABELS


def test_a_single_logit_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    directory = make_model(tmp_path, ("spam",), seed=1)
    assert "it has one logit ('spam'), as for a score or for yes and no; only classifiers" in refusal(
        directory
    )


def test_an_adapter_alone_is_told_from_a_model_without_config(directory: Path) -> None:
    (directory / CONFIG).rename(directory / "adapter_config.json")
    assert "it has an adapter (adapter_config.json)" in refusal(directory)


def test_the_root_of_a_cache_is_refused_with_its_snapshot(directory: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0a1b"
    shutil.move(directory, snapshot)
    assert f"it has no config.json; name {snapshot} if that is the model" in refusal(snapshot.parents[1])


def test_the_output_of_a_trainer_is_refused_with_its_newest_checkpoint(
    directory: Path, tmp_path: Path
) -> None:
    shutil.copytree(directory, tmp_path / "out" / "checkpoint-500")
    assert f"name {tmp_path}/out/checkpoint-500 if that" in refusal(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "tf_model.h5",
            "tf_model.h5 is of TensorFlow: load it where you trust it, and save it again in safetensors",
        ),
        ("model.onnx", "model.onnx is of ONNX"),
        ("model.Q4_K_M.gguf", "model.Q4_K_M.gguf is of llama.cpp"),
    ],
)
def test_weights_of_other_kinds_are_named(directory: Path, name: str, said: str) -> None:
    (directory / WEIGHTS).rename(directory / name)
    assert said in refusal(directory)


@pytest.mark.parametrize("change", [REGEX, CHARSMAP])
def test_a_tokenizer_that_panics_is_refused(
    directory: Path, change: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    """As it is loaded, or with a long word. Its library is in Rust, whose panics are not exceptions."""
    edit_json(directory / "tokenizer.json", **change)
    edit_json(directory / TOKENIZER_CONFIG, tokenizer_class="PreTrainedTokenizerFast")
    assert "PanicException" in refusal(directory)
    assert "panicked" in capfd.readouterr().err


def test_a_vocabulary_that_the_fingerprint_does_not_cover_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer(CORPUS, max_length=32)
    directory = make_classifier("bert", tmp_path, tokenizer=tokenizer)
    (directory / "words.bin").write_bytes(b"")
    monkeypatch.setitem(type(tokenizer).vocab_files_names, "words_file", "words.bin")
    assert "its tokenizer reads words.bin, which the fingerprint of a model does not cover" in refusal(
        directory
    )


@pytest.mark.parametrize("name", ["bpe.codes", "dict.txt"])
def test_the_merges_of_older_tokenizers_are_part_of_the_version(directory: Path, name: str) -> None:
    before = fingerprint(directory)
    (directory / name).write_text("e r 10\n")
    assert fingerprint(directory) != before
