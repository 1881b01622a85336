"""The parquet tables: writing and reading files, their paths, and pandas as a reader of all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DiskFullError, TableError
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import write_pictures
from imgret_tests.support.tree import put

TABLE = pa.table({"path": ["a", "b", None], "status": ["ok", "empty", "ok"]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "some.parquet"


def test_a_table_is_read_back_with_its_metadata(file: Path) -> None:
    tables.write(file, TABLE, {"space": "x-1", "root": "/Zürich"})
    assert tables.read(file).equals(TABLE)
    assert tables.read(file, ["status"]).column_names == ["status"]
    assert tables.read_metadata(file) == {"space": "x-1", "root": "/Zürich"}
    assert tables.count_rows(file) == 3


def test_an_empty_table_keeps_its_schema(file: Path) -> None:
    tables.write(file, tables.PAIRS_SCHEMA.empty_table(), {})
    assert tables.read(file).schema.equals(tables.PAIRS_SCHEMA)
    assert tables.count_rows(file) == 0
    assert pd.read_parquet(file).columns.tolist() == ["path_a", "path_b", "score"]


def test_a_table_written_in_pieces_appears_at_the_end(file: Path) -> None:
    with tables.writer(file, TABLE.schema, {}) as writer:
        writer.write_table(TABLE)
        writer.write_table(TABLE)
        assert not file.exists()
    assert tables.count_rows(file) == 6


def write_half(file: Path, error: Exception) -> NoReturn:
    with tables.writer(file, TABLE.schema, {}) as writer:
        writer.write_table(TABLE)
        raise error


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("a bad row"), ValueError), (OSError(28, "No space left"), DiskFullError)]
)
def test_an_unfinished_table_leaves_the_old_one(file: Path, error: Exception, kind: type[Exception]) -> None:
    tables.write(file, TABLE, {"made": "earlier"})
    old = file.read_bytes()
    with pytest.raises(kind):
        write_half(file, error)
    assert file.read_bytes() == old
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk_is_noticed_while_the_file_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow passes on the number of the operating system's error."""
    file.parent.mkdir()
    original = tables.CheckedParquetWriter

    def write_to_full_disk(_: Path, *rest: Any, **options: Any) -> Any:
        return original(Path("/dev/full"), *rest, **options)

    monkeypatch.setattr(tables, "CheckedParquetWriter", write_to_full_disk)
    with pytest.raises(DiskFullError, match="No room on the disk"):
        tables.write(file, pa.table({"n": np.arange(100_000)}), {})


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: b"", lambda data: b"not parquet" * 9])
def test_a_damaged_file_is_an_error_with_the_remedy(file: Path, damage: Callable[[bytes], bytes]) -> None:
    tables.write(file, TABLE, {})
    file.write_bytes(damage(file.read_bytes()))
    for read in (tables.read, tables.read_metadata, tables.count_rows):
        with pytest.raises(TableError, match=r"some\.parquet can't be read .*run `imgret run`"):
            read(file)


def test_a_missing_table_is_an_error_that_names_the_asset(file: Path) -> None:
    with pytest.raises(TableError, match=r"The manifest of shard 03 is missing \(.*\).*materialise `raw_images`"):
        tables.require(file, "The manifest of shard 03", "raw_images")
    tables.write(file, TABLE, {})
    assert tables.require(file, "x", "y") == file


def test_where_equal_keeps_the_order_and_drops_nulls() -> None:
    assert tables.where_equal(TABLE, "status", "ok")["path"].to_pylist() == ["a", None]
    assert tables.where_equal(TABLE, "path", "b")["status"].to_pylist() == ["empty"]
    assert tables.where_equal(TABLE.slice(0, 0), "path", "b").num_rows == 0


def test_paths_of_tables(tmp_path: Path) -> None:
    paths = [
        tables.manifest_path(tmp_path, "0a"),
        tables.embeddings_path(tmp_path, "m-1", "0a"),
        tables.pairs_path(tmp_path, "m-1"),
    ]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "manifest/shard=0a.parquet",
        "embeddings/model=m-1/shard=0a.parquet",
        "pairs/model=m-1/pairs.parquet",
    ]


@pytest.fixture
def filled(home: Home, images: Path) -> Home:
    """A home with tables of two embedding spaces, with rows that are not ok, and the leftover of a killed run."""
    write_pictures(images, 20)
    put(images, "broken.jpg", b"not an image")
    refresh_manifest(home)
    for model in ("fake", "other"):
        embedder = FakeEmbedder(model)
        refresh_embeddings(home, embedder)
        refresh_pairs(home, embedder.space.id, 0.5)
    (home.warehouse / "manifest" / ".shard=00.parquet.tmp").write_bytes(b"half-written")
    return home


def test_pandas_opens_every_table(filled: Home) -> None:
    files = [file for file in filled.warehouse.rglob("*.parquet") if not file.name.startswith(".")]
    assert len(files) == 4 + 2 * 4 + 2
    for file in files:
        assert len(pd.read_parquet(file)) == tables.count_rows(file)


@pytest.mark.parametrize(("folder", "rows"), [("manifest", 21), ("embeddings", 40), ("pairs", None)])
def test_pandas_opens_every_folder(filled: Home, folder: str, rows: int | None) -> None:
    whole = pd.read_parquet(filled.warehouse / folder)
    parts = [tables.count_rows(file) for file in (filled.warehouse / folder).rglob("*.parquet") if file.name[0] != "."]
    assert len(whole) == sum(parts)
    assert rows in (None, len(whole))
    if folder != "manifest":
        assert sorted(whole["model"].unique()) == sorted(
            [FakeEmbedder("fake").space.id, FakeEmbedder("other").space.id]
        )


def test_pandas_opens_the_folder_of_one_space(filled: Home) -> None:
    space = FakeEmbedder("fake").space.id
    frame = pd.read_parquet(filled.warehouse / "embeddings" / f"model={space}")
    assert len(frame) == 20
    assert {len(vector) for vector in frame["embedding"]} == {48}
