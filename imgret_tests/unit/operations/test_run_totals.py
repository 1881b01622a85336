from pathlib import Path

import pytest

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.graph import cypher
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations.run_totals import Totals, count_totals
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import TableError
from imgret_tests.support.canned import CannedDatabase
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.pictures import picture_bytes
from imgret_tests.support.tree import put, put_pictures

DATABASE = CannedDatabase({cypher.COUNT_IMAGES: [{"nodes": 6}], cypher.COUNT_SIMILAR_TO: [{"relationships": 15}]})
SPACE = FakeEmbedder().space.id


@pytest.fixture
def filled(home: Home, images: Path) -> Home:
    put_pictures(images, range(6))
    put(images, "half.png", picture_bytes(7)[:-200])
    put(images, "broken.jpg", b"no picture")
    refresh_manifest(home)
    refresh_embeddings(home, FakeEmbedder())
    refresh_pairs(home, SPACE, -1.0)
    return home


def test_totals_count_what_tables_and_graph_hold(filled: Home) -> None:
    """Usable are those ok in both tables: that a file is truncated shows only in the second."""
    found = count_totals(filled, DATABASE, SPACE, embedded=2, seconds=1.2345)
    assert found == Totals(8, 6, 2, 6, 15, 15, SPACE, 1.2345)
    assert found.as_json() == {
        "images": 8,
        "usable": 6,
        "embedded": 2,
        "nodes": 6,
        "pairs": 15,
        "relationships": 15,
        "model": SPACE,
        "seconds": 1.23,
    }


def test_the_summary_is_one_line() -> None:
    assert Totals(1234, 1200, 5, 1200, 10, 10, "m-12345678", 3.21).summary == (
        "1,234 images (1,200 usable, 5 embedded now), 1,200 nodes, 10 relationships in m-12345678, 3.2 s"
    )


def test_a_missing_table_is_named(filled: Home) -> None:
    tables.pairs_path(filled.warehouse, SPACE).unlink()
    with pytest.raises(TableError, match=r"pairs\.parquet"):
        count_totals(filled, DATABASE, SPACE, embedded=0, seconds=0)
