"""`imgret dev` keeps its processes together: they start together, and none outlives the others."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from imgret_assets.cli import dev
from imgret_assets.cli.main import imgret
from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.defs.instance.process_runs import PROCESS
from imgret_assets.domain.neo4j_server.host import process_start
from imgret_assets.settings import Settings

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


def test_runs_that_died_are_ended_before_anything_is_started(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dg.job
    def nothing() -> None: ...

    with open_instance(settings) as instance:
        tag = f"{socket.gethostname()} 1 of another boot"
        instance.create_run_for_job(nothing, status=dg.DagsterRunStatus.STARTED, tags={PROCESS: tag})
        seen: list[dg.DagsterRunStatus] = []

        def supervise(_: Sequence[Sequence[str]]) -> int:
            seen.extend(run.status for run in instance.get_runs())
            return 0

        monkeypatch.setattr(dev, "supervise", supervise)
        monkeypatch.setattr(os, "chdir", lambda _: None)
        done = CliRunner().invoke(imgret, ["dev", "--no-page", "--home", str(settings.home)])
    assert (done.exit_code, seen) == (0, [dg.DagsterRunStatus.FAILURE])
