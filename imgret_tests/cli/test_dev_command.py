"""`imgret dev`: its processes start together and stop together."""

import json
import os
import signal
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
from imgret_assets.defs.instance.process_runs import PROCESS_TAG
from imgret_assets.domain.neo4j_server.host import process_start
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import Settings

SUPERVISE = (
    "import sys, json; from imgret_assets.cli.dev import supervise; sys.exit(supervise(json.loads(sys.argv[1])))"
)


def child(folder: Path, name: str, then: str) -> list[str]:
    """Return a command that writes its process id to a file and then runs `then`."""
    write_pid = f"import os, pathlib, sys, time; pathlib.Path({str(folder / name)!r}).write_text(str(os.getpid()))"
    return [sys.executable, "-c", f"{write_pid}\n{then}"]


def pids_of_started(folder: Path, *names: str) -> list[int]:
    """Wait until the commands have started, and return their process ids."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        files = [folder / name for name in names]
        if all(file.is_file() and file.read_text() for file in files):
            return [int(file.read_text()) for file in files]
        time.sleep(0.05)
    raise AssertionError("the processes did not start")


def alive(pid: int) -> bool:
    return process_start(pid) is not None


def start_supervisor(*commands: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", SUPERVISE, json.dumps(commands)])


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_processes(tmp_path: Path, number: signal.Signals, status: int) -> None:
    parent = start_supervisor(child(tmp_path, "a", "time.sleep(600)"), child(tmp_path, "b", "time.sleep(600)"))
    pids = pids_of_started(tmp_path, "a", "b")
    parent.send_signal(number)
    assert parent.wait(30) == status
    assert not any(alive(pid) for pid in pids)


def test_when_one_ends_the_others_stop_and_its_status_is_returned(tmp_path: Path) -> None:
    parent = start_supervisor(
        child(tmp_path, "a", "time.sleep(600)"), child(tmp_path, "b", "time.sleep(1); sys.exit(3)")
    )
    pids = pids_of_started(tmp_path, "a", "b")
    assert parent.wait(30) == 3
    assert not any(alive(pid) for pid in pids)


def test_a_process_that_ignores_the_signal_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "STOP_TIMEOUT_S", 1.0)
    ignoring_sigint = child(
        tmp_path, "a", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    )
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert dev.supervise([ignoring_sigint, child(tmp_path, "b", "time.sleep(1.5); sys.exit(4)")]) == 4
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    [pid] = pids_of_started(tmp_path, "a")
    assert not alive(pid)
    assert os.getpid() != pid


def test_dead_runs_are_ended_before_dagster_starts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.job
    def empty_job() -> None: ...

    with open_instance(settings) as instance:
        tag = f"{open_home(settings).record.id} {'0' * 32} 1"
        instance.create_run_for_job(empty_job, status=dg.DagsterRunStatus.STARTED, tags={PROCESS_TAG: tag})
        statuses: list[dg.DagsterRunStatus] = []

        def supervise(_: Sequence[Sequence[str]]) -> int:
            statuses.extend(run.status for run in instance.get_runs())
            return 0

        monkeypatch.setattr(dev, "supervise", supervise)
        monkeypatch.setattr(os, "chdir", lambda _: None)
        done = CliRunner().invoke(imgret, ["dev", "--no-page", "--home", str(settings.home)])
    assert (done.exit_code, statuses) == (0, [dg.DagsterRunStatus.FAILURE])
