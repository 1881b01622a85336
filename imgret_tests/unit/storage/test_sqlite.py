"""Transactions on a SQLite file: all or none of the changes, failures of the disk as named errors."""

import errno
import sqlite3
from pathlib import Path

import pytest

from imgret_assets.domain.storage import sqlite
from imgret_assets.domain.storage.sqlite import placeholders, transaction
from imgret_assets.errors import DiskFullError, HomeError

SCHEMA = ("CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY)",)


def names(path: Path) -> list[str]:
    with transaction(path, SCHEMA) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM names ORDER BY name")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "work" / "deep" / "names.sqlite"


def test_the_folder_and_the_tables_are_made_and_changes_are_kept(file: Path) -> None:
    with transaction(file, SCHEMA) as connection:
        connection.execute("INSERT INTO names VALUES ('a')")
    assert names(file) == ["a"]


def test_a_failed_block_changes_nothing_and_closes_the_connection(file: Path) -> None:
    opened: list[sqlite3.Connection] = []

    def insert_and_fail() -> None:
        with transaction(file, SCHEMA) as connection:
            opened.append(connection)
            connection.execute("INSERT INTO names VALUES ('a')")
            raise KeyError("the block's own failure")

    with pytest.raises(KeyError, match="the block's own"):
        insert_and_fail()
    assert names(file) == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_full_disk_is_a_named_error(file: Path) -> None:
    def insert_too_much() -> None:
        with transaction(file, SCHEMA) as connection:
            # A limit on pages fails as a full disk does.
            connection.execute("PRAGMA max_page_count = 1")
            connection.executemany("INSERT INTO names VALUES (?)", [(f"{n:0900}",) for n in range(50)])

    with pytest.raises(DiskFullError, match=r"No room on the disk for .*names\.sqlite.*goes on where it was"):
        insert_too_much()
    assert names(file) == []


def test_other_errors_of_sqlite_pass_unchanged(file: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), transaction(file, SCHEMA) as connection:
        connection.execute("SELECT * FROM missing")


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EROFS, HomeError)])
def test_a_folder_that_cannot_be_made_is_a_named_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(kind, match=r"names\.sqlite"), transaction(file, SCHEMA):
        pytest.fail("the file was opened")


def test_a_statement_takes_the_largest_number_of_values(file: Path) -> None:
    values = [f"{number:03d}" for number in range(sqlite.MAX_VALUES)]
    with transaction(file, SCHEMA) as connection:
        connection.executemany("INSERT INTO names VALUES (?)", [(value,) for value in values])
        rows = connection.execute(f"SELECT count(*) FROM names WHERE name IN ({placeholders(values)})", values)  # noqa: S608
        assert rows.fetchone() == (len(values),)
