"""Checks of the database, the cluster, the folders, the channels and the port."""

import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Final

import boto3
import httpx
from botocore.config import Config

from db import monitors, registries, versions
from db.connection.migrate import check
from db.connection.session import reading, without_password
from db.states import IncidentKind, Role, Severity
from distill.registry import known_id
from monitor.archive.places import ArchiveReadError, Places
from monitor.cluster import connected, cores_of
from monitor.daemon.probes import PortError, address, listening
from monitor.settings import FilesTraffic
from monitor.storage.student_places import ModelLostError
from redistill.archives import refuse_other_archives
from redistill.artifacts import artifacts
from redistill.assembly import student_places
from redistill.checks.result import CheckResult, ok, problem, warning
from redistill.configuration.settings import Settings
from redistill.database import existing, translated_errors
from redistill.display import show
from triggers.alert_settings import Alert, SnsAlert
from triggers.aws import FAULTS, explained, new_client

_SCARCE: Final = 2**30  #: free bytes below which a disk is too full for samples and candidates
_TIMEOUT_SECONDS: Final = 2.0


def database(settings: Settings) -> Iterator[CheckResult]:
    """Check that the database is reachable, has a usable schema, and knows the monitor by no newer name."""
    with existing(settings) as engine, translated_errors(engine):
        level = check(engine)
        with reading(engine) as connection:
            monitors.refuse_renamed(connection, settings.monitor.name)
        yield ok("database", f"{without_password(engine.url)}, {level}")


def monitor_name(settings: Settings) -> Iterator[CheckResult]:
    """Yield a warning if the database has other monitors only: this one may be one of them, renamed."""
    name = settings.monitor.name
    with existing(settings) as engine, translated_errors(engine), reading(engine) as connection:
        others = monitors.summaries(connection)
    if others and name not in {each.monitor for each in others}:
        known = ", ".join(f"{each.monitor} ({show.counted(each.n_cycles, 'cycle')})" for each in others)
        fix = (
            "for an earlier monitor under another name, run `redistill monitors rename OLD "
            f"{name}` before its first cycle; a new monitor needs nothing"
        )
        yield warning("monitor", f"{name!r} is not in the database, which has {known}", fix)


def cluster(settings: Settings) -> Iterator[CheckResult]:
    """Check that the Ray cluster, if configured, is reachable and has cores for work."""
    if settings.scoring.engine == "ray":
        with connected(settings.scoring.address) as ray:
            cores, nodes = cores_of(ray), sum(node["Alive"] for node in ray.nodes())
        yield ok("cluster", f"{show.counted(nodes, 'node')} with {show.counted(cores, 'core')} for work")


def folders(settings: Settings) -> Iterator[CheckResult]:
    """Check that registry, archive and cache can be used, and that disks have free space."""
    for name, location in (("registry", settings.redistill.registry), ("archive", settings.monitor.archive)):
        yield _folder(name, location) if isinstance(location, Path) else _bucket(name, location)
        if isinstance(location, Path) and _is_read_as_log(settings, location):
            found = f"{location} is in the folder of the log, so that its files are read as requests"
            yield problem(
                name, found, f"move one of them out of the other, and correct '{name}' or [traffic] uri"
            )
    section = settings.redistill
    labelled = (section.train, section.validation, section.test)
    copied = (settings.teacher.uri, settings.student.uri, section.student_init, section.registry, *labelled)
    if any(isinstance(each, str) for each in copied):
        yield _folder("cache", settings.s3.cache)


def _is_read_as_log(settings: Settings, folder: Path) -> bool:
    """Return whether a folder is read with the log; those that begin with a point or `_` are passed over."""
    traffic = settings.traffic
    if not isinstance(traffic, FilesTraffic) or traffic.uri.is_file():
        return False
    log, inner = traffic.uri.resolve(), folder.resolve()
    between = inner.relative_to(log).parts if inner.is_relative_to(log) else (".",)
    return not any(part.startswith((".", "_")) for part in between)


def registry_id(settings: Settings) -> Iterator[CheckResult]:
    """Check that the registry is the one in which the models of the monitor are, by its id."""
    location, link = settings.redistill.registry, settings.redistill.link
    if isinstance(location, Path) and location.is_file():
        return  # `folders` reports it
    found = known_id(artifacts(settings).store(location))
    with existing(settings) as engine, translated_errors(engine), reading(engine) as connection:
        name = settings.monitor.name
        registries.refuse_other(connection, name, registry_id=found, link=link, location=location)
    if found is not None:
        yield ok("registry id", f"{found}, with the link {link}")


def archive_owner(settings: Settings) -> Iterator[CheckResult]:
    """Check that the archives in the configured folder are not those of another database."""
    with existing(settings) as engine, translated_errors(engine):
        if refuse_other_archives(settings, engine):
            yield ok("archive owner", f"{settings.monitor.archive} has the archives of this database")


