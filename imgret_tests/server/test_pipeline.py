"""The whole chain on a real Neo4j, compared with a brute-force look at the files after whatever happened to them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from neo4j import Driver

from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.graph import cypher, similar_to
from imgret_assets.domain.graph import image_nodes as graph_module
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.graph.graph_state import adopt
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.graph.similar_to import sync_relationships
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.errors import ForeignDatabaseError, RootError, StaleTableError
from imgret_tests.support.chain import assert_same_scores
from imgret_tests.support.graph_fixtures import Graph, chain_on, write_blends
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes, write_pictures

pytestmark = pytest.mark.server


@pytest.fixture
def graph(tested_server: TestedServer, database: Driver, tmp_path: Path) -> Graph:
    """A chain over 30 pictures, not run yet: five families of four, ten blends; its graph in an empty database."""
    chain = chain_on(tested_server, tmp_path)
    write_pictures(chain.root, 20)
    write_blends(chain.root, 10)
    return Graph(chain, database)


@pytest.fixture
def built(graph: Graph) -> Graph:
    """The same, brought up to date once."""
    graph.refresh()
    return graph


@contextmanager
def writes(monkeypatch: pytest.MonkeyPatch, after_each: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """Every transaction that a `Database` sends to write, as text; `after_each` is called when it is committed."""
    sent: list[str] = []
    write = Database.write

    def recording(self: Database, *statements: tuple[str, Any], **named: Any) -> Any:
        done = write(self, *statements, **named)
        sent.append("; ".join(statement for statement, _ in statements))
        if after_each:
            after_each(sent[-1])
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", recording)
        yield sent


def change_files(root: Path) -> None:
    """One changed, one deleted, one renamed into another folder, one copied, two added."""
    (root / "family0/picture0000.png").write_bytes(picture_bytes(900, family=1))
    (root / "family1/picture0001.png").unlink()
    (root / "family2/picture0002.png").rename(root / "family3/renamed.png")
    shutil.copy(root / "family3/picture0003.png", root / "copied.png")
    write_pictures(root, 2, start=40)


def test_from_nothing_it_equals_brute_force(graph: Graph) -> None:
    outcome = graph.chain.run()
    graph.assert_right()
    assert outcome.embedded == 30
    assert outcome.failed_checks == []
    assert len(outcome.checks) == 10
    assert outcome.total("image_nodes", "created") == outcome.total("image_nodes", "dagster/partition_row_count") == 30
    [similar] = outcome.metadata("similar_to")
    assert similar["created"] == similar["dagster/row_count"] == len(graph.scores()) > 40


def test_a_second_run_writes_nothing(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    graph.chain.run()
    before = graph.identities()
    with writes(monkeypatch) as sent:
        outcome = graph.chain.run()
    assert sent == []
    assert graph.identities() == before
    assert outcome.embedded == 0
    assert outcome.failed_checks == []
    assert all(outcome.total("image_nodes", name) == 0 for name in ("created", "replaced", "updated", "deleted"))
    [similar] = outcome.metadata("similar_to")
    assert (similar["created"], similar["deleted"]) == (0, 0)


def test_changed_files_do_only_their_own_work(built: Graph) -> None:
    before = {node["path"]: node["indexed_at"] for node in built.nodes()}
    change_files(built.root)
    outcome = built.chain.run()
    built.assert_right()
    assert outcome.embedded == 3
    assert outcome.failed_checks == []
    totals = {name: outcome.total("image_nodes", name) for name in ("created", "replaced", "updated", "deleted")}
    assert totals == {"created": 4, "replaced": 1, "updated": 0, "deleted": 2}
    written = {"family0/picture0000.png", "family3/renamed.png", "copied.png"}
    written |= {"family0/picture0040.png", "family1/picture0041.png"}
    times = {node["path"]: node["indexed_at"] for node in built.nodes()}
    assert {path for path, at in times.items() if before.get(path) != at} == written


def test_incremental_equals_from_nothing(built: Graph, tested_server: TestedServer, tmp_path: Path) -> None:
    change_files(built.root)
    built.chain.run()
    fresh = Graph(chain_on(tested_server, tmp_path / "fresh", images=built.root), built.driver)
    assert fresh.chain.run(assets=["raw_images", "embeddings", "similarity_pairs"]).embedded > 25
    assert_same_scores(built.chain.pairs(), fresh.chain.pairs())
    assert_same_scores(built.scores(), fresh.chain.pairs())
    again, anew = built.chain.vectors(), fresh.chain.vectors()
    assert {path: vector.tolist() for path, vector in again.items()} == {
        path: vector.tolist() for path, vector in anew.items()
    }


def test_a_range_of_shards_with_the_change_is_enough(built: Graph) -> None:
    (built.root / "family0/picture0000.png").write_bytes(picture_bytes(900))
    shard = built.chain.expected().nodes["family0/picture0000.png"]["shard"]
    assert built.chain.run(shards=(shard, shard)).embedded == 1
    built.assert_right()


def test_at_every_moment_scores_belong_to_the_stored_vectors(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader between any two transactions finds no mixture, nothing doubled, no stale score, and is told."""
    monkeypatch.setattr(graph_module, "NODE_ROWS", 2)
    monkeypatch.setattr(similar_to, "RELATIONSHIP_ROWS", 7)
    states: list[str] = []

    def look(statement: str) -> None:
        graph.assert_sound()
        if statement in (cypher.MARK_STATE, cypher.WRITE_STATE) or statement.startswith("CREATE INDEX"):
            return
        states.extend(row["state"] for row in graph.rows("MATCH (s:ImgretState) RETURN s.state AS state"))

    for step, model in enumerate(["fake", "fake", "small"]):
        states.clear()
        with writes(monkeypatch, look) as sent:
            graph.with_model(model).chain.run()
        assert len(sent) > 10
        # Another model's groups and copies come when its graph is complete.
        assert set(states) == ({"rebuilding", "refreshing"} if step == 2 else {"refreshing"})
        assert states[0] == ("rebuilding" if step == 2 else "refreshing")
        assert graph.state()["state"] == "ready"
        change_files(graph.root) if step == 0 else None
    graph.with_model("small").assert_right()


