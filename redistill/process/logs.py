"""Logging to standard error: readable lines on a terminal, JSON otherwise."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from redistill.display.plain import in_encoding, plain

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class _StandardError:
    """Standard error, on which a full disk or a closed pipe is ignored.

    `sys.stderr` is read for each line, because a progress bar replaces it for a while.
    """

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


_STANDARD_ERROR = _StandardError()


def configure(*, monitor: str | None = None) -> None:
    """Log the events of this process, and the warnings of libraries, to standard error.

    Events that name no monitor get the name `monitor`, if it is given.

    Libraries do not log below warnings, because httpx, for example, logs the full URL of each request, which
    may be secret. Tracebacks do not show the values of variables, because they may contain request texts.
    """
    render = renderers()
    structlog.configure(
        processors=[_name_added(monitor), *_SHARED, *render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _STANDARD_ERROR)),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("sqlalchemy.pool").setLevel(logging.NOTSET)
    # apscheduler warns of ticks that are skipped while a cycle runs, which is expected
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


def quiet() -> None:
    """Log warnings and errors only, to standard error: standard output is for the result of a command."""
    structlog.configure(
        processors=[_without_information, *_SHARED, *renderers()],
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _STANDARD_ERROR)),
    )
    # it logs a traceback if Ctrl-C comes while a connection is closed
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


def _without_information(_logger: object, method: str, event: EventDict) -> EventDict:
    if method in {"debug", "info"}:
        raise structlog.DropEvent
    return event


def _in_encoding(_logger: object, _method: str, line: str) -> str:
    return in_encoding(line, sys.stderr.encoding)


def _name_added(monitor: str | None) -> Processor:
    def add(_logger: object, _method: str, event: EventDict) -> EventDict:
        if monitor is not None:
            event.setdefault("monitor", monitor)
        return event

    return add


def _without_controls(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {key: plain(value) if isinstance(value, str) else value for key, value in event.items()}


def renderers() -> tuple[Processor, ...]:
    """Return the processors that turn an event into a line for this standard error."""
    if sys.stderr.isatty():
        colours = "NO_COLOR" not in os.environ
        traceback = structlog.dev.plain_traceback
        console = structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=traceback)
        return _without_controls, console
    return (
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
        cast("Processor", _in_encoding),  # of the line that the renderer has made
    )
