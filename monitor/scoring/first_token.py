"""The last layer of an encoder, without the tokens whose states its classifier never reads."""

import torch
from torch import nn
from transformers import PreTrainedModel

#: What takes the attention's output, by family.
_AFTER_ATTENTION = dict.fromkeys(
    ("bert", "camembert", "electra", "roberta", "xlm-roberta"), "encoder.layer.{}.attention.output"
) | {"distilbert": "transformer.layer.{}.sa_layer_norm"}


def first_token_only(network: PreTrainedModel) -> None:
    """Let the last layer go on with the first token alone once its attention has seen all.

    After the attention a layer mixes no tokens, and the classifiers of these families read the first one's
    state: logits and gradients are what they were, for 12% (of 6 layers) to 19% (of 4) fewer multiplications.
    Networks of other families stay as they are.
    """
    after_attention = _AFTER_ATTENTION.get(network.config.model_type)
    last = network.config.num_hidden_layers - 1
    if after_attention is not None and last >= 0:
        module = network.base_model.get_submodule(after_attention.format(last))
        module.register_forward_pre_hook(_first_token)


def _first_token(_module: nn.Module, states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """From (texts, tokens, hidden) to (texts, 1, hidden)."""
    return tuple(each[:, :1] for each in states)