def test_a_replaced_vector_loses_its_relationships_with_it(built: Graph) -> None:
    changed = "family0/picture0000.png"
    assert any(changed in pair for pair in built.scores())
    (built.root / changed).write_bytes(picture_bytes(901))
    built.chain.run(assets=["raw_images", "embeddings", "image_nodes"])
    assert not any(changed in pair for pair in built.scores())
    assert built.state()["state"] == "refreshing"
    built.assert_sound()
    built.chain.run(assets=["similarity_pairs", "similar_to"])
    built.assert_right()


def test_another_model_and_back_mixes_nothing_and_embeds_nothing_twice(built: Graph) -> None:
    small = built.with_model("small")
    there = small.chain.run()
    assert there.embedded == 30
    small.assert_right()
    assert small.chain.space.id != built.chain.space.id
    assert {row["rebuilt_from"] for row in there.metadata("image_nodes")} == {built.chain.space.id}
    back = built.chain.run()
    assert back.embedded == 0
    built.assert_right()


def test_files_that_changed_under_the_other_model_are_caught_up(built: Graph) -> None:
    built.with_model("small").chain.run()
    change_files(built.root)
    built.with_model("small").chain.run()
    assert built.chain.run().embedded == 3
    built.assert_right()


def test_a_model_of_the_same_dimension_is_another_model_all_the_same(built: Graph) -> None:
    other = built.with_model("other")
    assert other.chain.space.dim == built.chain.space.dim
    assert other.chain.run().embedded == 30
    other.assert_right()


def test_the_threshold_can_be_raised_and_lowered(built: Graph) -> None:
    for threshold in (0.97, 0.3):
        built.chain.run(threshold=threshold)
        built.assert_right(threshold=threshold)
    # Kept for the next run that names none.
    built.chain.run()
    built.assert_right(threshold=0.3)


def test_vectors_sent_as_lists_give_the_same_graph(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "takes_packed_vectors", False)
    graph.chain.run()
    graph.assert_right()


def test_an_empty_folder_gives_an_empty_graph(graph: Graph) -> None:
    shutil.rmtree(graph.root)
    graph.root.mkdir()
    assert graph.chain.run().result.success
    assert graph.nodes() == []
    assert graph.state()["state"] == "ready"


def test_a_single_picture_is_joined_to_nothing(graph: Graph) -> None:
    shutil.rmtree(graph.root)
    write_pictures(graph.root, 1)
    graph.chain.run()
    graph.assert_right()
    assert graph.scores() == {}


def test_unusable_files_have_no_nodes(graph: Graph) -> None:
    (graph.root / "cut.png").write_bytes(picture_bytes(1)[:-100])
    (graph.root / "empty.png").touch()
    graph.chain.run()
    assert [node["path"] for node in graph.nodes()] == sorted(graph.chain.vectors())
    assert "cut.png" in graph.chain.manifest()["path"].tolist()
    assert not {"cut.png", "empty.png"} & {node["path"] for node in graph.nodes()}


