"""What a run shows on the terminal or in the log of its process.

Belongs here: Dagster's console logger with the changes that names of files and interruptions need. Not here: what is
logged (`defs.assets`), escaping (`terminal`).
"""

import logging

import dagster as dg

from imgret_assets.terminal import TerminalHandler


def console_logger() -> dg.LoggerDefinition:
    """Return Dagster's own console logger, with control characters escaped.

    It leaves out the stack traces of an interruption; the UI's record of the run has them.
    """
    return dg.LoggerDefinition(_make_logger, config_schema=dg.colored_console_logger.config_schema)


def _make_logger(context: dg.InitLoggerContext) -> logging.Logger:
    logger = dg.colored_console_logger.logger_fn(context)
    for handler in list(logger.handlers):
        formatter = handler.formatter or logging.Formatter()
        replacement = TerminalHandler(formatter)
        replacement.setLevel(handler.level)
        for condition in handler.filters:
            replacement.addFilter(condition)
        logger.removeHandler(handler)
        logger.addHandler(replacement)
    logger.addFilter(lambda record: "DagsterExecutionInterruptedError" not in record.getMessage())
    return logger
