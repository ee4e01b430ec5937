"""The last layer of an encoder, without the tokens whose states the classifier never reads."""

import torch
from torch import nn
from transformers import PreTrainedModel

#: The module that receives the output of the attention, by family.
_AFTER_ATTENTION = dict.fromkeys(
    ("bert", "camembert", "electra", "roberta", "xlm-roberta"), "encoder.layer.{}.attention.output"
) | {"distilbert": "transformer.layer.{}.sa_layer_norm"}


def first_token_only(network: PreTrainedModel) -> None:
    """Compute only the first token in the last layer, after its attention has used all tokens.

    After the attention a layer does not mix tokens, and the classifiers of these families read only the state
    of the first token: logits and gradients are the same, with 12% (6 layers) to 19% (4 layers) fewer
    multiplications. Networks of other families are not changed.
    """
    after_attention = _AFTER_ATTENTION.get(network.config.model_type)
    last = network.config.num_hidden_layers - 1
    if after_attention is not None and last >= 0:
        module = network.base_model.get_submodule(after_attention.format(last))
        module.register_forward_pre_hook(_first_token)


def _first_token(_module: nn.Module, states: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return (texts, 1, hidden) from (texts, tokens, hidden)."""
    return tuple(each[:, :1] for each in states)
