"""Kept tables: read once while the file is the same, and again as soon as it is another."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from imgret_assets.domain.storage import kept_tables, tables
from imgret_assets.domain.storage.checked_parquet import CheckedParquetFile
from imgret_assets.domain.storage.kept_tables import keep_tables
from imgret_assets.errors import TableError

TABLE = pa.table({"path": ["a", "b"], "status": ["ok", "ok"]})
CHANGED = pa.table({"path": ["c", "b"], "status": ["ok", "ok"]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tables.write(tmp_path / "some.parquet", TABLE, {"space": "x-1"})
    return tmp_path / "some.parquet"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each file is opened for reading."""
    counted: Counter[str] = Counter()

    class Counting(CheckedParquetFile):
        def __init__(self, path: Path) -> None:
            counted[path.name] += 1
            super().__init__(path)

    monkeypatch.setattr(tables, "CheckedParquetFile", Counting)
    return counted


def read(file: Path) -> tuple[Any, ...]:
    return tables.read(file, ["path"])["path"].to_pylist(), tables.read_metadata(file)


def test_a_file_is_read_once_within_the_block_and_again_after_it(file: Path, opened: Counter[str]) -> None:
    with keep_tables():
        with keep_tables():
            assert [read(file) for _ in range(3)] == [(["a", "b"], {"space": "x-1"})] * 3
        assert read(file) == (["a", "b"], {"space": "x-1"})
        assert opened["some.parquet"] == 2, "once for the rows, once for the metadata"
        assert tables.read(file).equals(TABLE)
        assert tables.read(file, ["status"]).column_names == ["status"]
    before = opened["some.parquet"]
    read(file)
    assert opened["some.parquet"] == before + 2


def test_a_replaced_file_is_read_again(file: Path) -> None:
    with keep_tables():
        read(file)
        times = file.stat()
        tables.write(file, CHANGED, {"space": "x-2"})
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert read(file) == (["c", "b"], {"space": "x-2"})


def test_a_file_changed_in_its_place_is_read_again(file: Path) -> None:
    with keep_tables():
        read(file)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        with pytest.raises(TableError, match="can't be read"):
            read(file)
        file.unlink()
        with pytest.raises(TableError):
            read(file)


def test_a_caller_cannot_change_kept_metadata(file: Path) -> None:
    with keep_tables():
        tables.read_metadata(file)["space"] = "changed"
        assert tables.read_metadata(file) == {"space": "x-1"}


def test_what_is_kept_is_limited(tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_tables, "MAX_BYTES", int(2.5 * TABLE.select(["path"]).nbytes))
    names = ["one.parquet", "two.parquet", "three.parquet"]
    for name in names:
        tables.write(tmp_path / name, TABLE, {})
    with keep_tables():
        for name in [*names, *reversed(names)]:
            tables.read(tmp_path / name, ["path"])
        assert opened == {"one.parquet": 2, "two.parquet": 1, "three.parquet": 1}
        monkeypatch.setattr(kept_tables, "MAX_TABLE_BYTES", 1)
        for _ in range(2):
            tables.read(tmp_path / "two.parquet", ["status"])
        assert opened["two.parquet"] == 3, "a large table is not kept"
