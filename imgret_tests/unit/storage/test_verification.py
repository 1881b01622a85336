"""Verification of whole tables: what is read again, and what is removed."""

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from imgret_assets.domain.storage import tables, verification
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.verification import discard_damaged, find_damaged
from imgret_assets.errors import TableError

TABLE = pa.table({"number": np.arange(5000)})


@pytest.fixture
def files(home: Home) -> list[Path]:
    files = [home.warehouse / "some" / f"{number}.parquet" for number in range(3)]
    for file in files:
        tables.write(file, TABLE, {})
    return files


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were opened."""
    opened: list[Path] = []
    original = tables.open_parquet

    def open_parquet(path: Path) -> object:
        opened.append(path)
        return original(path)

    monkeypatch.setattr(tables, "open_parquet", open_parquet)
    return opened


def damage(file: Path, *, keep_time: bool = False) -> None:
    """Flip a bit of a number."""
    status = file.stat()
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    if keep_time:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_damaged_tables_are_removed_with_a_warning_each(
    home: Home, files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert discard_damaged(home, files) == []
    damage(files[1])
    assert discard_damaged(home, files) == [files[1]]
    assert [file.exists() for file in files] == [True, False, True]
    [warning] = caplog.messages
    assert warning.startswith(str(files[1]))
    assert warning.endswith("It is removed and made again.")
    assert discard_damaged(home, files) == []


def test_a_verified_table_is_read_again_only_after_it_was_written(
    home: Home, files: list[Path], opened: list[Path]
) -> None:
    discard_damaged(home, files)
    assert opened == files
    discard_damaged(home, files)
    assert opened == files
    tables.write(files[2], TABLE.slice(1), {})
    discard_damaged(home, files)
    assert opened == [*files, files[2]]
    discard_damaged(home, files, always=True)
    assert opened == [*files, files[2], *files]


def test_a_table_is_verified_again_after_a_week(home: Home, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits of a disk change without a new time of modification."""
    discard_damaged(home, files)
    damage(files[0], keep_time=True)
    assert discard_damaged(home, files) == []
    monkeypatch.setattr(verification, "VERIFIED_FOR_S", 0.0)
    assert discard_damaged(home, files) == files[:1]


def test_damage_that_a_reader_has_met_is_found_at_once(home: Home, files: list[Path]) -> None:
    discard_damaged(home, files)
    damage(files[0], keep_time=True)
    with pytest.raises(TableError):
        tables.read(files[0])
    assert discard_damaged(home, files) == files[:1]
    assert sorted(files[0].parent.iterdir()) == files[1:]


def test_a_mark_without_damage_is_removed(home: Home, files: list[Path]) -> None:
    """The table was written again after the reader."""
    content = files[0].read_bytes()
    damage(files[0])
    with pytest.raises(TableError):
        tables.read(files[0])
    files[0].write_bytes(content)
    assert discard_damaged(home, files) == []
    assert sorted(files[0].parent.iterdir()) == files


@pytest.mark.parametrize("record", ["{", "[]", '{"warehouse/some/0.parquet": [1, "x"]}'])
def test_a_damaged_record_means_that_everything_is_verified(home: Home, files: list[Path], record: str) -> None:
    discard_damaged(home, files)
    damage(files[0], keep_time=True)
    (home.work / "verified.json").write_text(record)
    assert [path for path, _ in find_damaged(home, files)] == files[:1]
    assert files[0].exists()


def test_a_home_that_may_only_be_read_is_verified(
    home: Home, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(files[0])

    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    assert [path for path, _ in find_damaged(home, files)] == files[:1]
