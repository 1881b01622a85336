"""The progress bar is for people at a terminal; a pipe or a log gets lines instead."""

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


def test_without_a_terminal_the_log_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("logged 3\n", "")


def test_on_a_terminal_there_is_a_bar_with_a_rate_and_stdout_stays_clean() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=theirs, text=True, check=True, timeout=60
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.stdout == "logged 0\n"
    assert "3/3" in shown
    assert "images/s" in shown
