"""The files of a model directory: what identifies a model, and what is refused before anything is loaded.

A model is only what its fingerprint covers: a reference from one of its files to any other file is refused.
"""

import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from db.errors import quoted
from monitor.scoring.model import ModelError

#: The files of a directory that determine the model's logits. A model card, manifest.json, training_args.bin,
#: the state of an optimizer and any other files are ignored.
FINGERPRINTED: Final = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "bpe.codes",
    "dict.txt",
)
_WEIGHTS: Final = "model*.safetensors"
_INDEX: Final = "model.safetensors.index.json"
#: The types of weights that are read as they are: numbers of other types are a quantization's.
_TYPES: Final = frozenset({"F16", "BF16", "F32", "F64"})
_VOCABULARIES: Final = ("tokenizer.json", "vocab*", "*.model")
_POINTER: Final = b"version https://git-lfs.github.com/spec/"
#: Weights that are not read, and why.
_OTHER_WEIGHTS: Final = {
    "pytorch_model*.bin": "a pickle and is not opened",
    "tf_model.h5": "of TensorFlow",
    "flax_model.msgpack": "of Flax",
    "*.onnx": "of ONNX",
    "*.gguf": "of llama.cpp",
}


def fingerprint(directory: Path) -> str:
    """Return the SHA-256 that identifies a model, as 64 hexadecimal digits.

    It covers the names and contents of the files in `FINGERPRINTED`, and equals the output of
    `LC_ALL=C sha256sum <these files, sorted> | sha256sum` in the directory.

    Raises:
        ModelError: there is no such directory, no weights or no config, or a file cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for path in _parts(directory):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{digest}  {path.name}\n".encode())
    except OSError as error:
        raise ModelError(model=directory, problem=error) from error
    return whole.hexdigest()


def check_files(directory: Path) -> None:
    """Check that the files are the model itself, and that they refer to no others.

    Raises:
        ModelError: a file is a pointer of Git LFS, has quantized weights, or refers to a file that the
            fingerprint does not cover.
    """
    for path in _parts(directory):
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                problem = (
                    f"its {path.name} is only a pointer of Git LFS; run `git lfs pull` where the model was "
                    "cloned, and copy the file from there"
                )
                raise ModelError(model=directory, problem=problem)
        if fnmatchcase(path.name, _WEIGHTS):
            _check_types(directory, path)
    for source, name in _references(directory):
        _check_reference(directory, source, name)


def _check_types(directory: Path, path: Path) -> None:
    """Refuse quantized weights: without a quantization_config, the loader takes their codes for weights."""
    try:
        with safe_open(path, framework="pt") as weights:
            types = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return  # which the loader reports better
    for name, kind in sorted(types.items()):
        if name.endswith("weight") and kind not in _TYPES:
            problem = (
                f"its weight {name} is quantized, to {kind}; save it as it was before that, with weights in "
                "float32, float16 or bfloat16"
            )
            raise ModelError(model=directory, problem=problem)


def check_vocabulary_files(directory: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that the fingerprint covers all vocabularies that this kind of tokenizer reads.

    Raises:
        ModelError: it does not cover one of them.
    """
    for name in tokenizer.vocab_files_names.values():
        if (directory / name).exists() and not _is_covered(name):
            problem = (
                f"its tokenizer reads {name}, which the fingerprint of a model does not cover; save it as a "
                "fast tokenizer, in tokenizer.json"
            )
            raise ModelError(model=directory, problem=problem)


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is none: the loader reports that better."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _references(directory: Path) -> Iterator[tuple[str, object]]:
    """Yield the names of files in the files, each with the name of the file that it is in."""
    shards = json_object(directory / _INDEX).get("weight_map")
    for name in sorted({*map(str, shards.values())} if isinstance(shards, dict) else ()):
        yield _INDEX, name
    for file, key in (
        ("config.json", "transformers_weights"),
        ("config.json", "configuration_files"),
        ("tokenizer_config.json", "fast_tokenizer_files"),
    ):
        named = json_object(directory / file).get(key) or ()
        yield from ((file, name) for name in (named if isinstance(named, list) else [named] if named else ()))


def _check_reference(directory: Path, source: str, name: object) -> None:
    is_plain = isinstance(name, str) and Path(name).name == name and _is_covered(name)
    if not is_plain or (source == _INDEX and not fnmatchcase(str(name), _WEIGHTS)):
        problem = f"its {source} refers to {quoted(name)}; save the whole model again with save_pretrained"
        raise ModelError(model=directory, problem=problem)
    if not (directory / str(name)).is_file():
        raise ModelError(
            model=directory, problem=f"it lacks {name}, to which its {source} refers; copy that file there"
        )


def _is_covered(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in FINGERPRINTED)


def _parts(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise ModelError(
            model=directory, problem="there is no such directory; correct the path, or put the model there"
        )
    if (directory / "adapter_config.json").exists():
        problem = (
            "it has an adapter (adapter_config.json); merge that into its base model, with merge_and_unload "
            "of peft, and save the result alone"
        )
        raise ModelError(model=directory, problem=problem)
    _require(directory, ("config.json",), _where_else(directory))
    _require(directory, (_WEIGHTS,), _other_weights(directory))
    _require(directory, _VOCABULARIES, "save the tokenizer there with save_pretrained")
    found = {path for pattern in FINGERPRINTED for path in directory.glob(pattern) if path.is_file()}
    return sorted(found, key=lambda path: path.name)


def _require(directory: Path, patterns: tuple[str, ...], fix: str) -> None:
    if not any(path.is_file() for pattern in patterns for path in directory.glob(pattern)):
        raise ModelError(model=directory, problem=f"it has no {' or '.join(patterns)}; {fix}")


def _where_else(directory: Path) -> str:
    """Return what to do about a directory that is not a model, but may contain one.

    The root of a model in the cache of the hub has one in snapshots/REVISION, the output of a trainer one in
    checkpoint-STEP.
    """
    inner = [path.parent for depth in ("*", "*/*") for path in directory.glob(f"{depth}/config.json")]
    if not inner:
        return "save the model there with save_pretrained"
    newest = max(inner, key=lambda path: path.stat().st_mtime)
    return f"name {newest} if that is the model"


def _other_weights(directory: Path) -> str:
    for pattern, kind in _OTHER_WEIGHTS.items():
        if found := sorted(directory.glob(pattern)):
            return f"{found[0].name} is {kind}: load it where you trust it, and save it again in safetensors"
    return "save the model there with save_pretrained"
