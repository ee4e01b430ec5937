"""The queries of the Grafana board and of the alert rules, and the series that they name."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml

from tests.support.deployment.stack import ROOT

RULES: Final = ROOT / "deploy" / "prometheus" / "alerts.yaml"
RULE_TESTS: Final = ROOT / "deploy" / "prometheus" / "alerts.test.yaml"
BOARD: Final = ROOT / "deploy" / "grafana" / "redistill.json"
_SELECTOR: Final = re.compile(r"\b(redistill_\w+)(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
#: What Grafana puts in the place of its variables.
_VARIABLES: Final = {"$__rate_interval": "5m", "$monitor": ".*"}


class Selector(NamedTuple):
    """A series that a query names, with the values that it asks of labels."""

    name: str
    matchers: dict[str, str]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def board_queries() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each of its queries, as Grafana sends them."""
    for panel in json.loads(BOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for variable, value in _VARIABLES.items():
                query = query.replace(variable, value)
            yield panel["title"], query


def selectors(query: str) -> list[Selector]:
    return [Selector(name, dict(_MATCHER.findall(inside or ""))) for name, inside in _SELECTOR.findall(query)]


def grouped(query: str) -> set[str]:
    """The labels that the query groups by."""
    lists = re.findall(r"\bby \(([^)]*)\)", query)
    return {label.strip() for each in lists for label in each.split(",")}
