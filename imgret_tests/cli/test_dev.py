"""`imgret dev` keeps its processes together: they start together, and none outlives the others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imgret_assets.domain.server_machine import process_start

SUPERVISE = (
    "import sys, json; from imgret_assets.cli.dev import supervise; sys.exit(supervise(json.loads(sys.argv[1])))"
)


def child(folder: Path, name: str, then: str) -> list[str]:
    """A command that writes down its process number, and then does something."""
    said = f"import os, pathlib, sys, time; pathlib.Path({str(folder / name)!r}).write_text(str(os.getpid()))"
    return [sys.executable, "-c", f"{said}\n{then}"]


def started(folder: Path, *names: str) -> list[int]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        files = [folder / name for name in names]
        if all(file.is_file() and file.read_text() for file in files):
            return [int(file.read_text()) for file in files]
        time.sleep(0.05)
    raise AssertionError("the processes did not start")


def alive(pid: int) -> bool:
    return process_start(pid) is not None


def supervising(*commands: list[str]) -> "subprocess.Popen[bytes]":
    import json

    return subprocess.Popen([sys.executable, "-c", SUPERVISE, json.dumps(commands)])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_all_stop_when_it_is_told_to_stop(tmp_path: Path, number: signal.Signals, status: int) -> None:
    parent = supervising(child(tmp_path, "a", "time.sleep(600)"), child(tmp_path, "b", "time.sleep(600)"))
    pids = started(tmp_path, "a", "b")
    parent.send_signal(number)
    assert parent.wait(30) == status
    assert not any(alive(pid) for pid in pids)


def test_the_others_stop_when_one_ends_and_its_status_counts(tmp_path: Path) -> None:
    parent = supervising(child(tmp_path, "a", "time.sleep(600)"), child(tmp_path, "b", "time.sleep(1); sys.exit(3)"))
    pids = started(tmp_path, "a", "b")
    assert parent.wait(30) == 3
    assert not any(alive(pid) for pid in pids)


def test_a_process_that_does_not_stop_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imgret_assets.cli import dev

    monkeypatch.setattr(dev, "_STOP_WITHIN_S", 1.0)
    stubborn = child(tmp_path, "a", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)")
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert dev.supervise([stubborn, child(tmp_path, "b", "time.sleep(1.5); sys.exit(4)")]) == 4
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    [pid] = started(tmp_path, "a")
    assert not alive(pid)
    assert os.getpid() != pid
