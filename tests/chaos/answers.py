"""A channel that turns away about half of what it is sent."""

import threading
from collections import Counter
from http import HTTPStatus
from typing import Final
from zlib import crc32

import numpy as np

from tests.support.servers.receiver import Received

REFUSALS: Final = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.TOO_MANY_REQUESTS, None)
#: So often in a row one message is turned away at most: the waits between double.
_IN_A_ROW: Final = 4


class Moody:
    """Each message has answers of its own, drawn from the seed: the same whoever sends it and when."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rngs: dict[str, np.random.Generator] = {}
        self._turned_away: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, message: Received) -> HTTPStatus | None:
        name = f"{message.channel} {message.key}"
        with self._lock:
            rng = self._rngs.setdefault(name, np.random.default_rng([self._seed, crc32(name.encode())]))
            refusal = REFUSALS[int(rng.integers(len(REFUSALS)))]
            is_refused = rng.random() < 0.5 and self._turned_away[name] < _IN_A_ROW
            self._turned_away[name] = self._turned_away[name] + 1 if is_refused else 0
        return refusal if is_refused else HTTPStatus.ACCEPTED


class Shy:
    """Turns away each message once."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, message: Received) -> HTTPStatus:
        name = f"{message.channel} {message.key}"
        is_new = name not in self._known
        self._known.add(name)
        return HTTPStatus.INTERNAL_SERVER_ERROR if is_new else HTTPStatus.ACCEPTED
