"""Log lines on the standard error: for eyes on a terminal, JSON for programs otherwise."""

import logging
import os
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import Processor

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


class _StandardError:
    """Takes log lines. Those that it does not keep, as its disk is full or its reader gone, stop nothing.

    It is looked up anew each time: a progress bar stands in front of it while it is shown.
    """

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


_STANDARD_ERROR = _StandardError()


def configure() -> None:
    """Send this process's events, and the warnings of the libraries, to the standard error.

    Warnings and no more: httpx, for one, tells the whole address of each request, which may be secret.

    A traceback never shows the values of variables: they may hold the text of requests.
    """
    render = _render()
    structlog.configure(
        processors=[*_SHARED, *render],
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
    # that a tick is left out while a cycle runs is how the daemon works
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)


def _render() -> tuple[Processor, ...]:
    if sys.stderr.isatty():
        colours = "NO_COLOR" not in os.environ
        plain = structlog.dev.plain_traceback
        return (structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),)
    return (
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    )
