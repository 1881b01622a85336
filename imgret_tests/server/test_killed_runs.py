"""kill -9 of a refresh wherever it hurts, then another refresh: the result is that of an undisturbed one.

And two refreshes at once. The killed ones run in processes of their own (`refresh_process.py`).
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from filelock import FileLock, Timeout
from neo4j import Driver

from imgret_assets.defs.instance.dagster_home import open_instance
from imgret_assets.domain.analysis.groups_table import read_groups
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.operations.reshard import reshard
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Query, QueryImage
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import open_home
from imgret_assets.errors import GraphRebuildingError, LockTimeoutError
from imgret_tests.support.graph_fixtures import Graph, Relationship, chain_on, refresh_all, write_blends
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes, write_pictures
from imgret_tests.support.refresh_process import Point, RefreshProcess
from imgret_tests.support.tree import put

pytestmark = pytest.mark.server

SHARDS = ["shard-00", "shard-01", "shard-02", "shard-03"]
WRITE = "imgret_assets.domain.graph.connection:Database.write"
# Of a server's transaction: between two statements of one.
STATEMENT = "neo4j:ManagedTransaction.run"
# The moment before a finished temporary file takes its place.
RENAME = "pathlib:Path.replace"
Start = Callable[..., RefreshProcess]


@dataclass(frozen=True)
class Kill:
    """Where a refresh is killed, which locks it holds there, and what a refresh must embed afterwards."""

    at: Point
    locks: list[str]
    embedded_after: int | None = None


# From nothing: 40 contents in 43 files, embedded in batches of 8 and kept after each.
FIRST = {
    "home record": Kill(Point("imgret_assets.domain.storage.atomic_files:write_json"), ["home", *SHARDS], 40),
    "opening files": Kill(Point("imgret_assets.domain.images.manifest:inspect_file", 7), SHARDS, 40),
    "second manifest": Kill(Point(RENAME, 2, "/manifest/"), SHARDS, 40),
    "after three batches": Kill(Point("imgret_tests.support.fake_model:FakeEmbedder.embed", 4), SHARDS, 16),
    "third embeddings table": Kill(Point(RENAME, 3, "/embeddings/"), SHARDS, 0),
    "the graph's first state": Kill(Point(WRITE, 1, "ImgretState"), ["graph", *SHARDS], 0),
    "writing nodes": Kill(Point(WRITE, 4, "MERGE (n:Image"), ["graph", *SHARDS], 0),
    "between nodes and pairs": Kill(Point("imgret_assets.domain.similarity.pairs_table:list_embeddings"), ["graph"], 0),
    "pairs table": Kill(Point(RENAME, 1, "pairs.parquet"), ["graph"], 0),
    "writing relationships": Kill(Point(WRITE, 3, "CREATE (a)-[r:SIMILAR_TO"), ["graph"], 0),
    "before it is ready": Kill(Point(WRITE, 2, "MERGE (s:ImgretState"), ["graph"], 0),
    "writing copies": Kill(Point(WRITE, 2, "[r:DUPLICATE_OF]->(b)"), ["graph"], 0),
    "groups table": Kill(Point(RENAME, 1, "groups.parquet"), ["graph"], 0),
    "writing groups": Kill(Point(WRITE, 3, "SET n.group"), ["graph"], 0),
}
# After a graph was there and files have changed.
CHANGED = {
    "within the transaction that replaces vectors": Kill(Point(STATEMENT, 1, "toFloatList"), ["graph", *SHARDS], 0),
    "deleting nodes": Kill(Point(WRITE, 1, "DETACH DELETE n"), ["graph", *SHARDS], 0),
    "within the transaction of new relationships": Kill(Point(STATEMENT, 1, "CREATE (a)-"), ["graph"], 0),
    "within the transaction of new copies": Kill(Point(STATEMENT, 1, "[r:DUPLICATE_OF]->(b)"), ["graph"], 0),
    "within the transaction of changed groups": Kill(Point(STATEMENT, 1, "SET n.group"), ["graph"], 0),
}
# After a graph was there, towards another model.
SWITCH = {
    "deleting relationships": Kill(Point(WRITE, 2, "LIMIT $batch_rows DELETE r"), ["graph", *SHARDS]),
    "deleting nodes": Kill(Point(WRITE, 2, "LIMIT $batch_rows DETACH DELETE n"), ["graph", *SHARDS]),
    "writing nodes": Kill(Point(WRITE, 3, "MERGE (n:Image"), ["graph", *SHARDS]),
    "writing relationships": Kill(Point(WRITE, 3, "CREATE (a)-[r:SIMILAR_TO"), ["graph"]),
}

# In the asset that had a pool of Dagster's once: what Dagster keeps of a killed run must not stop the next one.
EMBEDDING = {
    "after three batches": ("fake", FIRST["after three batches"].at),
    "converting a model": ("converted", Point("imgret_tests.support.fake_model:Conversion.convert")),
}
# Of the dagster.yaml that earlier versions have made.
EARLIER_POOLS = "concurrency:\n  pools:\n    default_limit: 1\n"


# `make test` kills at one point of every kind, `make test-all` at all of them.
ONLY_IN_ALL = {
    "opening files", "second manifest", "the graph's first state", "between nodes and pairs", "before it is ready",
    "writing copies", "groups table", "deleting nodes", "within the transaction of new copies",
}  # fmt: skip


def sampled(points: Iterable[str]) -> list[Any]:
    return [pytest.param(point, marks=pytest.mark.exhaustive if point in ONLY_IN_ALL else ()) for point in points]


@pytest.fixture
def graph(tested_server: TestedServer, database: Driver, tmp_path: Path) -> Graph:
    """A chain over 40 pictures and copies of three of them, not run yet."""
    chain = chain_on(tested_server, tmp_path)
    for number, path in enumerate([*write_blends(chain.root, 10)[:1], *write_pictures(chain.root, 30)[:2]]):
        put(chain.root, f"copies/again{number:04d}.png", (chain.root / path).read_bytes())
    return Graph(chain, database)


@pytest.fixture
def start(graph: Graph, tested_server: TestedServer) -> Iterator[Start]:
    """Starts refreshes of the graph's home in other processes; ends those that are left."""
    found, home = tested_server.connection, graph.chain.home
    env = {
        "IMGRET_HOME": str(home.path),
        "IMGRET_IMAGES": str(graph.root),
        "IMGRET_LOCK_TIMEOUT_S": "100",
        "NEO4J_URI": found.uri,
        "NEO4J_USERNAME": found.username,
        "NEO4J_PASSWORD": found.password,
    }
    started: list[RefreshProcess] = []

    def start(**options: object) -> RefreshProcess:
        started.append(RefreshProcess(env, **options))  # pyright: ignore[reportArgumentType] - handed on
        return started[-1]

    yield start
    for refresh in started:
        with contextlib.suppress(AssertionError):
            refresh.kill()


