"""The record of a running server, and when it no longer counts."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from imgret_assets.domain.neo4j_server.run_file import Connection, ServerFolder, read_run_file
from imgret_assets.settings import Settings
from imgret_tests.unit.neo4j_server.conftest import Record

SECRET = "not-to-be-seen"


def test_a_running_server_is_read_back(folder: ServerFolder, record: Record, process: subprocess.Popen[bytes]) -> None:
    server = record(process.pid, port=7000)
    assert read_run_file(folder) == server
    expected = Connection("bolt://127.0.0.1:7000", "neo4j", SECRET, 7000, process.pid, "1.2")
    assert server.connection(SECRET) == expected


def test_an_ended_process_is_no_server(folder: ServerFolder, record: Record, process: subprocess.Popen[bytes]) -> None:
    record(process.pid)
    process.kill()
    process.wait()
    assert read_run_file(folder) is None


def test_a_later_process_of_the_same_number_is_no_server(
    folder: ServerFolder, record: Record, process: subprocess.Popen[bytes]
) -> None:
    folder.record(replace(record(process.pid), started="an earlier time"))
    assert read_run_file(folder) is None


def test_a_moved_home_keeps_its_server_and_a_copied_one_has_none(
    tmp_path: Path, settings: Settings, record: Record, process: subprocess.Popen[bytes]
) -> None:
    server = record(process.pid)
    moved = settings.home.rename(tmp_path / "moved")
    assert read_run_file(ServerFolder(replace(settings, home=moved))) == server
    subprocess.run(["cp", "-r", str(moved), str(tmp_path / "copied")], check=True)
    assert read_run_file(ServerFolder(replace(settings, home=tmp_path / "copied"))) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": "x"}', "null"])
def test_a_damaged_record_is_no_server(folder: ServerFolder, text: str) -> None:
    folder.run_file.write_text(text)
    assert read_run_file(folder) is None


def test_records_are_removed_whether_they_exist_or_not(folder: ServerFolder, record: Record) -> None:
    record(1)
    folder.pid_file.write_text("1")
    for _ in range(2):
        folder.remove_record()
        assert list(folder.run.iterdir()) == []


def test_a_first_start_is_known_by_the_system_database(folder: ServerFolder) -> None:
    assert not folder.has_started_before()
    (folder.data / "databases" / "system").mkdir(parents=True)
    assert folder.has_started_before()


def test_the_password_is_in_no_repr() -> None:
    assert SECRET not in repr(Connection("bolt://x", "neo4j", SECRET))


def test_the_record_has_no_password(folder: ServerFolder, record: Record) -> None:
    record(1)
    assert set(json.loads(folder.run_file.read_text())) == {
        *("pid", "started", "bolt_port", "http_port", "version", "gds_version", "folder", "state"),
    }
