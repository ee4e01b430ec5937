"""Labels that differ in their spelling only, which people overlook."""

import unicodedata
from collections.abc import Iterable

from db.errors import quoted


def alike(label: str, labels: Iterable[str]) -> str | None:
    """Return the label that differs only in case, blanks, hyphens, underscores or forms of Unicode, if any.

    Example:
        >>> alike("Order-Tracking", ("faq", "order_tracking")), alike("refund", ("faq",))
        ('order_tracking', None)
    """
    return next((each for each in labels if _letters(each) == _letters(label)), None)


def or_alike(label: str, labels: Iterable[str]) -> str:
    """Return a clause that names the label which is probably meant; empty if there is none."""
    found = alike(label, labels)
    return "" if found is None else f"; labels are compared letter by letter, and {quoted(found)} is one"


def _letters(label: str) -> str:
    folded = unicodedata.normalize("NFKC", label).casefold()
    return "".join(each for each in folded if each.isalnum())
