"""The text of a stored message for people: summary, times, numbers, order and links."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from db.errors import one_line
from triggers.incidents.slice_words import slice_in_words

#: The kind of a message that only tests a channel.
TEST: Final = "test"

_UNSEEN: Final = {"Cc", "Cs"}  #: control characters and surrogates
_BEYOND_16_BITS: Final = 0xFFFF


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact about an incident, in one or more lines."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class IncidentView:
    """The content of a message; each text is one line."""

    dedup_key: str
    event: str  #: firing, acknowledged or resolved
    kind: str
    severity: str
    monitor: str
    summary: str
    at: str  #: RFC 3339
    facts: tuple[Fact, ...]
    links: Mapping[str, str]  #: URLs by name

    @property
    def title(self) -> str:
        """The incident and its state in a few words."""
        if self.kind == TEST:
            return f"TEST, nothing is wrong: {self.monitor}"
        return f"{self.event.upper()}: {self.kind} ({self.severity}), {self.monitor}"


def view_of(payload: str) -> IncidentView:
    """Return the content of a payload of the schema `redistill.incident/1`."""
    found = orjson.loads(payload)
    return IncidentView(
        dedup_key=found["dedup_key"],
        event=printable(found["event"]),
        kind=printable(found["kind"]),
        severity=found["severity"],
        monitor=printable(found["monitor"]),
        summary=printable(found["summary"]),
        at=found["at"],
        facts=tuple(_facts(found)),
        links={name: str(url) for name, url in (found.get("links") or {}).items() if url},
    )


def written(message: IncidentView) -> str:
    """Return the whole message as plain text."""
    lines = [message.title, message.summary, ""]
    for fact in message.facts:
        first, *others = fact.lines
        lines += [f"{fact.name}: {first}", *(f"  {line}" for line in others)]
    lines += [f"{name}: {url}" for name, url in message.links.items()]
    return "\n".join(lines)


def printable(text: object) -> str:
    """Return the text without line breaks and other control characters, with single blanks."""
    seen = (" " if unicodedata.category(each) in _UNSEEN else each for each in str(text))
    return one_line("".join(seen))


def shortened(signs: Sequence[str], limit: int) -> str:
    """Return the signs as one text, cut to at most `limit` UTF-16 units.

    The cut is between two signs, and an ellipsis marks it.

    Example:
        >>> shortened("agreement", 9), shortened("agreement", 6)
        ('agreement', 'agree…')
    """
    if units(text := "".join(signs)) <= limit:
        return text
    kept, left = [], limit - 1
    for each in signs:
        left -= units(each)
        if left < 0:
            break
        kept.append(each)
    return "".join(kept).rstrip() + "…"


def units(text: str) -> int:
    """Return the length in UTF-16 units, as JavaScript and Java count: an emoji is 2 or more."""
    return len(text) + sum(ord(each) > _BEYOND_16_BITS for each in text)


def _facts(found: Mapping[str, Any]) -> Iterator[Fact]:
    since = found.get("since") or found.get("opened_at")
    if since:
        yield Fact(name="since", lines=(_minute(since),))
    if found.get("by"):
        yield Fact(name="acknowledged by", lines=(printable(found["by"]),))
    if found.get("window_start") and found.get("window_end"):
        window = f"{_minute(found['window_start'])} to {_minute(found['window_end'])}"
        yield Fact(name="window", lines=(f"{window}, cycle {found.get('cycle_id')}",))
    numbers = tuple(_number(rule) for rule in found.get("rules") or () if rule["value"] is not None)
    if numbers:
        yield Fact(name="numbers", lines=numbers)
    if found.get("gates"):
        yield Fact(name="gates", lines=tuple(map(_gate, found["gates"])))
    if found.get("labels"):
        yield Fact(name="intents that differ most", lines=tuple(map(_label, found["labels"])))
    if found.get("slices"):
        slices = tuple(printable(slice_in_words(each)) for each in found["slices"])
        yield Fact(name="most excess disagreement", lines=slices)
    if found.get("moved"):
        yield Fact(name="what moved", lines=(printable(found["moved"]),))
    yield from _order(found)
    if found["kind"] != TEST and not (found.get("links") or {}).get("runbook"):
        yield Fact(name="runbook", lines=(printable(f"docs/runbook.md#{found['kind']}"),))


def _order(found: Mapping[str, Any]) -> Iterator[Fact]:
    order = found.get("order") or {}
    if order.get("job_id") is not None:
        alpha = f"alpha {order['alpha_from']} -> {order['alpha_to']}"
        yield Fact(name="ordered", lines=(f"re-distillation, job {order['job_id']}, {alpha}",))
    elif order.get("reason") not in {None, "not_wanted"} and found["event"] == "firing":
        yield Fact(name="ordered", lines=(f"nothing: {order['reason'].replace('_', ' ')}",))
    if order.get("evidence"):
        yield Fact(name="by true labels", lines=(printable(order["evidence"]),))


def _number(rule: Mapping[str, Any]) -> str:
    bound = f"breach {rule['side']}" if rule.get("side") else "against"
    state = "fired" if rule["fired"] else "breached" if rule["breached"] else "within"
    count = f", {rule['streak']} in a row" if rule["streak"] > 1 else ""
    return printable(
        f"{rule['metric']} {rule['value']:.4g}{_interval(rule)}, {bound} {rule['threshold']:g}: "
        f"{state}{count} ({rule['rule']})"
    )


def _gate(gate: Mapping[str, Any]) -> str:
    value = "not measured" if gate["value"] is None else f"{gate['value']:.4g}{_interval(gate)}"
    before = gate.get("incumbent_value") if gate["result"] != "pass" else None
    incumbent = "" if before is None else f" (incumbent {before:.4g})"
    against = f"{value} against {gate['threshold']:g}{incumbent}"
    return printable(f"{gate['gate']} ({gate['dataset']}) {against}: {gate['result']}")


def _label(label: Mapping[str, Any]) -> str:
    agreement = f"{label['agreement']:.4g}{_interval(label)}"
    return printable(f"{label['label']}: agreement {agreement} on {label['share']:.1%} of the requests")


def _interval(number: Mapping[str, Any]) -> str:
    low, high = number.get("low"), number.get("high")
    return "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"


def _minute(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
