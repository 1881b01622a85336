"""What a run shows on the terminal or in the log of its process.

Belongs here: Dagster's console logger with the changes that names of files and interruptions need. Not here: what is
logged (`defs.assets`), escaping (`terminal`).
"""

import copy
import logging
from typing import Any

import dagster as dg

from imgret_assets.terminal import TerminalHandler


def console_logger() -> dg.LoggerDefinition:
    """Return Dagster's own console logger, with control characters escaped.

    A failure is a line with its cause. It leaves out stack traces; the UI's record of the run has them.
    """
    return dg.LoggerDefinition(_make_logger, config_schema=dg.colored_console_logger.config_schema)


def _make_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = dg.colored_console_logger.logger_fn(context)
    for handler in list(logger.handlers):
        formatter = handler.formatter or logging.Formatter()
        replacement = TerminalHandler(_FailureLine(formatter))
        replacement.setLevel(handler.level)
        for condition in handler.filters:
            replacement.addFilter(condition)
        logger.removeHandler(handler)
        logger.addHandler(replacement)
    logger.addFilter(lambda record: "DagsterExecutionInterruptedError" not in record.getMessage())
    return logger


class _FailureLine(logging.Formatter):
    """A formatter that gives another one the message of a failed step or run without Dagster's stack traces."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        event = getattr(record, "dagster_event", None)
        error = getattr(getattr(event, "event_specific_data", None), "error", None)
        if event is not None and error is not None:
            record = copy.copy(record)
            # The cause stands in the line of the step.
            cause = "" if event.event_type == dg.DagsterEventType.RUN_FAILURE else f" {_cause_of(error)}"
            record.msg, record.args = record.getMessage().splitlines()[0] + cause, None
        return self._formatter.format(record)


def _cause_of(error: Any) -> str:
    """Return the message of the user's error behind a stored one of Dagster, without its class if it is a named one."""
    while error.cause is not None and (error.cls_name or "").startswith("Dagster"):
        error = error.cause
    message = next(iter(error.message.strip().splitlines()), error.cls_name or "")
    name, separator, text = message.partition(": ")
    return text if separator and name.startswith("imgret_assets.errors.") else message
