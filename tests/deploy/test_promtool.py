"""Prometheus' own judgement of metrics, of alert rules with their tests, and of the queries of the board."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from redistill.configuration.settings import load
from redistill.web.collector import Watched
from tests.support.deployment.queries import RULE_TESTS, RULES, board_queries, rules
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import Cycles, make_policy, taken
from tests.support.records.factories import START, make_input_drift, make_measurement, make_result
from tests.support.records.long_history import LABELS, MONITOR, write_history
from tests.support.servers.metrics import serving
from tests.support.world.waiting_monitor import written
from triggers.alert_settings import LogAlert

pytestmark = pytest.mark.promtool


def found(name: str) -> str:
    path = shutil.which(name)
    assert path, f"{name} is missing: apt-get install --no-install-recommends prometheus"
    return path


def promtool(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [found("promtool"), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_the_rules_and_the_scrape_configuration_are_valid() -> None:
    for checked in (("rules", str(RULES)), ("config", str(RULES.with_name("prometheus.yaml")))):
        result = promtool("check", *checked)
        assert result.returncode == 0, result.stderr


def test_the_rules_pass_their_unit_tests() -> None:
    result = promtool("test", "rules", str(RULE_TESTS))
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_the_unit_tests_notice_a_rule_that_never_fires(rule: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(RULE_TESTS, tmp_path)
    text = RULES.read_text(encoding="utf-8")
    begin = text.index(f"- alert: {rule['alert']}\n")
    expression = text.index("expr:", begin)
    end = min(each for key in ("        for:", "        labels:") if (each := text.find(key, begin)) > 0)
    broken = f"{text[:expression]}expr: vector(0) > 1\n{text[end:]}"
    (tmp_path / RULES.name).write_text(broken, encoding="utf-8")
    assert promtool("test", "rules", str(tmp_path / RULE_TESTS.name)).returncode != 0


@pytest.fixture
def url(sqlite_engine: Engine, tmp_path: Path) -> Iterator[str]:
    """/metrics of a monitor that has everything: a history, an open incident, a message that waits."""
    write_history(sqlite_engine, 300, newest=START - timedelta(days=1))
    policy = make_policy(alerts=(LogAlert(),))
    drifted = replace(make_measurement(kl=0.3, labels=LABELS), input_drift=make_input_drift())
    run = Cycles(engine=sqlite_engine, lease=taken(sqlite_engine), policy=policy)
    run.conclude(0, make_result(measurement=drifted))
    watched = Watched(load(written(tmp_path / "redistill.toml", name=MONITOR)), sqlite_engine)
    with serving({MONITOR: watched}) as served:
        yield served


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text;version=1.0.0"])
def test_the_metrics_are_valid_and_named_as_prometheus_advises(url: str, accept: str) -> None:
    text = httpx.get(f"{url}/metrics", headers={"accept": accept}).text
    if not accept:  # promtool reads the text format only
        result = promtool("check", "metrics", stdin=text)
        assert (result.returncode, result.stdout + result.stderr) == (0, "")
    assert text.count("# HELP redistill_") == text.count("# TYPE redistill_") > 30


#: A panel that shows nothing while nothing is rejected.
EMPTY = {"Rejected records per hour"}


def test_a_prometheus_that_scrapes_them_answers_every_query_of_the_board(url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "prometheus.yaml"
    config.write_text(
        f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{RULES}"]
scrape_configs:
  - job_name: redistill
    static_configs: [{{targets: ["{url.removeprefix("http://")}"]}}]
""",
        encoding="utf-8",
    )
    command = [
        found("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as server:
        try:

            def asked(query: str) -> list[object]:
                answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query}, timeout=30)
                result: list[object] = answer.raise_for_status().json()["data"]["result"]
                return result

            def is_scraped() -> bool:
                try:
                    return len(asked("count_over_time(redistill_database_up[1m]) > 2")) == 1
                except httpx.HTTPError:
                    return False

            wait_until(is_scraped, "three scrapes")
            assert {title for title, query in board_queries() if not asked(query)} == EMPTY
            firing = 'ALERTS{alertstate="firing", alertname="RedistillDrift"}'
            wait_until(lambda: len(asked(firing)) == 1, "an alert on the open drift")
        finally:
            server.terminate()
