"""The progress bar: shown on a terminal; otherwise the log receives lines."""

import os
import pty
import subprocess
import sys
import termios

SCRIPT = """
import sys
from imgret_assets.cli.support.progress_bar import progress_bar
from imgret_assets.domain.runtime.progress import Progress, progress_listener
lines = []
with progress_bar():
    tell = progress_listener(lines.append, every_s=0)
    for done in range(1, 4):
        tell(Progress("images", done, 3, done / 2))
print("logged", len(lines))
"""


def test_without_a_terminal_the_log_receives_progress() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("logged 3\n", "")


def test_a_terminal_shows_a_bar_with_a_rate_and_stdout_stays_empty() -> None:
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=terminal, text=True, check=True, timeout=60
    )
    os.close(terminal)
    shown = os.read(reader, 65536).decode()
    os.close(reader)
    assert done.stdout == "logged 0\n"
    assert "3/3" in shown
    assert "images/s" in shown
