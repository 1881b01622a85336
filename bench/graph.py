"""The graph: nodes, relationships, the index, queries.

Belongs here: these contenders beside the article's statements, and their targets. Not here: pairs in memory
(`bench.pairs`), runs from files to database (`bench.refresh`), timing in rounds (`bench.rounds`).

The server is an embedded one of the benchmark's own home, stopped at the end.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from bench import pairs
from bench.article import ARTICLE_CREATE, ARTICLE_SIMILAR
from bench.homes import open_bench_home
from bench.report import Measure, Report
from bench.rounds import Timing
from imgret_assets.domain.graph import cypher, graph_state, image_nodes, similar_to, vector_index
from imgret_assets.domain.graph.connection import Database, open_database
from imgret_assets.domain.images.files import shard_of
from imgret_assets.domain.models.embedding_space import EmbeddingSpace
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.neo4j_server import lifecycle
from imgret_assets.domain.runtime.cpu import usable_threads
from imgret_assets.domain.search import find_similar
from imgret_assets.domain.search import query as query_module
from imgret_assets.domain.similarity.pairs_table import refresh_pairs
from imgret_assets.domain.storage import tables
from imgret_assets.domain.storage.home import Home
from imgret_assets.settings import Settings

TOP_K = 10
# Folders of the made-up pictures.
FOLDERS = 97
# Candidates asked of the index, to show what recall costs; the default is what `search` asks for 10 hits.
CANDIDATES = (10, 30, 100, 300)


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        nodes, dim: of the graph.
        article: nodes that the article's CREATE makes in a round.
        relationships: about as many pairs, by the threshold that gives them.
        queries: query vectors for the index.
        exact: of them, those that the article's query answers in a round.
    """

    nodes: int = 10_000
    dim: int = 2_048
    article: int = 500
    relationships: int = 250_000
    queries: int = 200
    exact: int = 3


def run(
    report: Report, sources: Sequence[Path], work: Path, *, rounds: int, sizes: Sizes, say: Callable[[str], None]
) -> None:
    """Measure and add to the report."""
    real = pairs.real_vectors(sources, work)
    grown = pairs.mixtures(real, sizes.nodes + sizes.queries, sizes.dim)
    vectors, asked = grown[: sizes.nodes], grown[sizes.nodes :]
    home = open_bench_home(work / "graph", model="efficientnet_lite0", images=work)
    space = replace(resolve(home).space, dim=sizes.dim)
    write_tables(home, space, vectors)
    with served(home.settings), open_database(home.settings) as database:
        bench = _Bench(report, home, space, database, say)
        bench.nodes(vectors[: sizes.article], rounds)
        bench.relationships(threshold_for(vectors, sizes.relationships), rounds)
        bench.queries(vectors, asked, sizes.exact, rounds)
        bench.ways(vectors, asked[: 20 * sizes.exact], rounds)


@contextmanager
def served(settings: Settings) -> Iterator[None]:
    """The home's own server for the block, stopped whatever happens."""
    try:
        lifecycle.ensure_running(settings)
        yield
    finally:
        lifecycle.stop(settings)


class _OlderServer(Database):
    """The same server, queried as one without the clause SEARCH."""

    @property
    def has_search(self) -> bool:
        return False


