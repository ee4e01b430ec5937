"""The probe of a loaded model: it must score a text in a batch as it scores the text alone.

A cycle scores texts in batches that it fills up with padding. A network or a tokenizer for which padding, the
length of a text or special tokens in it matter would give numbers that depend on the batches.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from monitor.scoring.batches import ForwardError, ScoringError, answer, batched
from monitor.scoring.model import Model, ModelError, in_a_line

#: Of the larger of 1 and the largest logit.
_TOLERANCE: Final = 1e-4
_SHORT: Final = "where is my order?"
_LONG: Final = (
    "the parcel with two books and a lamp has not come: can you say where it is, or send my money back?"
)
_LONG_WORD: Final = 100  #: characters, with which a regular expression may take too many steps
_SPECIAL_TOKENS: Final = 8  #: of those that the tokenizer names, the first; some have hundreds


def probed(model: Model, directory: Path) -> Model:
    """Return the model, with `max_length` cut to the positions of its network.

    Raises:
        ModelError: it cannot score some text, or the logits of one depend on the others in the batch.
    """
    try:
        fitting = _cut_to_positions(model)
        texts = [_SHORT, _LONG, f"i like {' '.join(_special_tokens(model))} tags", ""]
        _check_cut(fitting, directory)
        together = _logits(fitting, texts)
        alone = np.concatenate([_logits(fitting, [text]) for text in texts])
    except (ForwardError, ScoringError) as error:
        problem = f"it cannot score a batch of texts ({in_a_line(error.__cause__ or error)}): {_cause(model)}"
        raise ModelError(model=directory, problem=problem) from error
    if together.shape != (len(texts), len(model.labels)):
        problem = f"its network gives logits of shape {together.shape[1:]} for {len(model.labels)} labels"
        raise ModelError(model=directory, problem=f"{problem}; use a classifier of texts")
    finite = np.isfinite(alone).all(axis=1) & np.isfinite(together).all(axis=1)  # others fail with their text
    apart = float(np.abs(together[finite] - alone[finite]).max(initial=0.0))
    if apart > _TOLERANCE * max(1.0, float(np.abs(alone[finite]).max(initial=0.0))):
        problem = f"the logits of a text differ by {apart:.2g} between a batch and the text alone"
        raise ModelError(model=directory, problem=f"{problem}: {_cause(model)}")
    return fitting


def _check_cut(model: Model, directory: Path) -> None:
    """Check that the tokenizer reads a text over the maximum, with a long word, and cuts it."""
    text = f"{'a ' * model.max_length}{'a' * _LONG_WORD}!"
    (batch,) = batched(model, [text], tokens_per_batch=model.max_length)
    n = len(batch.encoding["input_ids"][0])
    if n > model.max_length:
        problem = f"its tokenizer gives {n} tokens where at most {model.max_length} are asked for"
        raise ModelError(model=directory, problem=f"{problem}; save it again with save_pretrained")


def _cut_to_positions(model: Model) -> Model:
    """Return the model with as many tokens as its config has positions, if it cannot score one token more.

    Networks keep their positions under many names; with relative positions most can score longer texts.
    """
    positions = _positions(model)
    if positions is None or model.max_length <= positions:
        return model
    one_more = replace(model, max_length=positions + 1)
    try:
        _logits(one_more, [f"{_SHORT} " * positions])
    except ForwardError:
        return replace(model, max_length=positions)
    return model


def _positions(model: Model) -> int | None:
    try:
        found = model.network.config.max_position_embeddings
    except (AttributeError, NotImplementedError):
        return None
    return found if isinstance(found, int) and found > 0 else None


def _special_tokens(model: Model) -> Sequence[str]:
    return [str(token) for token in model.tokenizer.all_special_tokens[:_SPECIAL_TOKENS]]


def _logits(model: Model, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return logits (n, labels) in the order of the texts, from one batch."""
    (batch,) = batched(model, texts, tokens_per_batch=len(texts) * model.max_length)
    return answer(model, batch)[np.argsort(batch.rows)]


def _cause(model: Model) -> str:
    """Return the likely reason why padding matters, and what to do."""
    config, tokenizer = model.network.config.get_text_config(), model.tokenizer
    configured, padding = getattr(config, "pad_token_id", None), tokenizer.pad_token_id
    if configured != padding:
        return (
            f"pad_token_id is {configured} in its config.json and {padding} in its tokenizer; set it to "
            f"{padding} in config.json"
        )
    if "attention_mask" not in tokenizer.model_input_names:
        return (
            "its tokenizer gives no attention mask; add attention_mask to model_input_names in its "
            "tokenizer_config.json"
        )
    if tokenizer.padding_side == "left":
        return "it needs padding on the left, which is not supported; use another architecture"
    return f"its architecture, {model.network.config.model_type}, is not supported; use one of docs/models.md"
