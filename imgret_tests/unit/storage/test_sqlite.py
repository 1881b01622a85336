"""Opening a SQLite file: all or none of a block's changes, failures of the disk under their names."""

import errno
import sqlite3
from pathlib import Path

import pytest

from imgret_assets.domain.storage import sqlite
from imgret_assets.domain.storage.sqlite import marks, transaction
from imgret_assets.errors import DiskFullError, HomeError

SCHEMA = ("CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY)",)


def names(path: Path) -> list[str]:
    with transaction(path, SCHEMA) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM names ORDER BY name")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "work" / "deep" / "names.sqlite"


def test_folder_and_tables_are_made_and_changes_kept(file: Path) -> None:
    with transaction(file, SCHEMA) as connection:
        connection.execute("INSERT INTO names VALUES ('a')")
    assert names(file) == ["a"]


def test_a_block_that_fails_leaves_nothing_and_closes(file: Path) -> None:
    lent: list[sqlite3.Connection] = []

    def put_and_fail() -> None:
        with transaction(file, SCHEMA) as connection:
            lent.append(connection)
            connection.execute("INSERT INTO names VALUES ('a')")
            raise KeyError("a failure of the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        put_and_fail()
    assert names(file) == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        lent[0].execute("SELECT 1")


def test_a_full_disk_is_named(file: Path) -> None:
    def put_too_much() -> None:
        with transaction(file, SCHEMA) as connection:
            # SQLite's own limit on pages fails as a full disk does.
            connection.execute("PRAGMA max_page_count = 1")
            connection.executemany("INSERT INTO names VALUES (?)", [(f"{n:0900}",) for n in range(50)])

    with pytest.raises(DiskFullError, match=r"No room on the disk for .*names\.sqlite.*goes on where it was"):
        put_too_much()
    assert names(file) == []


def test_other_failures_of_sqlite_stay_what_they_are(file: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), transaction(file, SCHEMA) as connection:
        connection.execute("SELECT * FROM others")


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EROFS, HomeError)])
def test_a_folder_that_cannot_be_made_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(kind, match=r"names\.sqlite"), transaction(file, SCHEMA):
        pytest.fail("it was opened")


def test_a_statement_takes_as_many_values_as_it_is_given(file: Path) -> None:
    values = [f"{number:03d}" for number in range(sqlite.AT_ONCE)]
    with transaction(file, SCHEMA) as connection:
        connection.executemany("INSERT INTO names VALUES (?)", [(value,) for value in values])
        found = connection.execute(f"SELECT count(*) FROM names WHERE name IN ({marks(values)})", values)  # noqa: S608
        assert found.fetchone() == (len(values),)
