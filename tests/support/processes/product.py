"""Starts the product as processes: as its users do, and, where a test needs many, forked from one.

A start takes seconds, most of which torch takes to load. `fork` therefore starts a process from a server
that has loaded the code and done nothing else: what runs is the same command line. The server is
`multiprocessing`'s own.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import distill.calibration.calibrator
import distill.evaluate
import distill.worker
import monitor.daemon.slot_runner
import redistill.assembly
import redistill.commands.run.cycle  # noqa: F401 - loaded before the fork
import redistill.commands.run.monitor  # noqa: F401 - loaded before the fork
import redistill.commands.run.worker  # noqa: F401 - loaded before the fork
import triggers.transports.sql
from redistill.cli import main
from tests.support.world.installation import Site

ROOT: Final = Path(__file__).resolve().parents[3]
_CONTEXT: Final = multiprocessing.get_context("forkserver")
_NUMBERS: Final = count(1)
_LOOK_SECONDS: Final = 0.25
#: The product takes 300, which costs more than the rest of a job on a model of a test.
FEW_LATENCY_RUNS: Final = 10


def preload() -> None:
    """Let the server load the code before the first `fork`; the tests' folder must be on PYTHONPATH."""
    _CONTEXT.set_forkserver_preload(["tests.support.processes.fork_server", __name__])


@dataclass(frozen=True, kw_only=True)
class Process:
    """One command that was started."""

    log: Path  #: its standard error; its standard output lies beside it
    pid: int
    _exit_code: Callable[[], int | None]
    _join: Callable[[float], object]

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._exit_code()

    @property
    def said(self) -> str:
        return self.log.with_suffix(".out").read_text(encoding="utf-8")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> int:
        """Its exit code, once it has ended."""
        self._join(timeout)
        code = self.exit_code
        assert code is not None, f"it still runs after {timeout:.0f} s:\n{self.log.read_text()}"
        return code

    def kill(self) -> None:
        if self.exit_code is None:
            self.signal(signal.SIGKILL)
            self.wait()


#: Starts a command: `spawn` or `fork`.
Start = Callable[..., Process]


def spawn(site: Site, *arguments: str, tree: Path = ROOT, starter: Sequence[str] = ()) -> Process:
    """`python -m redistill`, as its users start it, from that source tree, or by the command `starter`."""
    log = _log(site, arguments)
    command = [*starter, sys.executable, "-m", "redistill", "--config", str(site.config), *arguments]
    env = {**os.environ, "PYTHONPATH": str(tree)}
    with log.with_suffix(".out").open("wb") as out, log.open("wb") as err:
        popen = subprocess.Popen(command, cwd=site.folder, env=env, stdout=out, stderr=err)
    return Process(log=log, pid=popen.pid, _exit_code=popen.poll, _join=partial(_wait, popen))


def fork(
    site: Site, *arguments: str, lease_seconds: float = 1.0, prepare: Callable[[], None] | None = None
) -> Process:
    """The same, from loaded code and in a hurry: it looks for work all the time, and its leases are short, so
    that who follows a killed process need not wait for long. `prepare` is called in the process, first.
    """
    log = _log(site, arguments)
    forked = _CONTEXT.Process(
        target=_main, args=(site.folder, site.config, arguments, log, lease_seconds, prepare)
    )
    forked.start()
    assert forked.pid is not None
    return Process(log=log, pid=forked.pid, _exit_code=lambda: forked.exitcode, _join=forked.join)


def amazon_of_this_test(**more: str) -> Callable[[], None]:
    """The `prepare` by which a forked process finds the AWS servers of the test, and `more` variables."""
    found = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return partial(_set_environment, {**found, **more})


def in_a_process(work: Callable[..., None], *arguments: object) -> int | None:
    """Do a piece of work in a process that has loaded the code and done nothing else; its exit code."""
    forked = _CONTEXT.Process(target=work, args=arguments)
    forked.start()
    forked.join()
    return forked.exitcode


@contextmanager
def running(start: Start, site: Site, *arguments: str, **options: Any) -> Iterator[Process]:  # noqa: ANN401 - as `start`
    """A process for the length of the block; killed at its end if it still runs."""
    process = start(site, *arguments, **options)
    try:
        yield process
    finally:
        process.kill()


def run(start: Start, site: Site, *arguments: str, **options: Any) -> str:  # noqa: ANN401 - as `start`
    """Run one command to its good end; returns its standard output."""
    process = start(site, *arguments, **options)
    code = process.wait()
    assert code == 0, f"{arguments}: {code}\n{process.log.read_text()}"
    return process.said


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)


def _wait(popen: "subprocess.Popen[bytes]", timeout: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        popen.wait(timeout)


def _log(site: Site, arguments: tuple[str, ...]) -> Path:
    log = site.logs / f"{next(_NUMBERS):04}-{arguments[0]}.err"
    log.touch()
    return log


def _main(
    folder: Path,
    config: Path,
    arguments: tuple[str, ...],
    log: Path,
    lease_seconds: float,
    prepare: Callable[[], None] | None,
) -> None:
    if prepare is not None:
        prepare()
    monitor.daemon.slot_runner.LEASE_SECONDS = distill.worker.LEASE_SECONDS = lease_seconds
    distill.calibration.lease.LEASE_SECONDS = lease_seconds  # type: ignore[misc]
    distill.evaluate._LATENCY_RUNS = FEW_LATENCY_RUNS  # type: ignore[misc]
    redistill.assembly.TICK = timedelta(seconds=_LOOK_SECONDS)
    triggers.transports.sql.POLL_SECONDS = _LOOK_SECONDS
    os.chdir(folder)
    for number, path in ((1, log.with_suffix(".out")), (2, log)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["redistill", "--config", str(config), *arguments]
    main()
