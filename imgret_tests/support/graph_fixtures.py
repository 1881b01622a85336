"""A chain whose graph is in the server under test, and looks at that graph that share no code with what wrote it.

Belongs here: reading and judging the graph, pictures that spread over all cosines. Not here: the server itself
(`conftest.py`), the chain and its reference (`imgret_tests.support.chain`).
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString, cast

import numpy as np
from neo4j import Driver
from PIL import Image

from imgret_assets.domain.analysis.groups_table import refresh_groups
from imgret_assets.domain.analysis.map_table import refresh_map
from imgret_assets.domain.duplicates.duplicates_table import refresh_duplicates
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.graph import duplicate_of
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.graph.image_nodes import sync_nodes
from imgret_assets.domain.graph.node_groups import sync_groups
from imgret_assets.domain.graph.similar_to import sync_relationships
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.similarity.neighbours_table import refresh_neighbours
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage.home import open_home
from imgret_assets.settings import Settings, load_settings
from imgret_tests.support.chain import THRESHOLD, Chain, assert_same_scores, assert_tables_right, cosine
from imgret_tests.support.fake_model import FakeEmbedder
from imgret_tests.support.neo4j_server import TestedServer
from imgret_tests.support.pictures import picture

Relationship = tuple[str, str]


@dataclass(frozen=True)
class Graph:
    """A chain, and a driver of its own that looks at what it made."""

    chain: Chain
    driver: Driver

    @property
    def root(self) -> Path:
        return self.chain.root

    def with_model(self, name: str) -> "Graph":
        """The same home and database under another fake model; `small` has another dimension."""
        return replace(self, chain=replace(self.chain, model=name))

    def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        query = cast("LiteralString", statement)  # written by a test
        return [record.data() for record in self.driver.execute_query(query, parameters).records]

    def nodes(self) -> list[dict[str, Any]]:
        """All properties of all :Image nodes."""
        return [row["n"] for row in self.rows("MATCH (n:Image) RETURN properties(n) AS n ORDER BY n.path")]

    def relationships(self) -> list[dict[str, Any]]:
        """Every SIMILAR_TO relationship, whatever it joins."""
        return self.rows(
            "MATCH (a)-[r:SIMILAR_TO]->(b) RETURN a.path AS a, b.path AS b, r.score AS score, r.model AS model"
        )

    def scores(self) -> dict[Relationship, float]:
        """Scores by pair, after checking that each is there once."""
        found = self.relationships()
        scores = {(row["a"], row["b"]): row["score"] for row in found}
        assert len(scores) == len(found), "a pair is joined twice"
        return scores

    def state(self) -> dict[str, Any]:
        [row] = self.rows("MATCH (s:ImgretState) RETURN properties(s) AS s")
        return row["s"]

    def vectors(self) -> dict[str, np.ndarray]:
        return {node["path"]: np.array(node["embeddings"]) for node in self.nodes()}

    def identities(self) -> dict[str, Any]:
        """What changes whenever anything is written: ids and times of all nodes, ids of all relationships."""
        nodes = self.rows("MATCH (n) RETURN elementId(n) AS id, properties(n) AS properties")
        relationships = self.rows("MATCH ()-[r]->() RETURN elementId(r) AS id, properties(r) AS properties")
        return {row["id"]: row["properties"] for row in [*nodes, *relationships]}

    def refresh(self, *, threshold: float = THRESHOLD) -> None:
        """What a run does, by the functions alone: several times as fast as through Dagster."""
        home, space = self.chain.home, self.chain.space
        refresh_manifest(home)
        refresh_embeddings(home, self.chain.embedder)
        with self.database() as database:
            sync_nodes(home, database, space)
            refresh_pairs(home, space.id, threshold)
            sync_relationships(home, database, space)

    def refresh_all(self) -> int:
        """The same with copies and groups, in tables and graph; pictures embedded."""
        return refresh_all(self.chain.settings, self.chain.embedder)

    def groups(self) -> dict[str, str | None]:
        """The property `group` of every node by path."""
        return {node["path"]: node.get("group") for node in self.nodes()}

    def copies(self) -> dict[Relationship, tuple[Any, ...]]:
        """Kind, distance and reason of every DUPLICATE_OF relationship by its two paths, each of them there once."""
        found = self.rows(
            "MATCH (a)-[r:DUPLICATE_OF]->(b) "
            "RETURN a.path AS a, b.path AS b, r.kind AS kind, r.distance AS distance, r.reason AS reason"
        )
        copies = {(row["a"], row["b"]): (row["kind"], row["distance"], row["reason"]) for row in found}
        assert len(copies) == len(found), "a copy is joined twice"
        return copies

    @contextmanager
    def database(self) -> Iterator[Database]:
        """An open connection, as the project's functions take it."""
        with open_database(self.chain.settings) as database:
            yield database

    def assert_right(self, *, threshold: float = THRESHOLD) -> None:
        """Tables, nodes with all properties, relationships, scores, index and state are what the files call for."""
        assert_tables_right(self.chain, threshold=threshold)
        expected = self.chain.expected(threshold=threshold)
        nodes = self.nodes()
        assert [node["path"] for node in nodes] == sorted(expected.nodes)
        for node in nodes:
            wanted = {key: value for key, value in expected.nodes[node["path"]].items() if value is not None}
            assert node.pop("indexed_at") is not None
            node.pop("group", None)
            embeddings = node.pop("embeddings")
            assert isinstance(embeddings, list)
            np.testing.assert_allclose(embeddings, expected.vectors[node["path"]], rtol=0, atol=1e-6)
            assert node == wanted
        assert_same_scores(self.scores(), expected.pairs)
        assert {row["model"] for row in self.relationships()} <= {self.chain.space.id}
        self._assert_state(threshold)

    def _assert_state(self, threshold: float) -> None:
        assert self.state() == {
            "home": self.chain.home.record.id,
            "root": str(self.root),
            "model": self.chain.space.id,
            "dim": self.chain.space.dim,
            "threshold": threshold,
            "state": "ready",
        }
        [index] = self.rows("SHOW VECTOR INDEXES YIELD name, properties, options, state")
        assert (index["name"], index["state"]) == ("image_embeddings", "ONLINE")
        assert index["properties"] == ["embeddings", "label"]
        assert index["options"]["indexConfig"]["vector.dimensions"] == self.chain.space.dim
        names = [row["name"] for row in self.rows("SHOW CONSTRAINTS YIELD name, type")]
        assert "image_path" in names

    def assert_sound(self) -> None:
        """What holds at any moment, also within a run: no mixture, no doubled pair, no score of old vectors."""
        kinds = self.rows("MATCH (n:Image) RETURN DISTINCT n.model AS model, size(n.embeddings) AS dim")
        assert len(kinds) <= 1, kinds
        vectors = self.vectors()
        for (a, b), score in self.scores().items():
            assert a < b
            assert abs(cosine(vectors[a], vectors[b]) - score) < 1e-6, (a, b)