@dataclass(frozen=True)
class _Bench:
    """One home full of tables, and its empty database."""

    report: Report
    home: Home
    space: EmbeddingSpace
    database: Database
    say: Callable[[str], None]

    def nodes(self, few: np.ndarray, rounds: int) -> None:
        """Nodes by the article's CREATE, by a full build, and into an index that is online."""
        some = self.home.shards[: max(1, len(self.home.shards) // 8)]
        timings = {name: Timing(0) for name in ("the article's CREATE", "nodes, full build", "nodes, index online")}
        article, full, online = timings.values()
        waits = []
        for number in range(rounds + 1):
            graph_state.adopt(self.database)
            image_nodes.sync_nodes(self.home, self.database, self.space, shards=())
            vector_index.drop_index(self.database)
            created = self._timed(article, number, lambda: self._article(few))
            self.say(f"  round {number}: the article's CREATE: {created:,.0f} nodes a second")
            graph_state.adopt(self.database)
            built = image_nodes.sync_nodes(self.home, self.database, self.space)
            full.things = sum(shard.created for shard in built.shards)
            if number:
                full.seconds.append(built.seconds - built.index_seconds)
                full.busy.append(0.0)
                waits.append(built.index_seconds)
            self.say(f"  round {number}: full build: {built.nodes_per_second:,.0f}, index {built.index_seconds:.1f} s")
            for shard in some:
                self.database.write(("MATCH (n:Image {shard: $shard}) DETACH DELETE n", {"shard": shard}))
            again = self._timed(
                online,
                number,
                lambda: sum(
                    shard.created
                    for shard in image_nodes.sync_nodes(self.home, self.database, self.space, shards=some).shards
                ),
            )
            self.say(f"  round {number}: into an online index: {again:,.0f} nodes a second")
        self.report.timings |= timings
        self.report.ratio("nodes: full build / the article's CREATE", full, article, 3.0)
        self.report.ratio("nodes: into an online index / the article's CREATE", online, article, 2.0)
        self.report.measures.append(Measure(f"wait for the index over {full.things:,} nodes", median(waits), unit="s"))

    def _timed(self, timing: Timing, number: int, work: Callable[[], int]) -> float:
        """Time `work`, which says how many things it did; things a second. Round 0 warms up and is not kept."""
        cpu, started = time.process_time(), time.perf_counter()
        timing.things = work()
        seconds = time.perf_counter() - started
        if number:
            timing.seconds.append(seconds)
            timing.busy.append((time.process_time() - cpu) / seconds / usable_threads())
        return timing.things / seconds

    def _article(self, vectors: np.ndarray) -> int:
        lists = vectors.astype(np.float64).tolist()
        with self.database.driver.session(database=self.database.name) as session:
            for number, numbers in enumerate(lists):
                session.run(ARTICLE_CREATE, {"embeddings": numbers, "path": f"article/{number:06d}.jpg"}).consume()
        return len(lists)

    def relationships(self, threshold: float, rounds: int) -> None:
        """All relationships into a graph that has none, and a comparison that finds nothing to write."""
        refresh_pairs(self.home, self.space.id, threshold)
        timings = {name: Timing(0) for name in ("relationships, all", "relationships, compared")}
        wrote = timings["relationships, all"]
        everything = (cypher.DELETE_ANY_RELATIONSHIPS, {"batch_rows": 10_000})
        for number in range(rounds + 1):
            while self.database.write(everything)[0][0].relationships_deleted:
                pass
            for name, timing in timings.items():
                rate = self._timed(timing, number, self._sync)
                self.say(f"  round {number}: {name}: {rate:,.0f} a second")
        self.report.timings |= timings
        self.report.measures.append(Measure("relationships a second", wrote.rate, 25_000))
        self.report.notes.append(
            f"relationships: {wrote.things:,} above {threshold:.2f}; the rate includes reading and checking the "
            "tables, reading what the database holds and counting afterwards"
        )

    def _sync(self) -> int:
        return similar_to.sync_relationships(self.home, self.database, self.space).relationships

    def queries(self, vectors: np.ndarray, asked: np.ndarray, exact: int, rounds: int) -> None:
        """Recall and latency of the index, through imgret's own search, beside the article's query."""
        state = graph_state.require_ready(graph_state.read_state(self.database), self.database.uri)
        best = _best(vectors, asked)
        query = query_module.Query(top_k=TOP_K)
        slow, quick = [], []
        for number in range(rounds + 1):
            for vector in asked[:exact]:
                slow += [self._article_query(vector)] if number else []
            for vector in asked[: 20 * exact]:
                started = time.perf_counter()
                _, mode = find_similar.nearest(self.database, state, vector, query)
                quick += [time.perf_counter() - started] if number else []
                if mode != "index":
                    raise SystemExit(f"bench: the index was not asked but {mode}")
            if number:
                self.say(
                    f"  round {number}: {1000 * median(slow):.0f} ms by the article, {1000 * median(quick):.0f} ms"
                )
        self.report.measures += [
            Measure("the article's exact query", 1000 * median(slow), unit="ms"),
            Measure("query by the index, scored again", 1000 * median(quick), unit="ms"),
            Measure("queries: index / the article's", median(slow) / median(quick), 20.0, unit="x"),
        ]
        usual = max(find_similar.MIN_CANDIDATES, find_similar.CANDIDATES_PER_HIT * TOP_K)
        for candidates in sorted({*CANDIDATES, usual}):
            recall, took = self._recall(state, asked, best, candidates)
            name = f"recall@{TOP_K} of {candidates} candidates ({1000 * took:.0f} ms)"
            self.report.measures.append(Measure(name, recall, 0.99 if candidates == usual else None))
            self.say(f"  {name}: {recall:.4f}")

    def ways(self, vectors: np.ndarray, asked: np.ndarray, rounds: int) -> None:
        """A query by the procedure and by SEARCH, among all images and within one folder."""
        state = graph_state.require_ready(graph_state.read_state(self.database), self.database.uri)
        older = _OlderServer(self.database.driver, self.database.name, self.database.uri, self.database.version)
        folder, row_numbers = "folder07", range(7, len(vectors), FOLDERS)
        best = _best(vectors[row_numbers], asked)
        took: dict[str, list[float]] = {}
        recalls: dict[str, float] = {}
        # The first round warms up.
        for number in range(rounds + 1):
            for label in (None, folder):
                for name, database in (("the procedure", older), ("SEARCH", self.database)):
                    name = f"{name}, one folder of {FOLDERS}" if label else f"{name}, all images"
                    seconds, found = [], 0
                    for vector, scores in zip(asked, best, strict=True):
                        query = query_module.Query(top_k=TOP_K, label=label)
                        started = time.perf_counter()
                        hits, _ = find_similar.nearest(database, state, vector, query)
                        seconds.append(time.perf_counter() - started)
                        found += sum(hit.score >= scores[-1] - 1e-6 for hit in hits)
                    took.setdefault(name, []).extend(seconds if number else [])
                    if label:
                        recalls[name] = found / best.size
        for name, seconds in took.items():
            recall = f", recall@{TOP_K} {recalls[name]:.3f}" if name in recalls else ""
            self.report.measures.append(Measure(f"query by {name}{recall}", 1000 * median(seconds), unit="ms"))
            self.say(f"  query by {name}: {1000 * median(seconds):.1f} ms{recall}")
        before, after = (median(took[f"{way}, one folder of {FOLDERS}"]) for way in ("the procedure", "SEARCH"))
        self.report.measures.append(Measure("queries in one folder: before / after", before / after, 3.0, unit="x"))

    def _article_query(self, vector: np.ndarray) -> float:
        started = time.perf_counter()
        found = {"query_embeddings": vector.astype(np.float64).tolist(), "top_k": TOP_K}
        rows = self.database.rows(ARTICLE_SIMILAR, found)
        if len(rows) != TOP_K:
            raise SystemExit(f"bench: the article's query gave {len(rows)} rows")
        return time.perf_counter() - started

    def _recall(
        self, state: graph_state.GraphState, asked: np.ndarray, best: np.ndarray, candidates: int
    ) -> tuple[float, float]:
        """Share of the exact best that are found, by score, and the median latency in seconds."""
        usual = find_similar.MIN_CANDIDATES, find_similar.CANDIDATES_PER_HIT
        find_similar.MIN_CANDIDATES, find_similar.CANDIDATES_PER_HIT = candidates, 1
        try:
            found, took = 0, []
            for vector, scores in zip(asked, best, strict=True):
                started = time.perf_counter()
                hits, _ = find_similar.nearest(self.database, state, vector, query_module.Query(top_k=TOP_K))
                took.append(time.perf_counter() - started)
                found += sum(hit.score >= scores[-1] - 1e-6 for hit in hits)
        finally:
            find_similar.MIN_CANDIDATES, find_similar.CANDIDATES_PER_HIT = usual
        return found / best.size, median(took)


def _best(vectors: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Cosines float64 (n_asked, TOP_K) of the exact best, best first."""
    stored, wanted = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (vectors.astype(np.float64), asked.astype(np.float64))
    )
    return -np.sort(-(wanted @ stored.T), axis=1)[:, :TOP_K]


def threshold_for(vectors: np.ndarray, count: int) -> float:
    """The cosine above which about `count` pairs are, judged by a sample of the rows."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    some = unit[:1000] @ unit.T
    return round(float(np.quantile(some, 1 - 2 * count / len(unit) ** 2)), 2)


def write_tables(home: Home, space: EmbeddingSpace, vectors: np.ndarray) -> None:
    """Manifest and embeddings of made-up pictures with all the facts that nodes carry."""
    rows: dict[str, list[int]] = {shard: [] for shard in home.shards}
    paths = [f"folder{row % FOLDERS:02d}/picture{row:06d}.jpg" for row in range(len(vectors))]
    for row in sorted(range(len(paths)), key=paths.__getitem__):
        rows[shard_of(paths[row], home.record.shards)].append(row)
    for shard, chosen in rows.items():
        names = [paths[row] for row in chosen]
        facts: dict[str, Any] = {
            "path": names,
            "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in names],
            "label": [name.partition("/")[0] for name in names],
        }
        same = {"bytes": 50_000, "width": 500, "height": 333, "format": "JPEG", "status": "ok", "engine": "bench"}
        columns = facts | {name: [value] * len(names) for name, value in same.items()}
        manifest = [columns.get(field.name, [None] * len(names)) for field in tables.MANIFEST_SCHEMA]
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors[chosen].ravel()), space.dim)
        embeddings = [columns.get(field.name, [None] * len(names)) for field in tables.embeddings_schema(space.dim)]
        said = {"space": space.id, "shards": str(home.record.shards)}
        for path, values, schema in (
            (tables.manifest_path(home.warehouse, shard), manifest, tables.MANIFEST_SCHEMA),
            (tables.embeddings_path(home.warehouse, space.id, shard), embeddings, tables.embeddings_schema(space.dim)),
        ):
            arrays = [
                value if isinstance(value, pa.Array) else pa.array(value, field.type)
                for value, field in zip(values, schema, strict=True)
            ]
            tables.write(path, pa.Table.from_arrays(arrays, schema=schema), said)
