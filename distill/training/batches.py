"""Padded token batches of texts of similar length, in an order that a seed decides."""

from collections.abc import Iterator, Sequence
from inspect import signature
from itertools import chain

import torch
from torch import Tensor

from monitor.scoring.models import Model

#: The number of batches whose rows are sorted by length together: little padding, and still a random order.
_BATCHES_SORTED_TOGETHER = 50


class TokenRows:
    """The texts of a data set in one model's tokens: tokenised once, padded batch by batch."""

    def __init__(self, model: Model, texts: Sequence[str]) -> None:
        encoding = model.tokenizer(list(texts), truncation=True, max_length=model.max_length)
        fills = {
            "input_ids": model.tokenizer.pad_token_id,
            "token_type_ids": model.tokenizer.pad_token_type_id,
            "attention_mask": 0,
        }
        taken = signature(model.network.forward).parameters
        self._fills = {name: fill for name, fill in fills.items() if name in taken and name in encoding}
        self._flat = {name: torch.tensor([*chain(*encoding[name])]) for name in self._fills}
        #: (n,) numbers of tokens in the rows, special ones included.
        self.lengths = torch.tensor([len(ids) for ids in encoding["input_ids"]])
        self._starts = self.lengths.cumsum(0) - self.lengths
        self._device = model.placement.device

    def padded(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the network's inputs for these rows, each (rows, tokens of the longest), on its device."""
        lengths = self.lengths[rows, None]
        columns = torch.arange(int(lengths.max()))
        beyond = columns >= lengths
        places = (self._starts[rows, None] + columns).masked_fill(beyond, 0)
        return {
            name: self._flat[name][places].masked_fill(beyond, fill).to(self._device)
            for name, fill in self._fills.items()
        }


def shuffled_batches(lengths: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of all rows, each once, in ceil(n / batch_size) batches; one may not be full.

    Rows are shuffled, sorted by length within runs of 50 batches and cut into batches, which are
    then shuffled.
    """
    order = torch.randperm(len(lengths), generator=generator)
    runs = torch.split(order, batch_size * _BATCHES_SORTED_TOGETHER)
    ordered = [run[lengths[run].argsort(stable=True)] for run in runs]
    batches = [batch for run in ordered for batch in torch.split(run, batch_size)]
    return (batches[number] for number in torch.randperm(len(batches), generator=generator).tolist())
