"""compose.yaml by the rules of the Compose Specification, and beside the stack of ECS."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from compose_spec import PyOptions

from redistill.configuration.settings import load
from tests.support.deployment.stack import ROOT, TOML, evaluated, template

TEXT: Final = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
#: Keys of the product that the stack does not set, because ECS needs them less or in another way.
ONLY_HERE: Final = {"REDISTILL_CONFIG", "REDISTILL__DATABASE__PASSWORD_FILE"}
TASKS: Final = {"migrate": "MigrationTask", "monitor": "DaemonTask", "worker": "WorkerTask"}


def interpolated(text: str) -> str:
    """The text with each variable replaced by its default, or by a folder where it is required."""
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda m: m[3] if m[2] == "-" else f"/srv/{m[1]}", text)


def services(text: str = TEXT) -> dict[str, Any]:
    parsed = PyOptions(apply_merge=True).from_yaml(interpolated(text))
    parsed.validate()
    found: dict[str, Any] = parsed.to_dict()["services"]
    return found


def container_of(task: str) -> Mapping[str, Any]:
    (container,) = template()["Resources"][task]["Properties"]["ContainerDefinitions"]
    standing = {"IsStanding": True, "IsPerJob": False, "IsGpu": False, "HasWorkerImage": False}
    alerts = dict.fromkeys(("HasPagerDuty", "HasSlack", "HasWebhook"), False)
    found: Mapping[str, Any] = evaluated(container, {**standing, **alerts})
    return found


def test_the_services_are_the_database_and_the_tasks_of_the_stack() -> None:
    assert set(services()) == {"database", *TASKS}


@pytest.mark.parametrize(
    ("there", "wrong"),
    [
        ("read_only: true", "readonly: true"),
        ("stop_grace_period: 30s", "stop_grace_period: often"),
        ("source: configuration", "source: another"),
        ("condition: service_healthy", "condition: well"),
    ],
)
def test_what_the_specification_does_not_know_is_refused(there: str, wrong: str) -> None:
    assert there in TEXT
    with pytest.raises(ValueError, match=r"\w"):
        services(TEXT.replace(there, wrong))


@pytest.mark.parametrize("service", TASKS)
def test_a_service_runs_as_its_task_in_ecs_does(service: str) -> None:
    found, container = services()[service], container_of(TASKS[service])
    assert found["command"] == container["Command"]
    assert found["user"] == container["User"]
    assert found["read_only"] is container["ReadonlyRootFilesystem"] is True
    assert found["init"] is container["LinuxParameters"]["InitProcessEnabled"] is True
    assert found["cap_drop"] == container["LinuxParameters"]["Capabilities"]["Drop"]
    mounts = {volume.split(":")[1] for volume in (*found["volumes"], f":{found['tmpfs'][0]}")}
    assert {each["ContainerPath"] for each in container["MountPoints"]} <= mounts
    if service != "migrate":
        seconds = f"{container['StopTimeout']}s"
        assert found["stop_grace_period"] in {seconds, "1m" if seconds == "60s" else seconds}


def test_the_daemon_is_probed_as_in_ecs() -> None:
    found, container = services()["monitor"]["healthcheck"], container_of("DaemonTask")["HealthCheck"]
    assert found["test"] == container["Command"]
    assert found["retries"] == container["Retries"]
    assert (found["interval"], found["timeout"], found["start_period"]) == ("30s", "5s", "2m")
    assert (container["Interval"], container["Timeout"], container["StartPeriod"]) == (30, 5, 120)


@pytest.mark.parametrize("service", TASKS)
def test_a_service_sets_the_keys_that_its_task_sets(service: str) -> None:
    stack = {each["Name"] for each in container_of(TASKS[service])["Environment"]}
    assert set(services()[service]["environment"]) - ONLY_HERE <= stack


def test_the_product_accepts_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {name: str(value) for name, value in services()["monitor"]["environment"].items()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "redistill.toml"
    file.write_text(TOML.replace("[traffic]", '[traffic]\nuri = "/traffic"'), encoding="utf-8")
    settings = load(file)
    assert settings.database.password_file == Path("/run/secrets/database_password")
    for folder in (settings.monitor.archive, settings.redistill.registry):
        assert Path(folder).is_relative_to("/data")  # which daemon and worker share


def test_daemon_and_worker_start_after_the_migration_and_share_their_data() -> None:
    found = services()
    for service in ("monitor", "worker"):
        assert found[service]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert "data:/data" in found[service]["volumes"]
    assert found["migrate"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert found["migrate"]["restart"] == "no"


def test_no_password_is_in_the_file_and_the_database_is_not_published() -> None:
    database = services()["database"]
    assert "ports" not in database
    assert database["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"  # noqa: S105
    assert not re.search(r"PASSWORD: |//\w+:\w+@", TEXT)
