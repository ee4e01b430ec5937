"""Whether the database, the folders, the disk, the channels and the port are there to be used."""

import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Final

import boto3
import httpx

from db import versions
from db.connection.migrate import check
from db.connection.session import reading, without_password
from db.states import IncidentKind, Role, Severity
from monitor.archive.places import ArchiveReadError, Places
from monitor.cluster import connected, cores_of
from redistill.checks.result import CheckResult, bad, good
from redistill.configuration.settings import Settings
from redistill.database import existing, telling
from redistill.display import show
from triggers.alert_settings import Alert, SnsAlert

_SCARCE: Final = 2**30  #: free bytes below which a disk is too full for samples and candidates
_PATIENCE_SECONDS: Final = 2.0


def database(settings: Settings) -> Iterator[CheckResult]:
    """Reachable, and of a schema that this version works on."""
    with existing(settings) as engine, telling(engine):
        yield good("database", f"{without_password(engine.url)}, {check(engine)}")


def cluster(settings: Settings) -> Iterator[CheckResult]:
    """Where work is to be done by one: it can be connected to, and has cores for work."""
    if settings.scoring.engine == "ray":
        with connected(settings.scoring.address) as ray:
            cores, nodes = cores_of(ray), sum(node["Alive"] for node in ray.nodes())
        yield good("cluster", f"{nodes} nodes with {cores} cores for work")


def folders(settings: Settings) -> Iterator[CheckResult]:
    """Writable, and on a disk with room."""
    yield _folder("registry", settings.redistill.registry)
    archive = settings.monitor.archive
    yield _folder("archive", archive) if isinstance(archive, Path) else _bucket("archive", archive)


def link(settings: Settings) -> Iterator[CheckResult]:
    """The registry's `current`, once there is one, leads to the student that serves."""
    current = settings.redistill.registry / "current"
    with existing(settings) as engine, telling(engine), reading(engine) as connection:
        student = versions.current(connection, settings.monitor.name, Role.STUDENT)
    if student is None or not os.path.lexists(current):
        return
    version = show.version(student.version)
    if current.resolve() == Path(student.uri).resolve():
        yield good("current", f"{current} leads to the student that serves, {version}")
    else:
        mend = f"start `redistill worker`, or run `redistill models promote {version}`"
        yield bad("current", f"{current} does not lead to the student that serves, {version}", mend)


def _folder(check_name: str, folder: Path) -> CheckResult:
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    if not standing.is_dir():
        return bad(check_name, f"{standing} is a file", "name a folder in the configuration")
    if not os.access(standing, os.W_OK | os.X_OK):
        return bad(check_name, f"{standing} cannot be written", "give this user the right to")
    free = shutil.disk_usage(standing).free
    if free < _SCARCE:
        return bad(check_name, f"only {free / 2**20:,.0f} MiB are free at {standing}", "make room there")
    made = "" if standing == folder else ", which will be made"
    return good(check_name, f"{folder}{made}; {free / 2**30:,.0f} GiB are free")


def _bucket(check_name: str, uri: str) -> CheckResult:
    try:
        n = len(Places().of(uri).names(uri))
    except ArchiveReadError as error:
        return bad(check_name, str(error), "name a bucket that this user may list, read and write")
    return good(check_name, f"{uri} can be listed" + (f"; {n} objects lie there" if n else ""))


def channels(settings: Settings) -> Iterator[CheckResult]:
    """By the configuration alone: nothing is sent."""
    for alert in settings.alerts:
        yield _channel(alert)
    loud = (Severity.ERROR, Severity.CRITICAL)
    unheard = [severity for severity in loud if not _heard(settings.alerts, IncidentKind, [severity])]
    if unheard:
        mend = "add [[alerts]], or the severities to one"
        yield bad("channels", f"nobody is told of incidents that are {' or '.join(unheard)}", mend)
        return
    quiet = [kind for kind in IncidentKind if not _heard(settings.alerts, [kind], loud)]
    silence = f"; nobody is told of {', '.join(quiet)}, as configured" if quiet else ""
    yield good("channels", f"not tried: `redistill alerts test` sends to each{silence}")


def _channel(alert: Alert) -> CheckResult:
    kinds = [kind for kind in IncidentKind if _heard([alert], [kind], Severity)]
    if not kinds:
        mend = "mend its severities, kinds and except_kinds"
        return bad(f"channel {alert.name}", "it hears of nothing", mend)
    about = "" if len(kinds) == len(IncidentKind) else f"; only {', '.join(kinds)}"
    found = f"{alert.kind} to {alert.place}, for {', '.join(alert.severities)}{about}"
    if isinstance(alert, SnsAlert) and boto3.Session().get_credentials() is None:
        mend = "give this process a role, or keys in the environment"
        return bad(f"channel {alert.name}", f"{found}; there are no credentials for AWS", mend)
    return good(f"channel {alert.name}", found)


def _heard(alerts: Iterable[Alert], kinds: Iterable[IncidentKind], severities: Iterable[Severity]) -> bool:
    cases = product(alerts, kinds, severities)
    return any(alert.hears(kind, severity) for alert, kind, severity in cases)


def web(settings: Settings) -> Iterator[CheckResult]:
    """The port is free, or a monitor answers on it."""
    host, port = settings.web.host, settings.web.port
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        if _answers(host, port):
            yield good("web", f"{host}:{port}: a monitor answers on it")
        else:
            mend = "choose another in [web], or 0 for any free one"
            yield bad("web", f"{host}:{port} cannot be had ({error.strerror})", mend)
    else:
        yield good("web", f"{host}:{port} is free")


def _answers(host: str, port: int) -> bool:
    try:
        answer = httpx.get(f"http://{host}:{port}/healthz", timeout=_PATIENCE_SECONDS)
    except httpx.HTTPError:
        return False
    return answer.text == "ok\n"
