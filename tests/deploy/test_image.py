"""The Dockerfile, what it is given, and the probe that it installs. `make image-test` builds the image."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

import pytest

from tests.support.deployment.stack import ROOT, template

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
PROBE = ROOT / "deploy" / "probe.py"
HADOLINT = Path(sys.executable).with_name("hadolint")


def test_hadolint_finds_nothing() -> None:
    found = subprocess.run(
        [HADOLINT, "--no-color", ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (found.stdout + found.stderr, found.returncode) == ("", 0)


def test_hadolint_refuses_an_image_that_runs_as_root(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE.replace("USER 10001:10001", "USER root"), encoding="utf-8")
    found = subprocess.run([HADOLINT, "--no-color", file], capture_output=True, text=True, check=False)
    assert "DL3002" in found.stdout


def test_the_context_has_what_is_copied_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / path).exists() for path in kept)
    copied = set(re.findall(r"/src/(deploy/[\w.]+)", DOCKERFILE)) | {"deploy/locks"}
    assert {path for path in kept if path.startswith("deploy/")} == copied
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"migrations"}
    assert kept - copied == packages | {"pyproject.toml", "README.md"}


def test_the_stack_runs_the_image_as_the_image_says() -> None:
    (container,) = template()["Resources"]["DaemonTask"]["Properties"]["ContainerDefinitions"]
    assert f"USER {container['User']}" in DOCKERFILE
    assert container["HealthCheck"]["Command"][:3] == ["CMD", "python3", "-S"]
    assert Path(container["HealthCheck"]["Command"][3]).parent == Path("/opt/redistill")
    assert "cp /src/deploy/probe.py" in DOCKERFILE
    volumes = ", ".join(f'"{each["ContainerPath"]}"' for each in container["MountPoints"])
    assert f"VOLUME [{volumes}]" in DOCKERFILE


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def probed(port: int) -> tuple[int, str]:
    environment = {"REDISTILL__WEB__PORT": str(port)}
    found = subprocess.run(
        [sys.executable, "-S", PROBE], env=environment, capture_output=True, text=True, check=False
    )
    assert found.stderr == ""
    return found.returncode, found.stdout.strip()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_probe_reports_what_the_daemon_answers(status: int, code: int) -> None:
    with answering(status) as port:
        assert probed(port)[0] == code


def test_the_probe_fails_where_nothing_listens() -> None:
    with answering(200) as port:
        pass
    code, found = probed(port)
    assert code == 1
    assert found.startswith(f"127.0.0.1:{port} does not answer")


def test_the_probe_measures_the_daemon_and_not_the_start_of_python() -> None:
    with answering(200) as port:
        began = perf_counter()
        probed(port)
        assert perf_counter() - began < 2
