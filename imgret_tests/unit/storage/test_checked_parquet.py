"""Checks within parquet files: no changed bit changes what is read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.checked_parquet import damage_mark
from imgret_assets.errors import TableError

DIM = 6


def embeddings_of(count: int) -> pa.Table:
    """Return an embeddings table with random vectors, one row of which has none."""
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(count, DIM)).astype(np.float32)
    is_null = np.arange(count) == 1
    columns = [
        [f"folder/{number}.png" for number in range(count)],
        [f"{number:064x}" for number in range(count)],
        ["damaged" if null else "ok" for null in is_null],
        ["no end" if null else None for null in is_null],
        ["openvino-cpu-float32"] * count,
    ]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM, mask=pa.array(is_null))
    arrays = [*(pa.array(column, pa.string()) for column in columns), embedding]
    return pa.Table.from_arrays(arrays, schema=tables.embeddings_schema(DIM))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "some.parquet"
    tables.write(path, embeddings_of(9), {"space": "x", "shards": "4"})
    return path


def read_by_batches(path: Path) -> pa.Table:
    with tables.open_parquet(path) as opened:
        return pa.Table.from_batches(opened.iter_batches(4), opened.schema_arrow)


def read_by_groups(path: Path) -> pa.Table:
    with tables.open_parquet(path) as opened:
        return pa.concat_tables(opened.read_row_group(group) for group in range(opened.num_row_groups))


READERS = [tables.read, read_by_batches, read_by_groups]


def test_a_file_is_read_as_it_was_written(file: Path) -> None:
    for read in READERS:
        assert read(file).equals(embeddings_of(9))
    assert tables.read_metadata(file) == {"space": "x", "shards": "4"}
    assert tables.count_rows(file) == 9
    # Other programs read it, too.
    assert pq.read_table(file).equals(embeddings_of(9))


def test_a_file_without_checks_is_read(file: Path) -> None:
    """An earlier version has written it."""
    pq.write_table(embeddings_of(9).replace_schema_metadata({"space": "x"}), file)
    for read in READERS:
        assert read(file).equals(embeddings_of(9))
    assert tables.read_metadata(file) == {"space": "x"}


@pytest.mark.parametrize(
    "step", [pytest.param(7, id="sample"), pytest.param(1, id="all", marks=pytest.mark.exhaustive)]
)
def test_no_changed_bit_changes_what_is_read(file: Path, step: int) -> None:
    intact = file.read_bytes()
    expected, metadata = embeddings_of(9), tables.read_metadata(file)
    named = 0
    for position in range(0, 8 * len(intact), step):
        changed = bytearray(intact)
        changed[position // 8] ^= 1 << position % 8
        file.write_bytes(changed)
        try:
            assert tables.read_metadata(file) == metadata, position
            assert read_by_batches(file).equals(expected), position
        except TableError:
            named += 1
    # Some bits mean nothing: statistics, the name of the program, offsets that are stored twice.
    assert named > 0.5 * 8 * len(intact) / step


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda data: b"\xa5" * len(data)], ids=range(3)
)
def test_damage_is_named_and_marked(
    file: Path, read: Callable[[Path], pa.Table], damage: Callable[[bytes], bytes]
) -> None:
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TableError, match=r"some\.parquet can't be read .*run `imgret run`, which makes it again"):
        read(file)
    assert damage_mark(file).exists()


def test_a_missing_file_is_named_and_not_marked(file: Path) -> None:
    file.unlink()
    with pytest.raises(TableError, match=r"some\.parquet can't be read"):
        tables.read(file)
    assert not damage_mark(file).exists()
