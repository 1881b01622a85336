"""`imgret run` while another process holds a lock: it names the holder, can be stopped, and ends after the timeout."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from imgret_assets.domain.storage import locks
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import EXIT_FAILED
from imgret_tests.support.pictures import write_pictures

ENDS_WITHIN_S = 20.0
WAITING = f"Waiting for shard-01, held by process {os.getpid()} ("

pytestmark = pytest.mark.timeout(120)


@contextmanager
def waiting_run(home: Home, *, timeout_s: float) -> Iterator["subprocess.Popen[str]"]:
    """An `imgret run` that waits for a shard, which this process holds, and has said so."""
    write_pictures(home.images, 4)
    given = {
        "IMGRET_HOME": str(home.path),
        "IMGRET_IMAGES": str(home.images),
        "IMGRET_LOCK_TIMEOUT_S": str(timeout_s),
        "IMGRET_MODEL": "efficientnet_lite0",
    }
    with locks.hold(home.locks, ["shard-01"], timeout_s=0, purpose="a test"):
        started = subprocess.Popen(
            [sys.executable, "-m", "imgret_assets.cli.main", "run"],
            cwd=home.path,
            env=os.environ | given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with started:
            try:
                yield started
            finally:
                started.kill()


def said_until(process: "subprocess.Popen[str]", start: str) -> list[str]:
    """The lines of stderr up to the first one that starts so, that one included."""
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith(start):
            return lines
    raise AssertionError(f"{start!r} was not said: {''.join(lines)}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_names_the_holder_and_ends_with_a_signal(home: Home, number: signal.Signals) -> None:
    with waiting_run(home, timeout_s=900) as run:
        said_until(run, WAITING)
        run.send_signal(number)
        _, said = run.communicate(timeout=ENDS_WITHIN_S)
    assert said.splitlines()[-1] == "imgret: interrupted; run again to continue where it stopped"
    assert run.returncode == 130


def test_it_ends_after_the_timeout_and_names_the_holder(home: Home) -> None:
    with waiting_run(home, timeout_s=1.5) as run:
        said_until(run, WAITING)
        _, said = run.communicate(timeout=ENDS_WITHIN_S)
    last = said.splitlines()[-1]
    assert last.startswith(f"imgret: shard-01 is held by process {os.getpid()} (")
    assert "within 1.5 s" in last
    assert run.returncode == EXIT_FAILED
