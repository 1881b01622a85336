"""The embedded server through what may happen to it and to its starters, in a home of its own.

A start takes ten seconds and more, so each test goes through several things with one server; they run in order.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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
# Prefers a port that the test holds, and prints the server's process and port.
STARTER = f"""
import sys
from imgret_assets.domain.neo4j_server import lifecycle, server_process
from imgret_assets.settings import load_settings
lifecycle.BOLT_PORT = int(sys.argv[1])
server_process.JVM_FLAGS += {SHORT_LIVED}
found = lifecycle.ensure_running(load_settings(), ready_within_s=150)
print(found.pid, found.uri)
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    # A name that a shell, a class path and a configuration file could trip over.
    home = tmp_path_factory.mktemp("life") / "a home: überall, $HOME"
    return clean_environment() | MEMORY | {"IMGRET_HOME": str(home)}


@pytest.fixture(scope="module")
def settings(env: dict[str, str]) -> Iterator[Settings]:
    read = load_settings(env=env)
    yield read
    lifecycle.stop(read, within_s=20)


@pytest.fixture(scope="module")
def taken_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind((host.LOCALHOST, 0))
        held.listen()
        yield held.getsockname()[1]


def start(env: dict[str, str], taken_port: int) -> subprocess.Popen[str]:
    """A starter in a process group of its own, as a shell gives each of its jobs."""
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


def ask(found: Connection, query: LiteralString) -> list[object]:
    with GraphDatabase.driver(found.uri, auth=(found.username, found.password)) as driver:
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


def test_killed_and_interrupted_starters_leave_one_server_that_all_later_ones_share(
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
    said = [process.communicate(timeout=WITHIN_S) for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    assert said[0][0] == said[1][0]

    found = lifecycle.status(settings)
    assert found is not None
    assert said[0][0].split() == [str(found.pid), found.uri]
    assert found.uri != f"bolt://127.0.0.1:{taken_port}"
    if sys.platform == "linux":
        assert processes_of(settings) == [found.pid]


def test_only_the_written_password_opens_it(settings: Settings) -> None:
    found = lifecycle.ensure_running(settings)
    folder = ServerFolder(settings)
    assert ask(found, "RETURN gds.version()") == ["2.26.0"]
    with pytest.raises(AuthError):
        ask(Connection(found.uri, found.username, "neo4j"), "RETURN 1")
    assert folder.secret.stat().st_mode & 0o777 == 0o600
    assert set(login.read_secret(folder)) == {"password"}
    logs = "".join(path.read_text(errors="replace") for path in folder.log.parent.iterdir())
    assert found.password not in logs
    if sys.platform == "linux":
        assert found.password.encode() not in _read(Path(f"/proc/{found.pid}/cmdline"))
        assert found.password.encode() not in _read(Path(f"/proc/{found.pid}/environ"))


def test_it_listens_on_this_machine_only_and_serves_the_browser(settings: Settings) -> None:
    from urllib.request import urlopen

    found = lifecycle.ensure_running(settings)
    with urlopen(lifecycle.browser_url(found, "RETURN 1"), timeout=20) as page:  # noqa: S310 - our own address
        assert b"Neo4j Browser" in page.read()
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=False).stdout
    ours = [line.split()[3] for line in listening.splitlines() if f"pid={found.pid}," in line]
    assert all("127.0.0.1" in address for address in ours)


def test_a_caller_of_a_running_server_starts_nothing_and_a_pipe_ends(
    settings: Settings, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lifecycle.ensure_running(settings)
    with monkeypatch.context() as watched:
        # A caller costs reading a file and checking a process, and neither the lock nor the jars.
        watched.setattr(lifecycle.locks, "hold", pytest.fail)
        watched.setattr(lifecycle, "assemble", pytest.fail)
        found = lifecycle.ensure_running(settings)
    command = shlex.join([sys.executable, "-c", STARTER, "7687"])
    piped = subprocess.run(["sh", "-c", f"{command} | cat"], env=env, capture_output=True, text=True, timeout=120)
    assert piped.stdout.split() == [str(found.pid), found.uri]


def test_a_server_that_nobody_recorded_is_found_again(settings: Settings) -> None:
    found = lifecycle.ensure_running(settings)
    ServerFolder(settings).run_file.unlink()
    assert lifecycle.status(settings) is None
    assert lifecycle.ensure_running(settings) == found


def test_after_kill_9_it_starts_again_with_its_data_and_stops_when_told(settings: Settings) -> None:
    found = lifecycle.ensure_running(settings)
    ask(found, "CREATE (:Kept {number: 7})")
    assert found.pid is not None
    os.kill(found.pid, signal.SIGKILL)
    wait_until(lambda: host.process_start(found.pid or 0) is None)
    again = lifecycle.ensure_running(settings, ready_within_s=WITHIN_S)
    assert again.pid != found.pid
    assert again.password == found.password
    assert ask(again, "MATCH (n:Kept) RETURN n.number") == [7]

    # Right after a recovery the server may sit a clean stop out; killing it must do as well.
    assert lifecycle.stop(settings, within_s=15) is True
    assert host.process_start(again.pid or 0) is None
    assert lifecycle.status(settings) is None
    assert lifecycle.stop(settings) is False


def test_ports_that_another_homes_server_took_meanwhile_are_left_to_it(
    env: dict[str, str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = lifecycle.ensure_running(settings, ready_within_s=WITHIN_S)
    assert there.http_port is not None
    # Both looked for free ports at the same moment: those of the other were still free then.
    chosen = [(int(there.uri.rpartition(":")[2]), there.http_port)]
    free_ports = lifecycle.free_ports
    monkeypatch.setattr(lifecycle, "free_ports", lambda: chosen.pop() if chosen else free_ports())
    other = load_settings(env=env | {"IMGRET_HOME": str(tmp_path / "other")})
    try:
        found = lifecycle.ensure_running(other, ready_within_s=WITHIN_S)
        assert not chosen
        assert found.uri != there.uri
        assert found.http_port != there.http_port
        assert found.pid != there.pid
        for one in (there, found):
            with GraphDatabase.driver(one.uri, auth=(one.username, one.password)) as driver:
                driver.verify_connectivity()
    finally:
        lifecycle.stop(other, within_s=20)
