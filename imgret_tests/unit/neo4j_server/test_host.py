"""Processes, ports, memory and log files of this machine."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from imgret_assets.domain.neo4j_server import host
from imgret_assets.errors import SettingError


@pytest.fixture(params=["linux", "darwin"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Linux's own files, and psutil as on every other system."""
    assert psutil, "it is loaded for the system that this is"
    monkeypatch.setattr(host.sys, "platform", request.param)
    return request.param


def test_a_process_keeps_its_start_and_another_has_another(platform: str, process: subprocess.Popen[bytes]) -> None:
    started = host.process_start(process.pid)
    assert started
    assert host.process_start(process.pid) == started
    assert host.process_start(os.getpid()) not in (None, started)


def test_an_ended_process_has_no_start(platform: str, process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert host.process_start(process.pid) is None


def test_a_zombie_has_no_start(platform: str, process: subprocess.Popen[bytes]) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert host.process_start(process.pid) is None


def test_a_stopped_process_has_a_start(platform: str, process: subprocess.Popen[bytes]) -> None:
    """As after Ctrl-Z."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    assert host.process_start(process.pid)


def test_arguments_of_a_process() -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, "--home-dir=/a home: überall", ""]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert host.process_arguments(process.pid)[1:] == words[1:]
        process.kill()
    assert host.process_arguments(process.pid) == []


def test_ports(listening_port: int) -> None:
    assert host.is_listening(listening_port)
    assert not host.is_port_free(listening_port)
    unused = host.unused_port()
    assert host.is_port_free(unused)
    assert not host.is_listening(unused)


def test_a_bound_port_that_does_not_listen_is_not_free() -> None:
    with socket.socket() as bound:
        bound.bind((host.LOCALHOST, 0))
        port = bound.getsockname()[1]
        assert not host.is_listening(port)
        # SO_REUSEADDR lets a second socket bind on Linux while none listens; listening decides.
        bound.listen()
        assert not host.is_port_free(port)


def test_memory_is_at_most_a_part_of_the_usable_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "usable_memory_bytes", lambda: 4096 * 2**20)
    assert host.server_memory_mb("2g", "1g") == (1024, 512)
    assert host.server_memory_mb("512m", "256M") == (512, 256)
    monkeypatch.setattr(host, "usable_memory_bytes", lambda: 256 * 2**20)
    assert host.server_memory_mb("2g", "1g") == (host.SMALLEST_MEMORY_MB, host.SMALLEST_MEMORY_MB)


@pytest.mark.parametrize("size", ["2", "lots", "-1g", "1.5g", "1m", ""])
def test_a_malformed_memory_size_is_refused(size: str) -> None:
    with pytest.raises(SettingError, match="IMGRET_NEO4J_HEAP"):
        host.server_memory_mb(size, "1g")


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert host.log_tail(log).splitlines() == [f"line {number}" for number in range(80, 100)]
    assert host.log_tail(log, since=log.stat().st_size) == ""
    assert host.log_tail(tmp_path / "absent") == ""


def test_a_long_log_is_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "LOG_ROTATE_BYTES", 10)
    log = tmp_path / "console.log"
    assert host.rotate_log(log) == 0
    log.write_text("short")
    assert host.rotate_log(log) == 5
    log.write_text("a long first log")
    assert host.rotate_log(log) == 0
    assert not log.exists()
    assert (tmp_path / "console.log.1").read_text() == "a long first log"


def test_the_ports_of_a_process_are_those_on_which_it_listens(listening_port: int) -> None:
    ports = host.listening_ports(os.getpid())
    assert ports is not None
    assert listening_port in ports
    with socket.create_connection((host.LOCALHOST, listening_port)) as connection:
        assert connection.getsockname()[1] not in (host.listening_ports(os.getpid()) or ())
    assert host.listening_ports(2**22 + 1) is None
