"""Damage to a teacher's weights and answers, and to the texts that it reads."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.scoring.models import Model
from tests.support.world.models import answers

Logits = NDArray[np.float32]
Change = Callable[[str], str]


def garblings(seed: int) -> Mapping[str, Change]:
    """Changes of a text that leave nothing to read."""
    return {
        "texts cut to 8 characters": lambda text: text[:8],
        "letters shuffled": disordered(list, "", seed=seed),
        "texts in hexadecimal": lambda text: text.encode().hex(),
        "letters of another script": lambda text: "".join(chr(0x4E00 + ord(each)) for each in text),
        "one text for every request": lambda _: "x",
    }


def disordered(parts: Callable[[str], Sequence[str]], glue: str, *, seed: int) -> Change:
    """A change that puts the parts of a text into a random order."""
    rng = np.random.default_rng(seed)
    return lambda text: glue.join(rng.permutation(list(parts(text))))


def noisy(teacher: Model, noise: float, texts: Sequence[str], *, seed: int) -> Logits:
    """The teacher's logits with normal noise on every weight, in the deviations of its own matrix."""
    whole = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    generator = torch.Generator().manual_seed(seed)
    teacher.network.load_state_dict(
        {
            name: value + noise * value.std() * torch.randn(value.shape, generator=generator)
            if value.is_floating_point() and value.numel() > 1
            else value
            for name, value in whole.items()
        }
    )
    found = answers(teacher, texts)
    teacher.network.load_state_dict(whole)
    return found


def stuck(logits: Logits, label: int) -> Logits:
    """Logits that give one label to everything, surely."""
    found = np.full_like(logits, -5)
    found[:, label] = 5
    return found


def exchanged(logits: Logits, one: int, other: int) -> Logits:
    """The logits of a head in which two labels have changed places."""
    order = np.arange(logits.shape[1])
    order[[one, other]] = order[[other, one]]
    return logits[:, order]
