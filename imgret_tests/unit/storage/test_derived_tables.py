"""Tests of the check that a table was made from the present embeddings."""

from pathlib import Path
from typing import Any

import pytest

from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.derived_tables import DERIVED_TABLES, DUPLICATES, NEAREST, PAIRS, DerivedTable
from imgret_assets.domain.storage.table_metadata import DuplicatesMetadata, NearestMetadata
from imgret_assets.errors import StaleTableError, TableError

SPACE = "m-1"
METADATA = NearestMetadata(space=SPACE, coverage="now", kept=20)


def write(warehouse: Path, metadata: dict[str, str]) -> None:
    tables.write(tables.nearest_path(warehouse, SPACE), tables.NEAREST_SCHEMA.empty_table(), metadata)


def test_a_table_of_the_present_embeddings_is_current(tmp_path: Path) -> None:
    write(tmp_path, METADATA.as_metadata())
    assert NEAREST.current_metadata(tmp_path, SPACE, "now") == METADATA
    assert NEAREST.require_current(tmp_path, SPACE, "now") == METADATA


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(METADATA.as_metadata() | {"coverage": "before"}, id="other embeddings"),
        pytest.param(METADATA.as_metadata() | {"space": "m-2"}, id="other space"),
        pytest.param({}, id="no metadata"),
    ],
)
def test_a_table_of_other_embeddings_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    write(tmp_path, metadata)
    assert NEAREST.current_metadata(tmp_path, SPACE, "now") is None
    with pytest.raises(
        StaleTableError,
        match=r"^The nearest neighbours table is older than the embeddings\. .*materialise `nearest_neighbours`, or",
    ):
        NEAREST.require_current(tmp_path, SPACE, "now")


def test_the_duplicates_table_of_another_space_is_refused(tmp_path: Path) -> None:
    metadata = DuplicatesMetadata(space="m-2", coverage="now", method="", images=0, pending=0)
    tables.write(tables.duplicates_path(tmp_path), tables.DUPLICATES_SCHEMA.empty_table(), metadata.as_metadata())
    assert DUPLICATES.current_metadata(tmp_path, SPACE, "now") is None
    assert DUPLICATES.current_metadata(tmp_path, "m-2", "now") == metadata


@pytest.mark.parametrize("table", DERIVED_TABLES, ids=lambda table: table.asset)
def test_a_missing_table_is_named_with_its_asset(tmp_path: Path, table: DerivedTable[Any]) -> None:
    assert table.metadata(tmp_path, SPACE) is None
    with pytest.raises(TableError, match=rf"^The {table.title} is missing .*materialise `{table.asset}`"):
        table.require_current(tmp_path, SPACE, "now")


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    path = PAIRS.path(tmp_path, SPACE)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"torn")
    with pytest.raises(TableError, match=r"pairs\.parquet can't be read"):
        PAIRS.current_metadata(tmp_path, SPACE, "now")
