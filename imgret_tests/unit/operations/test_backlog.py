"""What is behind in a home, layer by layer, and that it costs no rows where nothing was written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from imgret_assets.domain.analysis.threshold_report import refresh_threshold_report
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.graph.graph_record import graph_inputs, node_entry, outdated_entries, recorded
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.operations import backlog as module
from imgret_assets.domain.operations.backlog import CURRENT, DAMAGED, MISSING, OLDER, Backlog, read_backlog
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import DatabaseError, ForeignDatabaseError
from imgret_tests.support.caught_up import catch_up, record_graph
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.graph_fixtures import refresh_all
from imgret_tests.support.pictures import picture_bytes, write_pictures

GRAPH = ["image_nodes", "similar_to", "duplicate_of", "decided", "image_node_groups"]
TABLES = ["similarity_pairs", "nearest_neighbours", "duplicates", "image_groups", "image_map", "similarity_report"]


@pytest.fixture
def embedder() -> FakeEmbedder:
    return FakeEmbedder()


@pytest.fixture
def built(home: Home, embedder: FakeEmbedder, settled: None) -> Home:
    """A home in which nothing is behind."""
    write_pictures(home.images, 12)
    catch_up(home, embedder)
    return home


def backlog_of(home: Home, embedder: FakeEmbedder) -> Backlog:
    return read_backlog(home, embedder.space.id)


def behind(home: Home, embedder: FakeEmbedder) -> list[str]:
    return [asset.asset for asset in backlog_of(home, embedder).behind]


def test_before_the_first_run_the_first_layers_are_missing(home: Home) -> None:
    found = read_backlog(home, None)
    assert [(asset.asset, asset.state) for asset in found.behind] == [("raw_images", MISSING), ("embeddings", MISSING)]
    assert found.shards == home.shards


def test_after_a_whole_run_nothing_is_behind(built: Home, embedder: FakeEmbedder) -> None:
    found = backlog_of(built, embedder)
    assert [asset.asset for asset in found.assets] == ["raw_images", "embeddings", *TABLES, *GRAPH]
    assert {asset.state for asset in found.assets} == {CURRENT}
    assert (found.summary, found.key, found.shards) == ("", "", [])


def test_each_step_of_a_run_leaves_the_layers_below_it_behind(built: Home, embedder: FakeEmbedder) -> None:
    built.images.local("new.png").write_bytes(picture_bytes(60))
    shard = shard_of("new.png", len(built.shards))
    refresh_manifest(built)
    found = backlog_of(built, embedder)
    assert [asset.asset for asset in found.behind] == ["embeddings", *TABLES, "image_nodes"]
    assert found.shards == [shard]
    assert found.summary.startswith(
        f"Behind: embeddings (older in 1 of {len(built.shards)} shards); similarity_pairs, "
    )
    refresh_embeddings(built, embedder)
    assert behind(built, embedder) == [*TABLES, *GRAPH]
    refresh_all(built.settings, embedder, tables_only=True)
    refresh_threshold_report(built, embedder.space.id)
    found = backlog_of(built, embedder)
    assert [asset.asset for asset in found.behind] == GRAPH
    assert found.shards == [shard]
    record_graph(built, embedder.space.id)
    assert behind(built, embedder) == []


def test_the_same_backlog_has_the_same_key_and_another_has_another(built: Home, embedder: FakeEmbedder) -> None:
    pairs = tables.pairs_path(built.warehouse, embedder.space.id)
    pairs.rename(built.path / "away")
    first = backlog_of(built, embedder).key
    assert first == backlog_of(built, embedder).key != ""
    pairs.write_bytes(b"no parquet")
    assert backlog_of(built, embedder).key not in ("", first)


@pytest.mark.parametrize("asset", TABLES)
def test_a_missing_or_damaged_table_is_behind(built: Home, embedder: FakeEmbedder, asset: str) -> None:
    table = next(table for table in module.DERIVED_TABLES if table.asset == asset)
    path = table.path(built.warehouse, embedder.space.id)
    path.unlink()
    state = {found.asset: found.state for found in backlog_of(built, embedder).behind}
    assert state.pop(asset) == MISSING
    assert set(state) <= set(GRAPH)
    path.write_bytes(b"no parquet")
    assert {found.asset: found.state for found in backlog_of(built, embedder).behind}[asset] == DAMAGED


def test_a_damaged_manifest_and_damaged_embeddings_are_behind(built: Home, embedder: FakeEmbedder) -> None:
    tables.embeddings_path(built.warehouse, embedder.space.id, "02").write_bytes(b"no parquet")
    tables.manifest_path(built.warehouse, "01").write_bytes(b"no parquet")
    states = {asset.asset: asset for asset in backlog_of(built, embedder).behind}
    assert (states["raw_images"].state, states["raw_images"].shards) == (DAMAGED, ("01",))
    assert (states["embeddings"].state, states["embeddings"].shards) == (DAMAGED, ("01", "02"))


@pytest.mark.parametrize("asset", ["image_groups", "image_map", "duplicates"])
def test_a_table_of_an_earlier_method_is_behind(built: Home, embedder: FakeEmbedder, asset: str) -> None:
    table = next(table for table in module.DERIVED_TABLES if table.asset == asset)
    path = table.path(built.warehouse, embedder.space.id)
    tables.write(path, tables.read(path), {**tables.read_metadata(path), "method": "an earlier one"})
    states = {found.asset: found for found in backlog_of(built, embedder).behind}
    assert (states[asset].state, states[asset].reason) == (
        OLDER,
        "made by the method of an earlier version or other settings",
    )


def test_rows_are_read_once_for_each_change(
    built: Home, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, files = tables.read, []

    def note_and_read(path: Path, columns: list[str] | None = None) -> pa.Table:
        files.append((path, columns))
        return read(path, columns)

    monkeypatch.setattr(tables, "read", note_and_read)
    assert behind(built, embedder) == []
    assert files
    assert not any("embedding" in (columns or ["embedding"]) for _, columns in files), "vectors are never read"
    files.clear()
    assert behind(built, embedder) == []
    assert files == []
    refresh_manifest(built)
    built.images.local("new.png").write_bytes(picture_bytes(61))
    refresh_manifest(built)
    files.clear()
    assert "embeddings" in behind(built, embedder)
    assert {path.name for path, _ in files} == {f"shard={shard_of('new.png', len(built.shards))}.parquet"}


def test_a_note_that_is_damaged_or_cannot_be_written_changes_no_answer(
    built: Home, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert behind(built, embedder) == []
    [note] = (built.work / "backlog").iterdir()
    for text in ("{", "[]", '{"shards": {"00": {"state": "x"}}}', '{"shards": 3}'):
        note.write_text(text)
        assert behind(built, embedder) == []
    note.unlink()

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.atomic_files, "write_json", refuse)
    assert behind(built, embedder) == []


@contextmanager
def _database(settings: object) -> Iterator[None]:
    yield None


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ForeignDatabaseError("The database holds the graph of another home"), "the graph of another home"),
        (DatabaseError("Neo4j can't be reached"), None),
    ],
)
def test_what_a_running_server_reports_counts(
    built: Home, embedder: FakeEmbedder, monkeypatch: pytest.MonkeyPatch, failure: Exception, reason: str | None
) -> None:
    def check_owner(*_: object) -> None:
        raise failure

    monkeypatch.setattr(module.lifecycle, "status", lambda _: object())
    monkeypatch.setattr(module, "open_database", _database)
    monkeypatch.setattr(module, "check_owner", check_owner)
    assert behind(built, embedder) == (GRAPH if reason else [])
    assert (reason or "") in backlog_of(built, embedder).summary
    monkeypatch.setattr(module, "check_owner", lambda *_: None)
    assert "the database holds no graph" in backlog_of(built, embedder).summary
    assert backlog_of(built, embedder).shards == built.shards


def test_a_block_that_fails_records_nothing(built: Home, embedder: FakeEmbedder) -> None:
    space = embedder.space.id
    (built.work / "graph-record.json").unlink()
    with pytest.raises(DatabaseError), recorded(built, space, [node_entry("00")]):
        raise DatabaseError("Neo4j can't be reached")
    assert outdated_entries(built, space) == list(graph_inputs(built, space))
    with recorded(built, space, [node_entry("00")]):
        pass
    assert node_entry("00") not in outdated_entries(built, space)
    assert node_entry("01") in outdated_entries(built, space)
    assert node_entry("00") in outdated_entries(built, "another-space")


def test_tables_that_are_written_while_the_graph_is_written_are_behind_afterwards(
    built: Home, embedder: FakeEmbedder
) -> None:
    space = embedder.space.id
    with recorded(built, space, ["similar_to"]):
        pairs = tables.pairs_path(built.warehouse, space)
        tables.write(pairs, tables.read(pairs), tables.read_metadata(pairs))
    assert outdated_entries(built, space) == ["similar_to"]
