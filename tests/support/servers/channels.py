"""Every channel that speaks HTTP, as it is configured for a receiver on this machine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from redistill.channels import channels
from tests.support.servers.endpoint import Reply
from triggers.alert_settings import Alert
from triggers.channels.port import Channel

ROUTING_KEY: Final = "R0ut1ngK3yR0ut1ngK3yR0ut1ngK3y00"
TOKEN: Final = "xoxb-0000-s3cr3t-t0k3n"  # noqa: S105 - a test's
HOOK: Final = "/services/T00000000/B00000000/s3cr3ths3cr3ths3cr3th000"
SIGNING: Final = "s3cret-ü"

_SCHEMAS = Path(__file__).parents[2] / "schemas"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way of sending, what accepts it, and what must not be shown of it."""

    table: Callable[[str], dict[str, Any]]  #: its [[alerts]] table, for a receiver's URL
    accepted: Reply
    path: str  #: to which it POSTs
    secrets: tuple[str, ...]


KINDS: Final[Mapping[str, Kind]] = {
    "webhook": Kind(
        table=lambda url: {"kind": "webhook", "url": f"{url}{HOOK}?key=0123456789abcdef", "secret": SIGNING},
        accepted=Reply(status=204, body=""),
        path=f"{HOOK}?key=0123456789abcdef",
        secrets=(HOOK, HOOK.rpartition("/")[2], "0123456789abcdef", SIGNING),
    ),
    "pagerduty": Kind(
        table=lambda url: {"kind": "pagerduty", "routing_key": ROUTING_KEY, "endpoint": url},
        accepted=Reply(status=202, body='{"status":"success","message":"Event processed","dedup_key":"k"}'),
        path="/v2/enqueue",
        secrets=(ROUTING_KEY,),
    ),
    "slack webhook": Kind(
        table=lambda url: {"kind": "slack", "url": f"{url}{HOOK}"},
        accepted=Reply(status=200, body="ok"),
        path=HOOK,
        secrets=(HOOK, HOOK.rpartition("/")[2]),
    ),
    "slack bot": Kind(
        table=lambda url: {"kind": "slack", "token": TOKEN, "channel": "#on-call", "endpoint": f"{url}/api/"},
        accepted=Reply(status=200, body='{"ok":true,"channel":"C1","ts":"1503435956.000247"}'),
        path="/api/chat.postMessage",
        secrets=(TOKEN,),
    ),
}


def make_alert(table: dict[str, Any]) -> Alert:
    adapter: TypeAdapter[Alert] = TypeAdapter(Alert)
    return adapter.validate_python(table)


def make_channel(kind: str, url: str, **changes: Any) -> Channel:  # noqa: ANN401 - any key of the table
    table = {"name": "a", "timeout_seconds": 5.0, **KINDS[kind].table(url), **changes}
    return channels([make_alert(table)])["a"]


def schema(name: str) -> Draft202012Validator:
    """The recorded schema of a service's requests."""
    found = json.loads((_SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)
