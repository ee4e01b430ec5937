"""The probes: what a load balancer and an orchestrator are told."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from monitor.daemon.probes import Check, PortError, Server, address, app, is_loopback, listening

GOOD = Check(name="database", ok=True, code="reachable", detail="migrated")
BAD = Check(name="slots", ok=False, code="overdue", detail="the last slot is 3 h overdue")


@contextmanager
def serving(checks: list[Check], *, in_detail: bool = True) -> Iterator[Server]:
    server = Server(app(lambda: tuple(checks), in_detail=in_detail), listening(host="127.0.0.1", port=0))
    server.start()
    try:
        yield server
    finally:
        server.stop()


def get(server: Server, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{server.port}{path}")


def test_a_process_that_answers_is_alive_whatever_its_checks_say() -> None:
    with serving([BAD]) as server:
        answer = get(server, "/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")


@pytest.mark.parametrize(("checks", "status"), [([], 200), ([GOOD], 200), ([GOOD, BAD], 503), ([BAD], 503)])
def test_it_is_ready_when_every_check_is_good_and_says_which_is_not(checks: list[Check], status: int) -> None:
    with serving(checks) as server:
        answer = get(server, "/readyz")
    assert answer.status_code == status
    assert answer.json() == {
        "ready": status == 200,
        "checks": {
            check.name: {"ok": check.ok, "code": check.code, "detail": check.detail} for check in checks
        },
    }


def test_other_machines_see_a_code_and_the_log_has_the_detail() -> None:
    """The detail may name a host, a user, a folder or what a driver said."""
    checks = [GOOD, BAD]
    with capture_logs() as logged, serving(checks, in_detail=False) as server:
        answers = [get(server, "/readyz") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["checks"]["slots"] == {"ok": False, "code": "overdue"}
    assert "detail" not in answers[0].text
    (line,) = (each for each in logged if each["event"] == "not ready")
    assert BAD.detail in str(line)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104 - not bound
        ("::", False),
        ("10.0.0.7", False),
        ("", False),
        ("monitor.example", False),
    ],
)
def test_only_a_loopback_address_is_of_this_machine(host: str, expected: bool) -> None:  # noqa: FBT001
    assert is_loopback(host) is expected


def test_the_checks_are_asked_each_time() -> None:
    checks = [GOOD]
    with serving(checks) as server:
        assert get(server, "/readyz").status_code == 200
        checks.append(BAD)
        assert get(server, "/readyz").status_code == 503
        checks.pop()
        assert get(server, "/readyz").status_code == 200


def test_there_is_nothing_else() -> None:
    with serving([GOOD]) as server:
        assert get(server, "/").status_code == 404
        assert httpx.post(f"http://127.0.0.1:{server.port}/readyz").status_code == 405


def test_a_check_that_breaks_is_not_ready_and_breaks_nothing_else() -> None:
    broken = [True]

    def checks() -> tuple[Check, ...]:
        if broken[0]:
            raise RuntimeError
        return (GOOD,)

    server = Server(app(checks, in_detail=True), listening(host="127.0.0.1", port=0))
    server.start()
    try:
        assert get(server, "/readyz").status_code == 500
        assert get(server, "/healthz").status_code == 200
        broken[0] = False
        assert get(server, "/readyz").status_code == 200
    finally:
        server.stop()


def test_a_port_that_is_taken_is_named_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortError) as error:
            listening(host="127.0.0.1", port=port)
    assert str(error.value) == (
        f"[web] cannot listen on 127.0.0.1:{port} (Address already in use): choose another host or port; "
        "port 0 is any free one."
    )


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(PortError, match=r"cannot listen on no\.such\.host\.invalid:0 \(\w"):
        listening(host="no.such.host.invalid", port=0)


def test_a_stopped_server_is_gone_within_seconds() -> None:
    """Even while a client keeps its connection open."""
    with serving([GOOD]) as server, httpx.Client() as client:
        url = f"http://127.0.0.1:{server.port}/healthz"
        assert client.get(url).status_code == 200
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)


def test_an_address_of_ipv6_is_tried_as_one() -> None:
    """On a machine without IPv6 it is not available; it is never taken for the name of a host."""
    said = ""
    try:
        listener = listening(host="::1", port=0)
    except PortError as error:
        said = str(error)
    else:
        server = Server(app(lambda: (GOOD,), in_detail=True), listener)
        server.start()
        said = httpx.get(f"http://{address('::1', server.port)}/healthz").text
        server.stop()
    assert said == "ok\n" or said.startswith("[web] cannot listen on [::1]:0 (Cannot assign")