def test_a_root_that_is_gone_leaves_the_graph_alone(built: Graph) -> None:
    before = built.identities()
    built.root.rename(built.root.with_name("unmounted"))
    with pytest.raises(RootError, match="does not exist"):
        built.chain.run()
    assert built.identities() == before


def test_another_root_replaces_the_contents(built: Graph, tested_server: TestedServer, tmp_path: Path) -> None:
    other = chain_on(tested_server, tmp_path, images=tmp_path / "elsewhere")
    write_pictures(other.root, 8, start=200)
    other.run()
    Graph(other, built.driver).assert_right()


def test_images_that_nobody_accounts_for_are_refused_with_the_remedy(graph: Graph) -> None:
    graph.driver.execute_query("CREATE (:Image {path: 'mine.png', embeddings: [1.0]})")
    before = graph.identities()
    with pytest.raises(
        ForeignDatabaseError, match=r"holds 1 :Image nodes that no imgret home .*imgret db adopt --wipe"
    ):
        graph.chain.run()
    assert graph.identities() == before


def test_the_graph_of_another_home_is_refused_until_adopted(
    built: Graph, tested_server: TestedServer, tmp_path: Path
) -> None:
    other = Graph(chain_on(tested_server, tmp_path / "other"), built.driver)
    write_pictures(other.root, 6)
    before = built.identities()
    with pytest.raises(ForeignDatabaseError, match=rf"graph of another home \(built from {built.root}\)"):
        other.chain.run()
    # What writes relationships refuses for itself, whoever calls it.
    refresh_pairs(other.chain.home, other.chain.space.id, 0.8)
    with other.database() as database, pytest.raises(ForeignDatabaseError, match="imgret db adopt --wipe"):
        sync_relationships(other.chain.home, database, other.chain.space)
    assert built.identities() == before
    with other.database() as database:
        assert adopt(database) == 30
    other.chain.run()
    other.assert_right()


def test_a_database_that_two_homes_have_written_to_is_refused(built: Graph) -> None:
    built.driver.execute_query("CREATE (:ImgretState {home: 'another', state: 'ready'})")
    with pytest.raises(ForeignDatabaseError, match="the state of 2 homes"):
        built.chain.run()


def test_nodes_refuse_embeddings_older_than_the_manifest(built: Graph) -> None:
    before = built.identities()
    change_files(built.root)
    refresh_manifest(built.chain.home)
    with built.database() as database, pytest.raises(StaleTableError, match="older than its manifest"):
        sync_nodes(built.chain.home, database, built.chain.space)
    unchanged = {key: value for key, value in built.identities().items() if "state" not in value}
    assert unchanged == {key: value for key, value in before.items() if "state" not in value}


def test_relationships_refuse_pairs_older_than_the_embeddings(built: Graph) -> None:
    before = built.identities()
    change_files(built.root)
    refresh_manifest(built.chain.home)
    refresh_embeddings(built.chain.home, built.chain.embedder)
    with built.database() as database, pytest.raises(StaleTableError, match="pairs table is older than the embeddings"):
        sync_relationships(built.chain.home, database, built.chain.space)
    assert built.identities() == before


@pytest.mark.parametrize("count_changes", [True, False])
def test_relationships_refuse_nodes_older_than_the_pairs(built: Graph, count_changes: bool) -> None:
    (built.root / "family0/picture0000.png").write_bytes(picture_bytes(900, family=1))
    if count_changes:
        write_pictures(built.root, 1, start=50)
    home, space = built.chain.home, built.chain.space
    refresh_manifest(home)
    refresh_embeddings(home, built.chain.embedder)
    refresh_pairs(home, space.id, 0.8)
    said = "31 usable images" if count_changes else "images whose nodes have another vector"
    with built.database() as database, pytest.raises(StaleTableError, match=said):
        sync_relationships(home, database, space)
    built.assert_sound()
    assert built.chain.run().embedded == 0
    built.assert_right(threshold=0.8)


def test_relationships_refuse_a_graph_of_another_space(built: Graph) -> None:
    small = built.with_model("small")
    small.chain.run(assets=["embeddings", "similarity_pairs"])
    with small.database() as database, pytest.raises(StaleTableError, match="materialise `image_nodes`"):
        sync_relationships(small.chain.home, database, small.chain.space)
    built.assert_sound()
