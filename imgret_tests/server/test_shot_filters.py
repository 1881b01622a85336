"""Filters by date and camera on a real graph: every mode gives what brute force over the files gives."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from neo4j import Driver

from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Query, read_query
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_tests.support.exif_photos import exif_bytes, write_photo
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import write_pictures

pytestmark = pytest.mark.server

FIRST = datetime.fromisoformat("2023-12-30T23:59:00")
CAMERAS = (("Canon", "Canon EOS 5D"), ("NIKON CORPORATION", "NIKON D90"), ("Äpple", "Fön 7"))
NAMES = ("Canon EOS 5D", "NIKON D90", "Äpple Fön 7")


def taken_of(number: int) -> datetime:
    return FIRST + timedelta(hours=12 * number)


@pytest.fixture(scope="module")
def graph(shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """60 photos, every half day one, by three cameras in turn, and 80 pictures that nobody took."""
    graph = Graph(chain_on(tested_server, tmp_path_factory.mktemp("shots")), shared_database)
    write_pictures(graph.root, 80, families=4)
    for number in range(60):
        make, model = CAMERAS[number % 3]
        exif = exif_bytes(make=make, model=model, original=f"{taken_of(number):%Y:%m:%d %H:%M:%S}")
        write_photo(graph.root / f"photos/{number:02d}.jpg", 500 + number, exif, family=number % 5)
    graph.refresh()
    refresh_neighbours(graph.chain.home, graph.chain.space.id)
    return graph


def paths(graph: Graph, **query: Any) -> list[str]:
    image = read_query(graph.root / "photos/07.jpg", graph.root)
    with graph.database() as database:
        answer = find_similar(
            graph.chain.home,
            image,
            Query(top_k=100, exclude_self=False, **query),
            database=database,
            embedder=graph.chain.embedder,
        )
    return sorted(hit.path for hit in answer.results)


def expected(*, since: str = "0", until: str = "9", camera: int | None = None) -> list[str]:
    return [
        f"photos/{number:02d}.jpg"
        for number in range(60)
        if since <= taken_of(number).isoformat() <= until and camera in (None, number % 3)
    ]


def test_nodes_have_a_local_date_and_a_camera(graph: Graph) -> None:
    rows = graph.rows(
        "MATCH (n:Image) WHERE n.taken IS NOT NULL RETURN n.path AS path, toString(n.taken) AS taken, "
        "valueType(n.taken) AS type, n.camera AS camera ORDER BY path"
    )
    assert [row["path"] for row in rows] == expected()
    assert rows[0] == {
        "path": "photos/00.jpg",
        "taken": "2023-12-30T23:59:00",
        "type": "LOCAL DATETIME NOT NULL",
        "camera": NAMES[0],
    }
    assert {row["camera"] for row in rows} == set(NAMES)
    [others] = graph.rows("MATCH (n:Image) WHERE n.taken IS NULL AND n.camera IS NULL RETURN count(n) AS nodes")
    assert others == {"nodes": 80}


@pytest.mark.parametrize("mode", ["index", "exact", "rerank"])
@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"since": "2024"}, {"since": "2024-01-01T00:00:00"}),
        ({"until": "2023"}, {"until": "2023-12-31T23:59:59"}),
        ({"since": "2024-01-02", "until": "2024-01-02"},
         {"since": "2024-01-02T00:00:00", "until": "2024-01-02T23:59:59"}),
        ({"since": "2024-01-03 11:59:00", "until": "2024-01-03 23:59:00"},
         {"since": "2024-01-03T11:59:00", "until": "2024-01-03T23:59:00"}),
        ({"since": "2024-01-03 11:59:01", "until": "2024-01-04 11:59"},
         {"since": "2024-01-03T11:59:01", "until": "2024-01-04T11:59:59"}),
        ({"camera": "canon eos 5d"}, {"camera": 0}),
        ({"camera": "ÄPPLE  FÖN 7", "until": "2024-01"}, {"camera": 2, "until": "2024-01-31T23:59:59"}),
    ],
)  # fmt: skip
def test_filters_in_every_mode(graph: Graph, mode: str, query: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert expected(**wanted)
    assert paths(graph, mode=mode, **query) == expected(**wanted)


@pytest.mark.parametrize("mode", ["index", "exact", "rerank"])
@pytest.mark.parametrize("query", [{"since": "2030"}, {"camera": "canon"}, {"camera": "NIKON D90", "label": "family0"}])
def test_filters_that_nothing_matches(graph: Graph, mode: str, query: dict[str, Any]) -> None:
    assert paths(graph, mode=mode, **query) == []


def test_a_graph_of_an_earlier_version_gets_the_properties_and_keeps_its_vectors(graph: Graph) -> None:
    before = graph.identities()
    graph.rows("MATCH (n:Image) REMOVE n.taken, n.camera")
    with graph.database() as database:
        first = sync_nodes(graph.chain.home, database, graph.chain.space)
        assert sum(shard.updated for shard in first.shards) == 60
        assert sum(shard.replaced + shard.created + shard.deleted for shard in first.shards) == 0
        again = sync_nodes(graph.chain.home, database, graph.chain.space)
        assert sum(shard.writes for shard in again.shards) == 0
    after = graph.identities()
    # The state node says that relationships may not be complete yet.
    assert {key for key in before if before[key] != after[key]} <= {
        key for key, properties in before.items() if "threshold" in properties
    }