def link(settings: Settings) -> Iterator[CheckResult]:
    """Check that the files of the student in service are there, and that the registry's link, if any, points
    to them.
    """
    store, places = artifacts(settings).store(settings.redistill.registry), student_places(settings)
    with existing(settings) as engine, translated_errors(engine), reading(engine) as connection:
        student = versions.current(connection, settings.monitor.name, Role.STUDENT)
        pointed = store.pointed(settings.redistill.link)
        linked = places.linked_version(settings.redistill.link)
        is_ahead = linked is not None and not versions.is_known(connection, linked)
    if student is None:
        return
    try:
        location = places.find(student)
    except ModelLostError as error:
        yield problem("in service", str(error))
        return
    yield ok("in service", f"{show.version(student.version)}, in {location}")
    if pointed is None:
        return
    version, place = show.version(student.version), store.location(settings.redistill.link)
    if is_ahead:
        found = f"{place} points to {show.version(linked)}, a version that the database does not know"
        fix = f"see docs/restoring.md; to serve {version} instead, run `redistill models promote {version}`"
        yield problem("current", found, fix)
    elif _same(pointed, str(location)):
        yield ok("current", f"{place} points to the student in service, {version}")
    else:
        fix = f"start `redistill worker`, or run `redistill models promote {version}`"
        yield problem("current", f"{place} does not point to the student in service, {version}", fix)


def _same(one: str, other: str) -> bool:
    return one == other or Path(one).resolve() == Path(other).resolve()


def _folder(check_name: str, folder: Path) -> CheckResult:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir():
        return problem(check_name, f"{nearest} is a file", "name a folder in the configuration")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return problem(check_name, f"{nearest} is not writable", "give this user write permission")
    free = shutil.disk_usage(nearest).free
    if free < _SCARCE:
        return problem(check_name, f"only {free / 2**20:,.0f} MiB are free at {nearest}", "free space there")
    created = "" if nearest == folder else ", which will be created"
    return ok(check_name, f"{folder}{created}; {free / 2**30:,.0f} GiB are free")


def _bucket(check_name: str, uri: str) -> CheckResult:
    try:
        n = len(Places().of(uri).names(uri))
    except ArchiveReadError as error:
        return problem(check_name, str(error), "name a bucket that this user may list, read and write")
    return ok(check_name, f"{uri} can be listed" + (f"; it has {show.counted(n, 'object')}" if n else ""))


def channels(settings: Settings) -> Iterator[CheckResult]:
    """Check that severe incidents reach a channel. Only the configuration is read; nothing is sent."""
    for alert in settings.alerts:
        yield _channel(alert)
    severe = (Severity.ERROR, Severity.CRITICAL)
    unsent = [severity for severity in severe if not _is_sent(settings.alerts, IncidentKind, [severity])]
    if unsent:
        fix = "add [[alerts]], or add the severities to a channel"
        yield problem("channels", f"no channel receives incidents of severity {' or '.join(unsent)}", fix)
        return
    silent = [kind for kind in IncidentKind if not _is_sent(settings.alerts, [kind], severe)]
    silence = f"; no channel receives {', '.join(silent)}, as configured" if silent else ""
    yield ok("channels", f"not tested: `redistill alerts test` sends to each{silence}")


def _channel(alert: Alert) -> CheckResult:
    kinds = [kind for kind in IncidentKind if _is_sent([alert], [kind], Severity)]
    if not kinds:
        fix = "correct its severities, kinds and except_kinds"
        return problem(f"channel {alert.name}", "it receives no incident", fix)
    about = "" if len(kinds) == len(IncidentKind) else f"; only {', '.join(kinds)}"
    found = f"{alert.kind} to {alert.place}, for {', '.join(alert.severities)}{about}"
    if isinstance(alert, SnsAlert):
        try:
            new_client("sns", Config(), session=boto3.Session(), region=alert.region)
        except FAULTS as error:
            return problem(f"channel {alert.name}", f"{found}: {explained(error)}")
    return ok(f"channel {alert.name}", found)


def _is_sent(alerts: Iterable[Alert], kinds: Iterable[IncidentKind], severities: Iterable[Severity]) -> bool:
    cases = product(alerts, kinds, severities)
    return any(alert.hears(kind, severity) for alert, kind, severity in cases)


def web(settings: Settings) -> Iterator[CheckResult]:
    """Check that the port is free, or that a monitor answers on it."""
    host, port = settings.web.host, settings.web.port
    place = address(host, port)
    try:
        listening(host=host, port=port).close()
    except PortError as error:
        if _answers(place):
            yield ok("web", f"{place}: a monitor answers on it")
        else:
            yield problem("web", str(error))
    else:
        yield ok("web", f"{place} is free")


def _answers(place: str) -> bool:
    try:
        answer = httpx.get(f"http://{place}/healthz", timeout=_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return answer.text == "ok\n"