def killed(start: Start, graph: Graph, kill: Kill, *, model: str = "fake") -> None:
    """Run a refresh up to the point, see that it holds its locks there, and kill it."""
    refresh = start(stop_at=kill.at, model=model)
    refresh.go()
    refresh.expect("stopped")
    assert held_locks(graph) == sorted(kill.locks)
    refresh.kill()
    assert held_locks(graph) == []


def held_locks(graph: Graph) -> list[str]:
    """Names of the home's locks that somebody holds."""
    held = []
    for file in sorted(graph.chain.home.locks.glob("*.lock")):
        try:
            with FileLock(file).acquire(timeout=0):
                pass
        except Timeout:
            held.append(file.stem)
    return held


def change_files(root: Path) -> None:
    (root / "family0/picture0000.png").write_bytes(picture_bytes(900, family=1))
    (root / "family1/picture0001.png").unlink()
    (root / "family2/picture0002.png").rename(root / "family3/renamed.png")
    write_pictures(root, 2, start=60)
    put(root, "copies/another.png", (root / "family3/picture0003.png").read_bytes())


def assert_as_undisturbed(graph: Graph, embedded: int | None) -> None:
    """Another refresh finds everything free, does only what is left, and all is as after one from nothing."""
    done = graph.refresh_all()
    # A last batch of 8 may have been on its way to the disk.
    assert embedded is None or done in ((embedded, embedded + 8) if embedded == 16 else (embedded,))
    assert_as_from_nothing(graph)
    assert list((graph.chain.home.path / "warehouse").rglob(".*")) == []


