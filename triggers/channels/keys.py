"""Deduplication keys within the limits of each service."""

import hashlib
import re

_PLAIN = re.compile(r"[!-~]+")


def fitting(key: str, limit: int) -> str:
    """Return the key, or its digest if it is too long or not printable ASCII without blanks.

    Example:
        >>> fitting("redistill:mangaassist:7", 128), len(fitting("redistill:a b:7", 128))
        ('redistill:mangaassist:7', 74)
    """
    if len(key) <= limit and _PLAIN.fullmatch(key):
        return key
    return f"redistill:{hashlib.sha256(key.encode()).hexdigest()}"
