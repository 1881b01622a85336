"""The refresh as `imgret run` executes it, where it does not need a database."""

import pytest

from imgret_assets.defs import execute_refresh
from imgret_assets.domain.graph.graph_record import NODES
from imgret_assets.domain.operations.backlog import read_backlog
from imgret_assets.domain.storage import tables
from imgret_tests.support.chain import Chain, assert_tables_right
from imgret_tests.support.fakes import FakeEmbedderResource
from imgret_tests.support.pictures import write_pictures


def test_a_run_of_the_tables_alone_asks_no_database(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(chain.root, 12)
    for name, value in {
        "IMGRET_HOME": str(chain.settings.home),
        "IMGRET_IMAGES": str(chain.root),
        # Nobody listens there.
        "NEO4J_URI": "bolt://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(execute_refresh, "EmbedderResource", lambda **_: FakeEmbedderResource(name=chain.model))
    result = execute_refresh.refresh(chain.settings, threshold=0.8, graph=False)
    assert_tables_right(chain)
    assert result.failed_checks == ()
    pairs = tables.count_rows(tables.pairs_path(chain.home.warehouse, chain.space.id))
    totals = result.totals
    assert (totals.images, totals.embedded, totals.nodes, totals.pairs, totals.relationships) == (
        12,
        12,
        None,
        pairs,
        None,
    )
    assert f"{pairs} pairs in the tables alone in {chain.space.id}" in totals.summary
    behind = [asset.asset for asset in read_backlog(chain.home, chain.space.id).behind]
    assert behind == [NODES, "similar_to", "duplicate_of", "decided", "image_node_groups"]
