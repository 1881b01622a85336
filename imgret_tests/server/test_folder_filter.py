"""The filter by folder on a real graph: every mode gives what lies in a folder and below it, and nothing beside."""

from collections import Counter

import numpy as np
import pytest
from neo4j import Driver

from imgret_assets.domain.graph import cypher
from imgret_assets.domain.graph.connection import Database
from imgret_assets.domain.search import find_similar as search
from imgret_assets.domain.search.find_similar import find_similar
from imgret_assets.domain.search.query import Hit, Query, QueryImage
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_tests.support.graph_fixtures import Graph, chain_on
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture_bytes

pytestmark = pytest.mark.server

# Around the folder trips/2024: names that begin like it, sorted before and after what lies in it.
FOLDERS = ("trips/2024", "trips/2024/May/a", "trips/2024/5", "trips/2024-05", "trips/2024 old", "trips/20240", "trips")
EACH = 12


@pytest.fixture(scope="module")
def graph(shared_database: Driver, tested_server: TestedServer, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Twelve pictures in each folder, and twelve in the root itself."""
    graph = Graph(chain_on(tested_server, tmp_path_factory.mktemp("folders")), shared_database)
    for number, folder in enumerate((*FOLDERS, "Trips/2024", "")):
        for picture in range(EACH):
            file = graph.root / folder / f"{picture:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture_bytes(100 * number + picture, family=picture % 4))
    graph.refresh()
    refresh_neighbours(graph.chain.home, graph.chain.space.id)
    return graph


def hits(graph: Graph, database: Database, **query: object) -> list[Hit]:
    image = QueryImage("other.png", picture_bytes(9999, family=1))
    asked = Query(**query)  # pyright: ignore[reportArgumentType]
    answer = find_similar(graph.chain.home, image, asked, database=database, embedder=graph.chain.embedder)
    assert answer.mode == asked.mode
    return answer.results


@pytest.mark.parametrize("mode", ["index", "exact", "rerank"])
@pytest.mark.parametrize("has_search", [True, False], ids=["search", "procedure"])
def test_every_mode_finds_all_below_a_folder(
    graph: Graph, mode: str, has_search: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_search:
        monkeypatch.setattr(Database, "has_search", False)
    # So few candidates that the index must be asked again where its range has other folders, too.
    monkeypatch.setattr(search, "MIN_CANDIDATES", 2)
    monkeypatch.setattr(search, "CANDIDATES_PER_HIT", 1)
    with graph.database() as database:
        for folder, inside in (
            ("trips/2024", FOLDERS[:3]),
            ("trips/2024/May/", FOLDERS[1:2]),
            ("trips/2024-05", FOLDERS[3:4]),
            ("trips", FOLDERS),
        ):
            found = hits(graph, database, mode=mode, folder=folder, top_k=1000)
            assert Counter(hit.label for hit in found) == dict.fromkeys(inside, EACH)
            best = hits(graph, database, mode=mode, folder=folder, top_k=5)
            assert best == found[:5]
        both = hits(graph, database, mode=mode, folder="trips", label="trips/2024", top_k=1000)
        assert Counter(hit.label for hit in both) == {"trips/2024": EACH}
        assert hits(graph, database, mode=mode, folder="trips/2024/5", label="trips", top_k=9) == []


def test_the_index_reads_the_range_of_the_folder_alone(graph: Graph) -> None:
    folder = next(each for each in cypher.FILTERS if each.parameter == "folder")
    statement = cypher.nearest_by_search("image_embeddings", (folder,))
    everything = {each.parameter: None for each in cypher.FILTERS}
    vector = np.ones(graph.chain.space.dim).tolist()
    with graph.database() as database:
        rows = database.rows(
            # The other condition is left out: what the index gives is seen.
            statement.replace(folder.condition, "true"),
            {**everything, "folder": "trips/2024/", "excluded_paths": [], "vector": vector}
            | {"candidates": 1000, "limit": 1000},
        )
    assert Counter(row["label"] for row in rows) == dict.fromkeys(FOLDERS[:5], EACH)
