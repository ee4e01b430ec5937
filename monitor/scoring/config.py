"""The config.json of a model: its architecture and its labels, and which of them are supported."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import transformers
from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedConfig

from db.errors import quoted
from monitor.scoring.files import json_object
from monitor.scoring.model import ModelError

_FEWEST_LABELS: Final = 2
_FEWEST_TOKENS: Final = 2
_NO_LIMIT: Final = 1e9
_ONE_LABEL_A_TEXT: Final = "single_label_classification"


def check_config(directory: Path) -> None:
    """Check that a model is a classifier of a supported kind, as far as its configurations say.

    Raises:
        ModelError: it is not; the message says what is supported.
    """
    for problem in (
        *_problems(json_object(directory / "config.json")),
        *_problems_of_tokenizer(
            json_object(directory / "tokenizer.json"), json_object(directory / "tokenizer_config.json")
        ),
    ):
        raise ModelError(model=directory, problem=problem)


def _problems(config: Mapping[str, Any]) -> Iterator[str]:
    kind = config.get("model_type")
    if isinstance(kind, str) and kind not in CONFIG_MAPPING:
        if config.get("auto_map"):
            yield (
                "it contains custom code (auto_map in its config.json), which is never run; use a model of "
                "an architecture that transformers has"
            )
        yield (
            f"transformers {transformers.__version__} does not recognize this architecture, {quoted(kind)}; "
            "use another architecture, or a version of transformers that has it"
        )
    elif isinstance(kind, str) and CONFIG_MAPPING[kind] not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        yield (
            f"transformers has no classifier of texts for its model_type {quoted(kind)}; use another "
            "architecture"
        )
    if config.get("quantization_config"):
        yield (
            "its weights are quantized (quantization_config in its config.json); save it as it was before "
            "that, with weights in float32, float16 or bfloat16"
        )
    if config.get("problem_type") not in (None, _ONE_LABEL_A_TEXT):
        yield (
            f"problem_type in its config.json is {quoted(config['problem_type'])}; the only supported one is "
            f"{_ONE_LABEL_A_TEXT!r}, in which each text has one label"
        )
    yield from _problems_of_answers(config)
    architectures = config.get("architectures")
    for name in architectures if isinstance(architectures, list) else ():
        if str(name).endswith("ForTokenClassification"):  # some have the weights of a classifier of texts
            yield f"it labels tokens ({name} in its config.json); use a classifier of texts"


def _problems_of_answers(config: Mapping[str, Any]) -> Iterator[str]:
    if not config.get("return_dict", True):
        found = json.dumps(config["return_dict"])
        yield f"return_dict in its config.json is {found}, which hides its logits; remove return_dict there"
    for name in ("id2label", "label2id"):
        if not isinstance(config.get(name, {}), dict | None):
            yield f"{name} in its config.json is not an object; write one entry for each label there"
    if config.get("attention_type") == "block_sparse":
        yield (
            "its attention_type is 'block_sparse', with which the logits of a text depend on the texts "
            "before it; set 'original_full' in its config.json"
        )


def _problems_of_tokenizer(content: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    merges = content.get("model")
    if isinstance(merges, dict) and merges.get("dropout"):
        yield (
            f"its tokenizer leaves out merges at random (dropout {merges['dropout']} in tokenizer.json), so "
            "that a text has other tokens each time; set dropout to null there"
        )
    length = config.get("model_max_length")
    if length is not None and not _is_limit(length):
        yield (
            f"model_max_length in its tokenizer_config.json is {quoted(length)}; write a whole number of "
            "tokens, such as 512"
        )


def _is_limit(length: object) -> bool:
    """Return whether it is a number of tokens; those without a limit have 1e30."""
    if isinstance(length, float):
        return length > _NO_LIMIT
    return isinstance(length, int) and not isinstance(length, bool) and length >= _FEWEST_TOKENS


def labels_of(directory: Path, config: PreTrainedConfig) -> tuple[str, ...]:
    """Return the labels, checked here: transformers also loads a config with gaps, duplicates or no names.

    Raises:
        ModelError: the config does not give each logit a name of its own that can be stored.
    """
    names = cast("dict[int, str]", config.id2label)
    if len(names) == 1:
        problem = (
            f"it has one logit ({quoted(next(iter(names.values())))}), as for a score or for yes and no; "
            "only classifiers with one logit for each of two or more labels are supported"
        )
        raise ModelError(model=directory, problem=problem)
    if len(names) < _FEWEST_LABELS or sorted(names) != list(range(len(names))):
        wanted = "must name the labels 0, 1, … of a classifier"
        problem = f"the id2label of its config.json {wanted}, not {quoted(names)}"
        raise ModelError(model=directory, problem=problem)
    labels = tuple(str(names[index]) for index in range(len(names)))
    doubles = sorted({label for label in labels if labels.count(label) > 1})
    if doubles:
        problem = (
            f"its config.json gives the label {quoted(doubles[0])} to two logits; name each once in id2label"
        )
        raise ModelError(model=directory, problem=problem)
    _check_storable(directory, labels)
    _check_inverse(directory, labels, cast("dict[str, int]", config.label2id or {}))
    return labels


def _check_storable(directory: Path, labels: tuple[str, ...]) -> None:
    """Refuse labels that not every database stores, and blank ones, which no log can have."""
    for label in labels:
        if not label.strip() or "\0" in label or label != label.encode(errors="replace").decode():
            problem = (
                f"its label {quoted(label)} cannot be stored; give it a name in id2label that is not blank, "
                "without NUL and without halves of characters"
            )
            raise ModelError(model=directory, problem=problem)


def _check_inverse(directory: Path, labels: tuple[str, ...], numbers: Mapping[str, int]) -> None:
    """Refuse a label2id that gives a label of id2label another number; other names in it are ignored."""
    for number, label in enumerate(labels):
        other = numbers.get(label, number)
        if other != number:
            problem = (
                f"the label {quoted(label)} is {number} in the id2label of its config.json and {other} in "
                "its label2id; correct the wrong one"
            )
            raise ModelError(model=directory, problem=problem)
