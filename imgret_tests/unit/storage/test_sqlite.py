"""Transactions on a SQLite file: all or none of the changes, failures of the disk as named errors."""

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgret_assets.domain.storage import sqlite
from imgret_assets.domain.storage.sqlite import discard_damaged, placeholders, row_digest, transaction
from imgret_assets.errors import DiskFullError, HomeError, TableError

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


# Damage

CHECKED = {"rows": (("name", "value", "data"), 1)}
ROWS = [(f"name {number}", number / 7, bytes([number]) * 60) for number in range(40)]


@pytest.fixture
def filled(file: Path) -> Path:
    """A file with a table of checked rows; two are of an earlier version, which had no checks."""
    with transaction(
        file, ("CREATE TABLE rows (name TEXT PRIMARY KEY, value REAL, data BLOB, digest INTEGER)",)
    ) as connection:
        values = [(*row, row_digest(row)) for row in ROWS[2:]] + [(*row, None) for row in ROWS[:2]]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", values)
    return file


def stored(path: Path) -> set[tuple[object, ...]]:
    with transaction(path, ()) as connection:
        return set(connection.execute("SELECT name, value, data FROM rows"))


def test_rows_without_damage_stay(filled: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert discard_damaged(filled, CHECKED) == set()
    assert stored(filled) == set(ROWS)
    assert discard_damaged(filled.with_name("missing.sqlite"), CHECKED) == set()
    assert not caplog.records


def test_a_changed_value_costs_its_row(filled: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(filled.read_bytes())
    assert data.count(ROWS[9][2]) == 1
    data[data.index(ROWS[9][2]) + 5] ^= 1
    filled.write_bytes(data)
    assert discard_damaged(filled, CHECKED) == {"rows"}
    assert stored(filled) == set(ROWS) - {ROWS[9]}
    [warning] = caplog.messages
    assert f"1 rows of rows in {filled} are damaged" in warning


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"\xa5" * len(data)], ids=["half", "garbage"]
)
def test_a_damaged_file_is_named_and_removed(
    filled: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    filled.write_bytes(damage(filled.read_bytes()))
    with pytest.raises(TableError, match=r"names\.sqlite can't be read .*remove it and run `imgret run`"):
        stored(filled)
    assert discard_damaged(filled, CHECKED) == {"rows"}
    assert not filled.exists()
    [warning] = caplog.messages
    assert f"{filled} is damaged" in warning


@pytest.mark.parametrize(
    "step", [pytest.param(997, id="sample"), pytest.param(31, id="all", marks=pytest.mark.exhaustive)]
)
def test_no_changed_bit_changes_a_checked_row(filled: Path, step: int) -> None:
    intact = filled.read_bytes()
    for position in range(0, 8 * len(intact), step):
        changed = bytearray(intact)
        changed[position // 8] ^= 1 << position % 8
        filled.write_bytes(changed)
        discard_damaged(filled, CHECKED)
        if filled.exists():
            assert {row for row in stored(filled) if row[0] not in {"name 0", "name 1"}} <= set(ROWS), position


def test_a_digest_is_of_the_values_as_sqlite_gives_them_back() -> None:
    assert row_digest([np.float64(0.25), np.int64(3), "x"]) == row_digest([0.25, 3, "x"])
    assert row_digest(["a", "bc"]) != row_digest(["ab", "c"])
    assert row_digest([None, ""]) != row_digest(["", None])
