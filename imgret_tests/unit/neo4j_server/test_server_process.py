"""The server's process, with a shell script in the place of Java."""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import server_process
from imgret_assets.domain.neo4j_server.host import process_start
from imgret_assets.domain.neo4j_server.run_file import RunFile, ServerFolder
from imgret_assets.domain.neo4j_server.server_process import (
    is_server_of,
    java_environment,
    spawn,
    wait_until_ended,
    wait_until_listening,
)
from imgret_assets.errors import ServerError
from imgret_assets.settings import Settings
from imgret_tests.unit.neo4j_server.conftest import Record


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that stays until its input, a pipe, is closed; its output goes to the log."""
    script, pipe = tmp_path / "a java", tmp_path / "pipe"
    os.mkfifo(pipe)
    script.write_text(f'#!/bin/sh\necho "as $(pwd)"\nread line < "{pipe}"\n')
    script.chmod(0o755)
    monkeypatch.setattr(server_process, "java_command", lambda: [str(script)])
    return pipe


def test_a_spawned_server_is_detached_recorded_and_known_by_its_folder(
    folder: ServerFolder, java: Path, settings: Settings, tmp_path: Path
) -> None:
    pid = spawn(folder, 200)
    try:
        assert folder.pid_file.read_text().strip() == str(pid)
        assert os.getsid(pid) != os.getsid(0)
        assert is_server_of(folder, pid)
        assert not is_server_of(ServerFolder(replace(settings, home=tmp_path)), pid)
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    finally:
        java.write_text("end\n")
    server = RunFile(pid, process_start(pid) or "ended", 1, 1, "", "", folder.identity)
    assert wait_until_ended(server, 20)
    assert folder.log.read_text() == f"as {folder.path}\n"


def test_the_environment_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", "secret")
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dx")
    monkeypatch.setenv("TZ", "UTC")
    environment = java_environment()
    assert {"PATH", "TZ"} <= set(environment) <= {"PATH", "HOME", "TMPDIR", "TZ", "USER", "LC_ALL"}


def test_waiting_ends_with_the_ports_the_process_or_the_deadline(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], listening_port: int
) -> None:
    folder.log.write_text("recovering the store\n")
    assert wait_until_listening(folder, record(os.getpid(), port=listening_port), time.monotonic() + 20)
    closed = record(process.pid, port=1)
    with pytest.raises(ServerError, match=rf"process {process.pid}, did not answer in time.*\nrecovering the store"):
        wait_until_listening(folder, closed, time.monotonic())
    assert not wait_until_ended(closed, 0.0)
    process.kill()
    process.wait()
    assert not wait_until_listening(folder, closed, time.monotonic() + 20)
    assert wait_until_ended(closed, 20)


def test_a_port_on_which_another_process_listens_does_not_answer(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes], listening_port: int
) -> None:
    """Two homes that start at once choose the same free port; one of the two servers can't listen, and ends."""
    with pytest.raises(ServerError, match="did not answer in time"):
        wait_until_listening(folder, record(process.pid, port=listening_port), time.monotonic() + 0.3)


def test_without_knowledge_of_the_ports_of_a_process_any_answer_counts(
    folder: ServerFolder,
    record: Record,
    process: subprocess.Popen[bytes],
    listening_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_process.host, "listening_ports", lambda _: None)
    assert wait_until_listening(folder, record(process.pid, port=listening_port), time.monotonic() + 20)
