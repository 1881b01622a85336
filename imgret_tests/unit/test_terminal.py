"""Text for terminals: control characters are escaped in messages, streams and logs."""

import io
import logging
import sys

import pytest

from imgret_assets.terminal import (
    PrintableFormatter,
    PrintableStream,
    TerminalHandler,
    message_of,
    printable,
    printable_lines,
    printable_streams,
    unfiltered,
)

# Colour, clearing the screen, a bell, a return, deletion, C1's introducer of sequences, right-to-left, no UTF-8.
CONTROLS = "\x1b[31m\x1b[2J\x07\r\x7f\x9b31m\u202e\udcfe"
SHOWN = r"\x1b[31m\x1b[2J\x07\r\x7f\x9b31m\u202e\xfe"


def stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def bytes_of(written: io.TextIOWrapper, encoding: str = "utf-8") -> str:
    written.flush()
    below = written.buffer
    assert isinstance(below, io.BytesIO)
    return below.getvalue().decode(encoding)


def record(message: object, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    found = (type(error), error, None) if error else None
    return logging.LogRecord("name", logging.WARNING, "file", 1, message, arguments, found)


def test_a_printable_text_has_no_control_characters() -> None:
    assert printable("päivä 日本.jpg") == "päivä 日本.jpg"
    assert printable(f"{CONTROLS}\n\t") == rf"{SHOWN}\n\t"


def test_printable_lines_keep_line_breaks_and_tabs_alone() -> None:
    assert printable_lines(f"a\tb\n{CONTROLS}\n") == f"a\tb\n{SHOWN}\n"


def test_no_name_adds_a_line_to_a_message() -> None:
    assert message_of(ValueError("x\nimgret: all is well")) == "x\n    imgret: all is well"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_stream_escapes_what_is_written(encoding: str) -> None:
    below = stream(encoding)
    writer = PrintableStream(below)
    assert writer.write(f"é {CONTROLS}\n") == len(CONTROLS) + 3
    writer.writelines(["日\n"])
    writer.flush()
    written = bytes_of(below, "latin-1" if encoding == "latin-1" else "utf-8")
    last = r"\u65e5" if encoding == "latin-1" else "日"
    assert written == f"é {SHOWN}\n{last}\n"


def test_streams_are_printable_in_the_block_and_as_before_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = stream(), stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    out.write("before ")
    with printable_streams():
        sys.stdout.write(f"{CONTROLS}\n")
        sys.stderr.write(f"{CONTROLS}\n")
        unfiltered(sys.stderr).write("\rbar")
    assert (sys.stdout, sys.stderr) == (out, err)
    sys.stdout.write("after\n")
    assert bytes_of(out) == f"before {SHOWN}\nafter\n"
    assert sorted(bytes_of(err)) == sorted(f"\rbar{SHOWN}\n")


def test_a_traceback_is_written_while_the_streams_are_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    err = stream()
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(OSError, match="left"), printable_streams():
        raise OSError("left")
    assert unfiltered(sys.stderr) is err
    assert sys.stderr is not err


def test_a_stream_without_bytes_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    with printable_streams():
        assert sys.stdout is text


def test_a_log_escapes_messages_and_tracebacks_and_keeps_colours_and_the_record() -> None:
    formatter = PrintableFormatter(logging.Formatter("\x1b[32m%(levelname)s\x1b[0m %(message)s"))
    made = record("%s is\nbroken", CONTROLS, error=OSError(f"{CONTROLS}!"))
    assert formatter.format(made) == f"\x1b[32mWARNING\x1b[0m {SHOWN} is\nbroken\nOSError: {SHOWN}!"
    assert made.getMessage() == f"{CONTROLS} is\nbroken"
    assert made.exc_text is None


def test_the_handler_of_a_terminal_writes_to_the_stderr_of_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    handler = TerminalHandler(logging.Formatter("\x1b[32m%(message)s"))
    with printable_streams():
        handler.emit(record(CONTROLS))
    assert capsys.readouterr().err == f"\x1b[32m{SHOWN}\n"