def assert_as_from_nothing(graph: Graph) -> None:
    """Nodes and SIMILAR_TO as brute force has them; copies and groups as a fresh home over the same files has them."""
    graph.assert_right()
    copies, groups = from_nothing(graph)
    assert graph.copies() == copies
    assert len(copies) >= 3
    assert graph.groups() == groups
    assert any(groups.values())


_from_nothing: dict[tuple[object, ...], tuple[dict[Relationship, tuple[object, ...]], dict[str, str | None]]] = {}


def from_nothing(graph: Graph) -> tuple[dict[Relationship, tuple[object, ...]], dict[str, str | None]]:
    """Copies and groups of the tables that a fresh home makes of the graph's files; kept, since tests share files."""
    chain, root = graph.chain, graph.root
    key = (chain.model, *sorted((str(file.relative_to(root)), file.read_bytes()) for file in root.rglob("*.png")))
    if key not in _from_nothing:
        with tempfile.TemporaryDirectory() as folder:
            settings = replace(chain.settings, home=Path(folder))
            refresh_all(settings, chain.embedder, tables_only=True)
            rows = tables.read(tables.duplicates_path(Path(folder) / "warehouse")).to_pylist()
            copies = {
                (row["path_from"], row["path_keep"]): (row["kind"], row["distance"], row["reason"]) for row in rows
            }
            home = open_home(settings)
            groups = read_groups(home, chain.space.id, list_embeddings(home, chain.space.id).coverage)
        _from_nothing[key] = copies, groups
    return _from_nothing[key]


@pytest.mark.parametrize("point", sampled(FIRST))
def test_killed_from_nothing(graph: Graph, start: Start, point: str) -> None:
    killed(start, graph, FIRST[point])
    graph.assert_sound()
    assert_as_undisturbed(graph, FIRST[point].embedded_after)


@pytest.mark.parametrize("point", sampled(CHANGED))
def test_killed_after_changes(graph: Graph, start: Start, point: str) -> None:
    graph.refresh_all()
    change_files(graph.root)
    killed(start, graph, CHANGED[point])
    graph.assert_sound()
    assert graph.state()["state"] == "refreshing"
    assert_as_undisturbed(graph, CHANGED[point].embedded_after)


# `fake` is the way back: what was there before must not be taken for whole.
@pytest.mark.parametrize(
    ("point", "onward"),
    [
        ("deleting relationships", "small"),
        pytest.param("deleting nodes", "small", marks=pytest.mark.exhaustive),
        pytest.param("writing nodes", "small", marks=pytest.mark.exhaustive),
        ("writing nodes", "fake"),
        ("writing relationships", "small"),
    ],
)
def test_killed_on_the_way_to_another_model(graph: Graph, start: Start, point: str, onward: str) -> None:
    graph.refresh_all()
    killed(start, graph, SWITCH[point], model="small")
    graph.assert_sound()
    assert graph.state()["state"] == "rebuilding"
    image = QueryImage("query", picture_bytes(1))
    with graph.database() as database, pytest.raises(GraphRebuildingError, match="being rebuilt for small-"):
        find_similar(graph.chain.home, image, Query(), database=database, embedder=graph.chain.embedder)
    assert_as_undisturbed(graph.with_model(onward), 0)


def test_a_kill_in_the_middle_leaves_tables_that_anybody_can_read(graph: Graph, start: Start) -> None:
    killed(start, graph, FIRST["second manifest"])
    assert 0 < len(graph.chain.manifest()) < 43
    killed(start, graph, FIRST["third embeddings table"])
    assert len(graph.chain.manifest()) == 43
    assert 0 < len(graph.chain.vectors()) < 43


def test_killed_again_and_again_it_gets_there(graph: Graph, start: Start) -> None:
    for kill in FIRST.values():
        if kill.at.function == RENAME or "fake_model" in kill.at.function:
            killed(start, graph, replace(kill, at=replace(kill.at, nth=1)))
    assert_as_undisturbed(graph, 0)


