"""A command on a terminal, with what it shows there.

Belongs here: running it on a pseudo-terminal. Not here: what is shown.
"""

import os
import pty
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


def shown_on_a_terminal(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, text: str = "", within_s: float = 120.0
) -> str:
    """Run a command whose stdout and stderr are a terminal, and return all that it wrote there."""
    reader, terminal = pty.openpty()
    written: list[bytes] = []

    def read() -> None:
        while True:
            try:
                data = os.read(reader, 65_536)
            except OSError:  # Linux's end of a terminal
                return
            if not data:
                return
            written.append(data)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        subprocess.run(
            command,
            env=environment,
            cwd=folder,
            input=text.encode(),
            stdout=terminal,
            stderr=terminal,
            timeout=within_s,
            check=False,
        )
    finally:
        os.close(terminal)
        reading.join()
        os.close(reader)
    return b"".join(written).decode()


def controls_in(shown: str) -> set[str]:
    """Return the control characters of a terminal's output, but for the ends of its lines and tabs."""
    return {char for char in shown.replace("\r\n", "") if not char.isprintable()} - {"\t"}
