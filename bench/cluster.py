"""A Ray cluster of two nodes with one CPU each, on this machine, beside this process on the same two cores.

Belongs here: the same work by both, what Ray costs, the pause after a kill; every line must have the digest of the
first. Not here: the engine (`domain.similarity.cascade.on_cluster`, `domain.embeddings.on_cluster`), pairs on one
machine (`bench.pairs`). No network is measured: all nodes are one machine.
"""

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bench.homes import open_bench_home
from bench.pairs import THRESHOLD, mixtures, real_vectors
from bench.pictures import repeated
from bench.report import Measure, Report
from bench.rounds import last_json
from imgret_assets.domain.cluster.ray_cluster import RayCluster, connect
from imgret_assets.domain.embeddings.embeddings_table import refresh_embeddings
from imgret_assets.domain.images.manifest import refresh_manifest
from imgret_assets.domain.inference.engine_selection import choose_embedder
from imgret_assets.domain.models.resolution import resolve
from imgret_assets.domain.similarity.cascade import CascadeOptions, NearestSearch, PairSearch
from imgret_assets.domain.similarity.pair_arrays import merge_pairs
from imgret_assets.domain.similarity.pieces.answers import AnswerFiles
from imgret_assets.domain.similarity.pieces.computing import ComputeHere, solve
from imgret_assets.domain.storage.home import Home
from imgret_tests.support.ray_nodes import ClusterOfNodes, running_nodes

_ROWS, _NEAREST_ROWS, _LARGE_ROWS, _IMAGES = 30_000, 10_000, 200_000, 600
_STORE_BYTES = 600 << 20


def run(report: Report, sources: Sequence[Path], work: Path, *, say: Callable[[str], None]) -> None:
    """Measure and add to the report."""
    real = real_vectors(sources, work)
    wide = mixtures(real, _ROWS, 1280)
    with running_nodes(_STORE_BYTES) as nodes:
        cluster = connect(nodes.address)
        assert cluster is not None
        lines = _Lines(report, say)
        _pairs(lines, cluster, nodes, wide, work)
        _nearest(lines, cluster, np.ascontiguousarray(wide[:_NEAREST_ROWS]), work)
        _embedding(lines, cluster, sources, work)
    _large(lines, real, work)
    report.notes.append("cluster: a head without CPUs and two nodes of one CPU, all on this machine; no network")


class _Lines:
    """The lines of the report; the digests of one kind of work are all equal."""

    def __init__(self, report: Report, say: Callable[[str], None]) -> None:
        self._report, self._say = report, say
        self._digests: dict[str, str] = {}

    def add(self, work: str, how: str, seconds: float, digest: str, pause: float | None = None) -> None:
        expected = self._digests.setdefault(work, digest)
        paused = "" if pause is None else f", longest pause {pause:.1f} s"
        self._say(f"  {work}, {how}: {seconds:.1f} s{paused}, digest {digest[:16]}")
        if digest != expected:
            raise SystemExit(f"bench: {work}, {how}: digest {digest[:16]}, not {expected[:16]}")
        self._report.measures.append(Measure(f"{work}: {how} [{digest[:8]}]", seconds, unit="s"))
        if pause is not None:
            self._report.measures.append(Measure(f"{work}: {how}, longest pause", pause, unit="s"))

    def memory(self, name: str, peak_mb: float) -> None:
        self._say(f"  {name}: {peak_mb:,.0f} MB")
        self._report.measures.append(Measure(name, peak_mb / 1024, unit="GB"))


