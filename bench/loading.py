"""The first load of a graph: by Bolt, as a run writes it, and by Neo4j's own import.

Belongs here: made-up tables of many images with as many relationships as are asked for, and the two ways to load them,
with and without vectors. Not here: what a graph answers (`bench.graph`).
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.graph import served, write_tables
from bench.homes import open_bench_home
from bench.report import Measure, Report
from imgret_assets.domain.embeddings.table_reader import list_embeddings
from imgret_assets.domain.graph import image_nodes, similar_to
from imgret_assets.domain.graph.connection import open_database
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.neo4j_server.offline_import import import_files
from imgret_assets.domain.operations.import_files import ARGUMENTS, export_for_import
from imgret_assets.domain.search import find_similar
from imgret_assets.domain.search.query import Query
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.domain.storage.table_metadata import PairsMetadata

THRESHOLD = 0.8


@dataclass(frozen=True)
class Sizes:
    """How much is measured: nodes, dimensions of their vectors, and relationships for each node."""

    nodes: int = 100_000
    dim: int = 1_280
    each: int = 10


def run(report: Report, work: Path, *, sizes: Sizes, say: Callable[[str], None]) -> None:
    """Measure once each, which takes minutes, and add to the report."""
    for vectors in (False, True):
        home = open_bench_home(
            work / f"loading-{vectors}",
            model="efficientnet_lite0",
            images=work,
            graph_vectors="yes" if vectors else "no",
        )
        space = replace(resolve(home).space, dim=sizes.dim)
        write_tables(home, space, np.random.default_rng(5).normal(size=(sizes.nodes, sizes.dim)).astype(np.float32))
        _write_pairs(home, space, sizes)
        _load(report, home, space, "with vectors" if vectors else "without vectors", say)
        shutil.rmtree(home.path)


def _write_pairs(home: Home, space: EmbeddingSpace, sizes: Sizes) -> None:
    """Write a pairs table of made-up scores, with about as many pairs for each image as are asked for."""
    rng = np.random.default_rng(6)
    listing = list_embeddings(home, space.id)
    ends = np.unique(np.sort(rng.integers(sizes.nodes, size=(sizes.nodes * sizes.each, 2)), axis=1), axis=0)
    a, b = ends[ends[:, 0] != ends[:, 1]].T
    paths = pa.array(listing.paths)
    columns = [paths.take(pa.array(a)), paths.take(pa.array(b)), pa.array(rng.uniform(0.81, 1.0, len(a)))]
    metadata = PairsMetadata(
        space=space.id, coverage=listing.coverage, threshold=THRESHOLD, images=sizes.nodes, max_neighbours=None
    )
    table = pa.Table.from_arrays(columns, schema=tables.PAIRS_SCHEMA)
    tables.write(tables.pairs_path(home.warehouse, space.id), table, metadata.as_metadata())


def _load(report: Report, home: Home, space: EmbeddingSpace, name: str, say: Callable[[str], None]) -> None:
    def measured(what: str, seconds: float) -> None:
        report.measures.append(Measure(f"{what}, {name}", seconds, unit="s"))
        say(f"  {what}, {name}: {seconds:.1f} s")

    def timed(what: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        measured(what, time.perf_counter() - started)

    def synchronised(way: str) -> None:
        with served(home.settings), open_database(home.settings) as database:
            nodes = image_nodes.sync_nodes(home, database, space)
            measured(f"nodes {way}", nodes.seconds - nodes.index_seconds)
            measured(f"vector index {way}", nodes.index_seconds)
            related = similar_to.sync_relationships(home, database, space)
            measured(f"{related.relationships:,} relationships {way}", related.seconds)
            if way == "after the import" and (related.created or any(shard.writes for shard in nodes.shards)):
                raise SystemExit("bench: the run after the import has written")
            vector = np.random.default_rng(7).normal(size=space.dim).astype(np.float32)
            state = find_similar.require_ready(find_similar.read_state(database), database.uri)
            for number in range(3):
                timed(
                    f"exact search {number + 1} {way}",
                    lambda: find_similar.search(home, database, state, vector, Query(mode="exact", top_k=10)),
                )

    synchronised("by Bolt")
    folder = home.path / "load"
    timed("export", lambda: export_for_import(home, space, folder))
    size = sum(file.stat().st_size for file in folder.iterdir())
    report.measures.append(Measure(f"files of the export, {name}", size / 1e6, unit="MB"))
    timed("import", lambda: import_files(home.settings, folder, ARGUMENTS, replace=True, log=say))
    synchronised("after the import")