def test_two_refreshes_of_a_fresh_home_at_once(graph: Graph, start: Start) -> None:
    """Both with Dagster's records in the same new place, as two `imgret run`s have them."""
    both = [start(lasting=True), start(lasting=True)]
    for refresh in both:
        refresh.go()
    totals = [refresh.expect("done") for refresh in both]
    graph.assert_right()
    assert sum(total["embedded"] for total in totals) == 40
    pairs = len(graph.scores())
    for total in totals:
        assert (total["images"], total["usable"], total["nodes"]) == (43, 43, 43)
        assert (total["pairs"], total["relationships"], total["model"]) == (pairs, pairs, graph.chain.space.id)
    with open_instance(graph.chain.settings) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2


def test_a_refresh_waits_for_one_that_is_on_its_way(graph: Graph, start: Start) -> None:
    first = start(stop_at=FIRST["writing nodes"].at)
    first.go()
    first.expect("stopped")
    second = start()
    second.go()
    assert not second.pipe.poll(1.0)
    first.kill()
    assert second.expect("done") == 0
    graph.assert_right()


def test_waiting_too_long_names_the_holder(graph: Graph, start: Start) -> None:
    first = start(stop_at=FIRST["opening files"].at)
    first.go()
    first.expect("stopped")
    impatient = replace(graph.chain, settings=replace(graph.chain.settings, lock_timeout_s=0.2))
    with pytest.raises(Exception, match=rf"held by process {first.process.pid} .*listing images"):
        impatient.run()


def test_a_killed_run_is_reported_as_failed_by_the_next(graph: Graph, start: Start) -> None:
    first = start(stop_at=FIRST["writing nodes"].at, lasting=True)
    first.go()
    first.expect("stopped")
    with open_instance(graph.chain.settings) as instance:
        [run] = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.STARTED
        first.kill()
        second = start(lasting=True)
        second.go()
        second.expect("done")
        statuses = {found.run_id: found.status for found in instance.get_runs()}
    assert statuses.pop(run.run_id) == dg.DagsterRunStatus.FAILURE
    assert list(statuses.values()) == [dg.DagsterRunStatus.SUCCESS]
    graph.assert_right()


@pytest.mark.parametrize("point", EMBEDDING)
def test_the_run_after_one_that_was_killed_while_embedding_completes(graph: Graph, start: Start, point: str) -> None:
    model, at = EMBEDDING[point]
    dagster_home = graph.chain.settings.dagster_home
    dagster_home.mkdir(parents=True)
    (dagster_home / "dagster.yaml").write_text(EARLIER_POOLS)
    first = start(stop_at=at, model=model, lasting=True)
    first.go()
    first.expect("stopped")
    first.kill()
    second = start(model=model, lasting=True)
    second.go()
    total = second.expect("done")
    assert (total["usable"], total["nodes"], total["model"].split("-")[0]) == (43, 43, model)


def test_a_reshard_waits_for_a_run_and_the_next_run_has_its_shards(graph: Graph, start: Start) -> None:
    """Both, and the runs before and after, started at once: none fails, and the last number of shards counts."""
    first = start(stop_at=FIRST["writing nodes"].at, lasting=True)
    first.go()
    first.expect("stopped")
    settings = replace(graph.chain.settings, shards=None, lock_timeout_s=0.2)
    with pytest.raises(LockTimeoutError, match=rf"layout is held by process {first.process.pid} .*refreshing"):
        reshard(open_home(settings), 6)
    first.kill()
    home = open_home(replace(settings, lock_timeout_s=100))
    second = start(lasting=True)
    with ThreadPoolExecutor(1) as pool:
        resharding = pool.submit(reshard, home, 6)
        second.go()
        assert resharding.result().shards == 6
    second.expect("done")
    third = start(lasting=True)
    third.go()
    assert third.expect("done")["nodes"] == 43
    resharded = replace(graph, chain=replace(graph.chain, settings=replace(graph.chain.settings, shards=6)))
    assert len(resharded.chain.home.shards) == 6
    resharded.assert_right()