def _pairs(lines: _Lines, cluster: RayCluster, nodes: ClusterOfNodes, vectors: np.ndarray, work: Path) -> None:
    name = f"pairs of {len(vectors):,} x 1,280"
    options = CascadeOptions(chunk_rows=4096)

    def search(*, there: bool, meanwhile: Callable[[int], None] = lambda _: None) -> Any:
        started = last = time.perf_counter()
        search = PairSearch(vectors, THRESHOLD, options=options)
        engine = search.compute_on(cluster, work / "vectors") if there else ComputeHere(search.answer)
        parts, pause, last = [], 0.0, time.perf_counter()
        for number, each in enumerate(solve(search.pieces, AnswerFiles(None), engine), 1):
            parts.append(search.pairs(each.piece, each.answer))
            pause, last = max(pause, time.perf_counter() - last), time.perf_counter()
            meanwhile(number)
        pairs = merge_pairs(parts)
        return time.perf_counter() - started, _digest(pairs.a, pairs.b, pairs.scores), pause

    def kill_worker(number: int) -> None:
        if number == 5:
            _kill("ray::compare_chunks")

    def kill_node(number: int) -> None:
        if number == 5:
            nodes.replace_node()

    # Compiled loops, workers and the file of the vectors are there afterwards.
    for there in (False, True):
        search(there=there)
    for _ in range(3):
        lines.add(name, "this process", *search(there=False)[:2])
        lines.add(name, "two nodes", *search(there=True))
    lines.add(name, "two nodes, a worker killed", *search(there=True, meanwhile=kill_worker))
    lines.add(name, "two nodes, a node killed, a fresh one joins", *search(there=True, meanwhile=kill_node))


def _large(lines: _Lines, real: np.ndarray, work: Path) -> None:
    """In a process and on a cluster of its own, whose driver's memory is measured, vectors included."""
    np.save(work / "real of the cluster.npy", real)
    said = last_json("bench.cluster_once", work / "real of the cluster.npy", _LARGE_ROWS, 1280, work)
    for how, found in said.items():
        lines.add(f"pairs of {_LARGE_ROWS:,} x 1,280", how, found["seconds"], found["digest"])
        lines.memory(f"pairs of {_LARGE_ROWS:,} x 1,280: {how}, memory of the driver", found["peak_mb"])


def _nearest(lines: _Lines, cluster: RayCluster, vectors: np.ndarray, work: Path) -> None:
    name = f"nearest 20 of {len(vectors):,} x 1,280"
    for there in (False, True, False, True):
        started = time.perf_counter()
        search = NearestSearch(vectors, 20, options=CascadeOptions(on_cluster=there))
        engine = search.compute_on(cluster, work / "vectors") if there else ComputeHere(search.answer)
        for wave in search.waves():
            for piece, answer, _ in solve(wave, AnswerFiles(None), engine):
                search.add(piece, answer)
        digest = _digest(*search.result())
        lines.add(name, "two nodes" if there else "this process", time.perf_counter() - started, digest)


def _embedding(lines: _Lines, cluster: RayCluster, sources: Sequence[Path], work: Path) -> None:
    name = f"embedding {_IMAGES:,} images"
    images = work / "images of the cluster"
    repeated(sources, _IMAGES, images)

    def embed(how: str, where: RayCluster | None, progress: Callable[[Any], None] = lambda _: None) -> None:
        folder = work / "home of the cluster"
        folder.mkdir()
        (folder / "models").symlink_to(work / "home" / "models")
        home = open_bench_home(folder, images=images, model="efficientnet_lite0")
        refresh_manifest(home)
        embedder = choose_embedder(home, resolve(home))
        embedder.load()
        started = time.perf_counter()
        refresh_embeddings(home, embedder, cluster=where, progress=progress)
        seconds = time.perf_counter() - started
        lines.add(name, how, seconds, _table_digest(home))
        shutil.rmtree(folder)

    def kill(progress: Any) -> None:
        if not killed and progress.done >= _IMAGES // 4:
            killed.append(_kill("ray::NodeEmbedder"))

    killed: list[int] = []
    embed("this process", None)
    embed("two nodes", cluster)
    embed("two nodes, a process killed", cluster, kill)


def _table_digest(home: Home) -> str:
    files = sorted((home.warehouse / "embeddings").rglob("*.parquet"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).hexdigest()


def _kill(name: str) -> int:
    """Kill one process of Ray below this one whose work has this name."""
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith(name):
            os.kill(process.pid, signal.SIGKILL)
            return 1
    return 0
