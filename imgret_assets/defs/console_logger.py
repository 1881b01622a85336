"""What a run shows on the terminal or in the log of its process.

Belongs here: Dagster's console logger with the changes that names of files and interruptions need. Not here: what is
logged (`defs.assets`), escaping (`terminal`).
"""

import copy
import logging
import re
from typing import Any

import dagster as dg

from imgret_assets.terminal import TerminalHandler


def console_logger() -> dg.LoggerDefinition:
    """Return Dagster's own console logger, with control characters escaped.

    From level INFO on, a line is the step and its message; for DEBUG it has the time, the job and the run's id, too. A
    failure is a line with its cause. It leaves out stack traces; the UI's record of the run has them.
    """
    return dg.LoggerDefinition(_make_logger, config_schema=dg.colored_console_logger.config_schema)


def _make_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = dg.colored_console_logger.logger_fn(context)
    for handler in list(logger.handlers):
        formatter = handler.formatter or logging.Formatter()
        if (context.logger_config or {}).get("log_level") != "DEBUG":
            formatter = _ShortLine()
        replacement = TerminalHandler(_FailureLine(formatter))
        replacement.setLevel(handler.level)
        for condition in handler.filters:
            replacement.addFilter(condition)
        logger.removeHandler(handler)
        logger.addHandler(replacement)
    logger.addFilter(lambda record: "DagsterExecutionInterruptedError" not in record.getMessage())
    return logger


class _ShortLine(logging.Formatter):
    """A formatter that writes the step and the message, and the level of a warning or an error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        record = copy.copy(record)
        parts = [] if record.levelno <= logging.INFO else [record.levelname]
        # Dagster puts the job, the run's id and, for an event, the process's id in front of step and message.
        run_id = (getattr(record, "dagster_meta", None) or {}).get("run_id")
        if run_id:
            message = record.getMessage().rpartition(f"{run_id} - ")[2]
            record.msg, record.args = re.sub(r"^\d+ - ", "", message), None
        return " - ".join([*parts, super().format(record)])


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
