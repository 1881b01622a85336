"""The server of a home on a disk that is really full, and servers that nothing records; a script stands for Java."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server import host, lifecycle, server_process
from imgret_assets.domain.neo4j_server.configuration import write_configuration
from imgret_assets.domain.neo4j_server.jars import JarFolder
from imgret_assets.domain.neo4j_server.run_file import RunFile, ServerFolder, read_run_file
from imgret_assets.domain.neo4j_server.server_process import end_process, find_servers, is_server_of, spawn
from imgret_assets.errors import DiskFullError, HomeError
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.full_disk import SmallDisk, small_disk


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
