"""The connection to a Ray cluster that reads and scores; it is open only while the cluster works.

Every node needs the same version of this package, preferably from the same image.
"""

import ctypes
import logging
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import ModuleType
from typing import Any

from db.errors import RedistillError
from monitor.stop import Stopped, StoppedError

_SECONDS_TO_CONNECT = 5
_SECONDS_WITHOUT_NODES = 300
_POLL_SECONDS = 0.2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SIGACTION_BYTES = 512  #: more than the struct of any libc


class RayMissingError(RedistillError):
    """[scoring] engine = 'ray' needs Ray: `pip install 'redistill[ray]'`."""


class ClusterUnavailableError(RedistillError):
    """There is no Ray cluster to connect to at {address} ({problem}): join this machine to one with
    `ray start --address=HOST:PORT`, or fix 'address' in [scoring].
    """


class ClusterFailedError(RedistillError):
    """The Ray cluster at {address} failed to complete a task ({problem}): check `ray status` there. The cycle
    is retried automatically.
    """


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Connect to the cluster at `address`, and yield the module `ray`.

    The connection ends with the block, or with an enclosing block that opened it. For each connection the
    nodes start new processes, which takes seconds.

    Raises:
        RayMissingError: Ray is not installed.
        ClusterUnavailableError: there is no cluster at the address, or it has no cores.
        ClusterFailedError: a task failed on the cluster, and failed again when it was retried, or all nodes
            are gone.
    """
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RayMissingError from error
    if ray.is_initialized():
        yield ray
        return
    try:
        _check_reachable(address)
        with _preserving_signal_handlers():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterUnavailableError(address=address, problem=_first_line(error)) from error
    try:
        if not cores_of(ray):
            raise ClusterUnavailableError(address=address, problem="it has no core for work")
        yield ray
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RedistillError):
            raise error.cause from None
        raise ClusterFailedError(address=address, problem=_first_line(error.cause)) from error
    except ray.exceptions.RayError as error:
        raise ClusterFailedError(address=address, problem=_first_line(error)) from error
    finally:
        with _preserving_signal_handlers():
            ray.shutdown()


def results_in_order(
    ray: ModuleType, tasks: Iterable[Callable[[], object]], stopped: Stopped, *, at_once: int
) -> Iterator[Any]:
    """Yield the results of the tasks, in the order of the tasks.

    A task is started by a call. At most `at_once` tasks are running, or finished but not yet yielded.
    Ray retries the tasks of a lost node. When no node is left, a new one is awaited for five minutes.

    Raises:
        StoppedError: `stopped` returned True; running tasks are abandoned when the connection ends.
        RayError: no new node joined.
    """
    pending = deque[object]()
    for start in tasks:
        if len(pending) == at_once:
            yield _result(ray, pending.popleft(), stopped)
        pending.append(start())
    while pending:
        yield _result(ray, pending.popleft(), stopped)


def _result(ray: ModuleType, task: object, stopped: Stopped) -> object:
    last_node_at = monotonic()
    while not stopped():
        if ray.wait([task], timeout=_POLL_SECONDS)[0]:
            return ray.get(task)
        if cores_of(ray):
            last_node_at = monotonic()
        elif monotonic() - last_node_at > _SECONDS_WITHOUT_NODES:
            raise ray.exceptions.RayError("all its nodes are gone, and none joined for 5 minutes")
    raise StoppedError


def _check_reachable(address: str) -> None:
    """Raise OSError unless something listens at the address; Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()


def cores_of(ray: ModuleType) -> int:
    """Return the number of cores that the cluster now has for tasks."""
    return int(ray.cluster_resources().get("CPU", 0))


@contextmanager
def _preserving_signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM after the block.

    Ray installs its own SIGTERM handler when it connects, in Python and in libc, and removes every handler
    when it disconnects. Source: github.com/ray-project/ray/issues/65749.
    """
    libc = ctypes.CDLL(None)
    native = {number: ctypes.create_string_buffer(_SIGACTION_BYTES) for number in _STOP_SIGNALS}
    for number, action in native.items():
        libc.sigaction(int(number), None, action)
    handlers = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        for number, action in native.items():
            libc.sigaction(int(number), action, None)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
