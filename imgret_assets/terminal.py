"""Text for terminals: whatever a file name or an argument contains, nothing in it reaches the terminal as a control.

Belongs here: escaping, the streams of the command line and the formatter of logs that apply it. Not here: the formats
of results (`cli.support.output`), whose bytes pass by these streams.
"""

import codecs
import copy
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

# Characters that lay out our own messages. Only a line that ends is one that starts: a carriage return is escaped.
_LAYOUT = "\n\t"


def printable(text: str) -> str:
    r"""Return a text that a terminal can show: unprintable characters as \n or \x1b, invalid bytes as \xNN."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else escaped(char) for char in text)


def printable_lines(text: str) -> str:
    """Return a text of one or more lines that a terminal can show: as `printable`, with its line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _LAYOUT else escaped(char) for char in text)


def escaped(char: str) -> str:
    """Return the escape sequence of a character."""
    # Python decodes an invalid byte NN of a file name as the lone surrogate U+DCNN.
    return f"\\x{ord(char) - 0xDC00:02x}" if 0xDC80 <= ord(char) <= 0xDCFF else repr(char)[1:-1]


def message_of(error: BaseException) -> str:
    """Return the message of an error for a terminal; its first line stands out, so that no name can add another one."""
    return printable_lines(str(error)).replace("\n", "\n    ")


class PrintableStream(io.TextIOWrapper):
    """A text stream over the same bytes as another one, in which each text is escaped by `printable_lines`.

    Attributes:
        unfiltered: the other stream, for progress bars and colours, which contain no names.
    """

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        # click would write past a stream whose encoding is ASCII.
        is_ascii = codecs.lookup(stream.encoding).name == "ascii"
        super().__init__(
            stream.buffer,
            encoding="utf-8" if is_ascii else stream.encoding,
            errors="backslashreplace",
            line_buffering=bool(stream.line_buffering),
            # PYTHONUNBUFFERED
            write_through=getattr(stream, "write_through", False),
        )
        self.unfiltered = stream

    def write(self, text: str, /) -> int:
        """Write a text, escaped, and return its number of characters."""
        super().write(printable_lines(text))
        return len(text)

    def close(self) -> None:
        """Write what is left; the bytes stay open for the other stream."""
        with suppress(OSError, ValueError):
            self.flush()


@contextmanager
def printable_streams() -> Iterator[None]:
    """Make stdout and stderr of the block printable; an exception leaves them so, for its traceback."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if hasattr(stream, "buffer")]
    filtered = {id(stream): PrintableStream(stream) for stream in streams}
    sys.stdout, sys.stderr = (filtered.get(id(stream), stream) for stream in (sys.stdout, sys.stderr))
    yield
    for stream in filtered.values():
        stream.close()
    sys.stdout, sys.stderr = (unfiltered(stream) for stream in (sys.stdout, sys.stderr))


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream behind a printable one, for text without names; any other stream as it is."""
    return getattr(stream, "unfiltered", stream)


class PrintableFormatter(logging.Formatter):
    """A formatter of logs that escapes messages and tracebacks, and leaves the colours to another formatter."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        # Other handlers, such as that of Dagster's event log, get the record as it is.
        shown = copy.copy(record)
        shown.msg, shown.args = printable_lines(record.getMessage()), None
        if record.exc_info:
            shown.exc_text = printable_lines(self._formatter.formatException(record.exc_info))
        if record.stack_info:
            shown.stack_info = printable_lines(record.stack_info)
        return self._formatter.format(shown)


class TerminalHandler(logging.StreamHandler[Any]):
    """A handler that writes to the stderr of the moment, past the escaping that `PrintableFormatter` has done."""

    def __init__(self, formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(PrintableFormatter(formatter))

    @property
    def stream(self) -> TextIO:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the stream of the next record."""
        return unfiltered(sys.stderr)
