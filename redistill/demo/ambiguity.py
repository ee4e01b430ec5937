"""Ambiguous requests, which fit two intents and so bound the accuracy of any teacher."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Ambiguity:
    """A group of phrases that two intents share."""

    likelier: str
    other: str
    #: P(likelier | this group), in (0.5, 1): the highest accuracy of a classifier of the text on this group
    lean: float
    #: relative frequency among the ambiguous requests
    weight: float
    templates: tuple[str, ...]


AMBIGUOUS: tuple[Ambiguity, ...] = (
    Ambiguity(
        likelier="product_discovery",
        other="recommendation",
        lean=0.70,
        weight=5.0,
        templates=(
            "looking for something like {title}",
            "any good {genre} manga in {language}",
            "i want a {genre} series with a {mood} hero",
            "something {genre} for {reader}",
        ),
    ),
    Ambiguity(
        likelier="recommendation",
        other="product_discovery",
        lean=0.72,
        weight=3.0,
        templates=(
            "what {mood} {genre} manga do you have",
            "which manga are popular with fans of {title}",
            "a {mood} {format} as a gift for {reader}",
        ),
    ),
    Ambiguity(
        likelier="product_question",
        other="product_discovery",
        lean=0.70,
        weight=4.0,
        templates=(
            "do you have {title} as a {format}",
            "is {title} volume {volume} in stock",
            "{title} {format} in {language}?",
        ),
    ),
    Ambiguity(
        likelier="product_question",
        other="recommendation",
        lean=0.72,
        weight=3.0,
        templates=(
            "is {title} any good",
            "is {title} worth reading if i like {genre}",
            "is {title} more {mood} than {title}",
        ),
    ),
    Ambiguity(
        likelier="faq",
        other="order_tracking",
        lean=0.70,
        weight=2.5,
        templates=(
            "how long does delivery to {country} take",
            "how long does shipping take if i ordered on {day}",
            "do orders from {day} ship on {day}",
        ),
    ),
    Ambiguity(
        likelier="order_tracking",
        other="return_request",
        lean=0.74,
        weight=1.5,
        templates=(
            "order {order} came without volume {volume}",
            "i only got half of order {order}",
        ),
    ),
    Ambiguity(
        likelier="return_request",
        other="faq",
        lean=0.75,
        weight=1.5,
        templates=(
            "what happens if my {item} {fault}",
            "how many days do i have to return a {format}",
        ),
    ),
    Ambiguity(
        likelier="checkout_help",
        other="promotion",
        lean=0.75,
        weight=1.0,
        templates=("code {code} does not work", "it says {code} is not valid for {title}"),
    ),
    Ambiguity(
        likelier="promotion",
        other="product_discovery",
        lean=0.72,
        weight=1.5,
        templates=("cheap {genre} manga", "{genre} {format} under ## dollars"),
    ),
    Ambiguity(
        likelier="faq",
        other="checkout_help",
        lean=0.75,
        weight=1.0,
        templates=("do you take {pay} in {country}", "can i use {pay} here"),
    ),
    Ambiguity(
        likelier="escalation",
        other="order_tracking",
        lean=0.75,
        weight=1.0,
        templates=(
            "still no {item} and no answer since {day}",
            "order {order} is late again, unacceptable",
        ),
    ),
    Ambiguity(
        likelier="chitchat",
        other="recommendation",
        lean=0.75,
        weight=1.0,
        templates=("what is your favorite {genre} manga", "do {who} read {title}"),
    ),
)