def refresh_all(settings: Settings, embedder: FakeEmbedder, *, tables_only: bool = False) -> int:
    """Everything a run does, by the functions alone and in their order; pictures embedded."""
    before = embedder.embedded
    refresh_with(settings, embedder, tables_only=tables_only)
    return embedder.embedded - before


def refresh_with(settings: Settings, embedder: Embedder, *, tables_only: bool = False) -> None:
    """As `refresh_all`, with any embedder."""
    home, space = open_home(settings), embedder.space
    refresh_manifest(home)
    refresh_embeddings(home, embedder)
    with nullcontext() if tables_only else open_database(settings) as database:
        if database:
            sync_nodes(home, database, space)
        refresh_pairs(home, space.id, home.threshold)
        if database:
            sync_relationships(home, database, space)
        refresh_duplicates(home, space.id)
        refresh_neighbours(home, space.id)
        refresh_groups(home, space.id)
        refresh_map(home, space.id)
        if database:
            duplicate_of.sync_relationships(home, database, space)
            sync_groups(home, database, space)


def chain_on(server: TestedServer, folder: Path, *, images: Path | None = None) -> Chain:
    """A chain over four shards in a fresh home under `folder`, its graph in the server under test."""
    found = server.connection
    root = images or folder / "images"
    root.mkdir(parents=True, exist_ok=True)
    return Chain(
        load_settings(
            {
                "home": folder / "home",
                "images": root,
                "shards": 4,
                "lock_timeout_s": 20,
                "neo4j_uri": found.uri,
                "neo4j_username": found.username,
                "neo4j_password": found.password,
            }
        )
    )


def write_blends(root: Path, count: int, *, name: str = "blend", seeds: tuple[int, int] = (500, 501)) -> list[str]:
    """Pictures on the way from one to another, so that their cosines spread from little to 1; their relative paths."""
    paths = []
    for number in range(count):
        path = f"blends/{name}{number:03d}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.blend(picture(seeds[0]), picture(seeds[1]), number / max(1, count - 1)).save(root / path)
        paths.append(path)
    return paths
