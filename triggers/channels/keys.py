"""Keys by which a service drops what it has seen, within what it allows of them."""

import hashlib
import re

_PLAIN = re.compile(r"[!-~]+")


def fitting(key: str, limit: int) -> str:
    """The key itself, or, where it is too long or not plain ASCII without blanks, the digest in its place.

    Example:
        >>> fitting("redistill:mangaassist:7", 128), len(fitting("redistill:a b:7", 128))
        ('redistill:mangaassist:7', 74)
    """
    if len(key) <= limit and _PLAIN.fullmatch(key):
        return key
    return f"redistill:{hashlib.sha256(key.encode()).hexdigest()}"
