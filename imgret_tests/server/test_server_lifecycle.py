"""The embedded server when it, or a process that starts it, is killed or disturbed; in a home of its own.

A start takes ten seconds or more, so the tests share one server and run in order.
"""

import os
import shlex
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError

from imgret_assets.domain.neo4j_server import host, lifecycle, login, run_file
from imgret_assets.domain.neo4j_server.run_file import Connection, ServerFolder
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.neo4j_server import MEMORY, SHORT_LIVED, clean_environment

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

WITHIN_S = 150.0
# Prefers a port on which the test listens, and prints the server's process and address.
STARTER = f"""
import sys
from imgret_assets.domain.neo4j_server import lifecycle, server_process
from imgret_assets.settings import load_settings
lifecycle.BOLT_PORT = int(sys.argv[1])
server_process.JVM_FLAGS += {SHORT_LIVED}
server = lifecycle.ensure_running(load_settings(), ready_within_s=150)
print(server.pid, server.uri)
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    # A name with characters that a shell, a class path and a configuration file must not interpret.
    home = tmp_path_factory.mktemp("life") / "a home: überall, $HOME"
    return clean_environment() | MEMORY | {"IMGRET_HOME": str(home)}


@pytest.fixture(scope="module")
def settings(env: dict[str, str]) -> Iterator[Settings]:
    loaded = load_settings(env=env)
    yield loaded
    lifecycle.stop(loaded, within_s=20)


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((host.LOCALHOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def start(env: dict[str, str], taken_port: int) -> subprocess.Popen[str]:
    """Start a process that starts the server, in a process group of its own, as a shell does for each job."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(taken_port)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def wait_until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def first_column(server: Connection, query: LiteralString) -> list[object]:
    with GraphDatabase.driver(server.uri, auth=(server.username, server.password)) as driver:
        return [record[0] for record in driver.execute_query(query).records]


def processes_of(settings: Settings) -> list[int]:
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"--home-dir={settings.home}/neo4j".encode() in _read(path)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_killed_and_interrupted_starts_leave_one_server_that_all_later_ones_share(
    settings: Settings, env: dict[str, str], taken_port: int
) -> None:
    folder = ServerFolder(settings)
    killed = start(env, taken_port)
    wait_until(folder.pid_file.exists)
    killed.kill()
    killed.communicate()

    interrupted = start(env, taken_port)
    wait_until(lambda: run_file.read_run_file(folder) is not None)
    os.killpg(interrupted.pid, signal.SIGINT)
    interrupted.communicate()

    two = [start(env, taken_port) for _ in range(2)]
    outputs = [process.communicate(timeout=WITHIN_S) for process in two]
    assert [process.returncode for process in two] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]

    server = lifecycle.status(settings)
    assert server is not None
    assert outputs[0][0].split() == [str(server.pid), server.uri]
    assert server.uri != f"bolt://127.0.0.1:{taken_port}"
    if sys.platform == "linux":
        assert processes_of(settings) == [server.pid]


def test_only_the_written_password_logs_in(settings: Settings) -> None:
    server = lifecycle.ensure_running(settings)
    folder = ServerFolder(settings)
    assert first_column(server, "RETURN gds.version()") == ["2.26.0"]
    with pytest.raises(AuthError):
        first_column(Connection(server.uri, server.username, "neo4j"), "RETURN 1")
    assert folder.secret.stat().st_mode & 0o777 == 0o600
    assert set(login.read_secret(folder)) == {"password"}
    logs = "".join(path.read_text(errors="replace") for path in folder.log.parent.iterdir())
    assert server.password not in logs
    if sys.platform == "linux":
        assert server.password.encode() not in _read(Path(f"/proc/{server.pid}/cmdline"))
        assert server.password.encode() not in _read(Path(f"/proc/{server.pid}/environ"))


def test_it_listens_on_this_machine_only_and_serves_the_browser(settings: Settings) -> None:
    from urllib.request import urlopen

    server = lifecycle.ensure_running(settings)
    with urlopen(lifecycle.browser_url(server, "RETURN 1"), timeout=20) as page:  # noqa: S310 - our own address
        assert b"Neo4j Browser" in page.read()
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=False).stdout
    addresses = [line.split()[3] for line in listening.splitlines() if f"pid={server.pid}," in line]
    assert all("127.0.0.1" in address for address in addresses)


def test_a_caller_of_a_running_server_starts_nothing_and_its_pipe_ends(
    settings: Settings, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle.ensure_running(settings)
    with monkeypatch.context() as watched:
        # A caller costs reading a file and checking a process, and neither the lock nor the jars.
        watched.setattr(lifecycle.locks, "hold", pytest.fail)
        watched.setattr(lifecycle, "assemble", pytest.fail)
        server = lifecycle.ensure_running(settings)
    command = shlex.join([sys.executable, "-c", STARTER, "7687"])
    piped = subprocess.run(["sh", "-c", f"{command} | cat"], env=env, capture_output=True, text=True, timeout=120)
    assert piped.stdout.split() == [str(server.pid), server.uri]


def test_an_unrecorded_server_is_used_again(settings: Settings) -> None:
    server = lifecycle.ensure_running(settings)
    ServerFolder(settings).run_file.unlink()
    assert lifecycle.status(settings) is None
    assert lifecycle.ensure_running(settings) == server


def test_after_kill_9_it_starts_again_with_its_data_and_stops(settings: Settings) -> None:
    server = lifecycle.ensure_running(settings)
    first_column(server, "CREATE (:Kept {number: 7})")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: host.process_start(server.pid or 0) is None)
    again = lifecycle.ensure_running(settings, ready_within_s=WITHIN_S)
    assert again.pid != server.pid
    assert again.password == server.password
    assert first_column(again, "MATCH (n:Kept) RETURN n.number") == [7]

    # Right after a recovery the server may not end by itself within the time; then it is killed.
    assert lifecycle.stop(settings, within_s=15) is True
    assert host.process_start(again.pid or 0) is None
    assert lifecycle.status(settings) is None
    assert lifecycle.stop(settings) is False


@contextmanager
def another_listener() -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a port as a server of another home does; provide the port, and what each connection has sent first."""
    sent: list[bytes] = []

    class Receiver(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            sent.append(self.request.recv(1000))

    with socketserver.ThreadingTCPServer((host.LOCALHOST, 0), Receiver) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        try:
            yield listener.server_address[1], sent
        finally:
            listener.shutdown()


def test_ports_that_another_home_s_server_has_just_taken_are_left_to_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two starts that fail takes Neo4j as long as one that succeeds."""
    with another_listener() as (bolt_port, sent_to_bolt), another_listener() as (http_port, sent_to_http):
        # Both homes chose their ports at the same moment, when those of the other were still free.
        chosen = [(host.unused_port(), http_port), (bolt_port, host.unused_port())]
        free_ports = lifecycle.free_ports
        monkeypatch.setattr(lifecycle, "free_ports", lambda: chosen.pop() if chosen else free_ports())
        server = lifecycle.ensure_running(settings, ready_within_s=WITHIN_S)
        assert not chosen
        assert server.uri != f"bolt://127.0.0.1:{bolt_port}"
        assert server.http_port != http_port
        assert first_column(server, "RETURN 1") == [1]
    # It was looked whether they listen; a password would have been refused, and counted. The port for HTTP is looked at
    # once that for Bolt is open, which a server that ends soon may not live to see.
    assert sent_to_bolt
    assert set(sent_to_bolt + sent_to_http) == {b""}
