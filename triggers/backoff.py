"""The wait before a failed call is retried."""

from datetime import timedelta

import numpy as np

#: A message that has failed this many times, over five hours on average, is dead.
MAX_ATTEMPTS = 50

_BASE_SECONDS = 5
_CAP_SECONDS = 15 * 60


def next_delay(
    attempts: int, rng: np.random.Generator, *, retry_after_seconds: float | None = None
) -> timedelta:
    """Return the wait after `attempts` (>= 1) failed attempts, at least the receiver's `retry_after_seconds`.

    Full jitter: uniform on [0, min(15 min, 5 s * 2^(attempts - 1))), so that senders that failed at the same
    time do not retry at the same time.
    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    ceiling = min(_CAP_SECONDS, _BASE_SECONDS * 2 ** (attempts - 1))
    return timedelta(seconds=max(rng.uniform(0, ceiling), retry_after_seconds or 0))
