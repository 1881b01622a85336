"""Images embedded on the nodes of a cluster, by one process on each node.

Belongs here: starting these processes, giving them contents, what is embedded again after a loss. Not here: which nodes
may work (`domain.cluster.workers`), from files to vectors (`domain.embeddings.embedding_pipeline`), where vectors are
stored (`domain.embeddings.embeddings_table`).

A process has one copy of the weights, one budget of pixels, and all CPUs of its node that others leave it. Where the
driver embeds on a GPU, it has the GPUs of the node, too. It gets a few contents at a time and returns their vectors, so
one that dies costs no more than these.
"""

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from imgret_assets.domain.cluster.patience import Patience
from imgret_assets.domain.cluster.ray_cluster import Node, RayCluster, Resources
from imgret_assets.domain.cluster.workers import Workers, require_versions, versions
from imgret_assets.domain.embeddings.embedding_pipeline import StageTimes, embed_files
from imgret_assets.domain.embeddings.pending_vectors import EmbeddingResult
from imgret_assets.domain.images.decoder_crashes import watching
from imgret_assets.domain.images.image_reader import ContentFiles
from imgret_assets.domain.inference.embedder import Embedder
from imgret_assets.domain.objects.stores import facts_of
from imgret_assets.domain.runtime.batching import batches
from imgret_assets.domain.runtime.cpu import bind_to_processors
from imgret_assets.domain.storage.home import Home
from imgret_assets.errors import ImgretError, LostWorkError, UnfitWorkerError
from imgret_assets.image_roots import AnyRoot
from imgret_assets.object_url import ImageFile, ObjectUrl

_log = logging.getLogger(__name__)

# Contents that a process gets at a time, and how many such parts it has, at work or waiting.
_SMALLEST_PART, _LARGEST_PART = 8, 64
_WINDOW = 2
_PARTS_PER_NODE = 8
# A part is lost so often at most, and once more for each node: an image that ends a decoder's process may end one on
# each, before a fresh process knows of it.
_MAX_LOSSES = 3
_MAX_STARTS = 8
# Files that a node must see before it gets work.
_SAMPLES = 4
# Of so many, those that the driver sees.
_LOOKED_AT = 100
# For a result, and for a node that is asked or about to join.
_WAIT_S, _PAUSE_S = 0.5, 0.05
# A node is entirely free within this time, unless somebody else holds a part of it.
_SETTLE_S = 5.0


@dataclass(frozen=True)
class EmbeddingWork:
    """What the processes on all nodes have in common.

    Attributes:
        embedder: the embedder, which reaches them unloaded, with its precision.
        engine: its name; a process that would compute with another one does nothing.
        root: the image roots.
        max_pixels: an image with more pixels is not decoded.
        max_bytes: a file with more bytes is not read.
        notes: folder of the notes on what is being decoded.
        versions: what a process must have.
        hardware: name of the GPU, which a process must have; empty on a CPU.
    """

    embedder: Embedder
    engine: str
    root: AnyRoot
    max_pixels: int
    max_bytes: int
    notes: Path
    versions: Mapping[str, str]
    hardware: str = ""


def can_embed(cluster: RayCluster, embedder: Embedder) -> bool:
    """Return whether nodes may embed what an embedder does: one that computes on a GPU needs nodes with GPUs."""
    return not _uses_gpu(embedder) or any(node.gpus for node in cluster.nodes())


def _uses_gpu(embedder: Embedder) -> bool:
    return any(f"-{device}-" in embedder.engine for device in ("cuda", "mps"))


def _hardware(embedder: Embedder) -> str:
    # Two kinds of GPU differ in the last bits; two CPUs that compute with the same instructions don't.
    return getattr(embedder, "hardware", "") if _uses_gpu(embedder) else ""


def check_images(files: Sequence[ImageFile], notes: Path) -> None:
    """Raise an error on a node that does not see the images or the home.

    Args:
        files: some files or objects of images.
        notes: a folder of the home.

    Raises:
        UnfitWorkerError: it names the first file, object or folder that is missing.
    """
    for path in (*files, notes):
        if isinstance(path, ObjectUrl):
            try:
                facts_of(path)
            except OSError as error:
                # Otherwise all images would count as missing there.
                raise UnfitWorkerError(
                    f"it can't read {path} ({error.strerror}): credentials, region and endpoint of the store have to "
                    "be in its environment"
                ) from error
        elif not path.exists():
            raise UnfitWorkerError(
                f"it does not see {path}: the images and IMGRET_HOME have to be folders that all share"
            )


class NodeEmbedder:
    """The process of a node.

    Args:
        work: what is embedded, and how.
        first_cpu: number of the first processor of the node, where several nodes are on one machine.
        cpus: number of its processors.
    """

    def __init__(self, work: EmbeddingWork, first_cpu: int, cpus: int) -> None:
        bind_to_processors(first_cpu, cpus)
        self._work = work
        self._watching = ExitStack()

    def load(self) -> str:
        """Load the model; return why this process can't do the work, or nothing."""
        try:
            require_versions(self._work.versions)
            self._watching.enter_context(watching(self._work.notes))
            self._work.embedder.load()
        except ImgretError as error:
            return error.found
        engine, hardware = self._work.embedder.engine, _hardware(self._work.embedder)
        if engine != self._work.engine:
            return f"it would compute with {engine}, not with {self._work.engine}"
        return "" if hardware == self._work.hardware else f"it has the GPU {hardware}, not {self._work.hardware}"

    def embed(self, contents: Sequence[ContentFiles]) -> tuple[list[tuple[str, EmbeddingResult]], StageTimes]:
        """Embed some contents; return their results and the time of each stage."""
        work, times = self._work, StageTimes()
        results = embed_files(
            work.embedder, contents, work.root, max_pixels=work.max_pixels, max_bytes=work.max_bytes, times=times
        )
        return list(results), times


@dataclass(eq=False)
class _Process:
    """A process on a node; `loads` is the reference to the result of `load` until that has come."""

    node: Node
    actor: Any
    loads: Any


def embed_on_cluster(
    cluster: RayCluster, embedder: Embedder, contents: Mapping[str, Sequence[str]], home: Home, times: StageTimes
) -> Generator[tuple[str, EmbeddingResult]]:
    """Embed contents on the nodes of a cluster, in the order in which they are done.

    Args:
        cluster: the cluster.
        embedder: model and engine, loaded.
        contents: the relative paths of the files of each content, by its sha256.
        home: the home, with the image roots and limits.
        times: the time of each stage is added to it, summed over all processes.

    Yields:
        The sha256 of each content and its result.

    Raises:
        ClusterError: no node can work, or a part was lost too often.
    """
    embedding = _Embedding(cluster, embedder, contents, home, times)
    try:
        yield from embedding.results()
    finally:
        embedding.stop()


class _Embedding:
    """The processes, and the parts that wait or are at work."""

    def __init__(
        self,
        cluster: RayCluster,
        embedder: Embedder,
        contents: Mapping[str, Sequence[str]],
        home: Home,
        times: StageTimes,
    ) -> None:
        notes = home.work / "decoding"
        notes.mkdir(parents=True, exist_ok=True)
        limits = home.settings.max_pixels, home.settings.max_bytes
        self._cluster = cluster
        self._times = times
        work = EmbeddingWork(
            embedder, embedder.engine, home.images, *limits, notes, dict(versions()), _hardware(embedder)
        )
        self._work = cluster.put(work)
        files = (home.images / paths[0] for paths in contents.values())
        samples = list(islice(filter(_is_seen, islice(files, _LOOKED_AT)), _SAMPLES))
        # None for all GPUs of a node.
        self._gpus = home.settings.cluster_gpus if _uses_gpu(embedder) else 0.0
        needs = Resources(gpus=1.0 if self._gpus is None else self._gpus)
        self._workers = Workers(cluster, check_images, samples, notes, needs=needs)
        part_size = len(contents) // (_PARTS_PER_NODE * max(1, len(cluster.nodes())))
        self._waiting = deque(batches(list(contents.items()), max(_SMALLEST_PART, min(_LARGEST_PART, part_size))))
        self._sent: dict[Any, tuple[_Process, Sequence[ContentFiles]]] = {}
        self._processes: dict[str, _Process] = {}
        self._starts: Counter[str] = Counter()
        self._losses: Counter[str] = Counter()
        self._wanted_since: dict[str, float] = {}

    def results(self) -> Iterator[tuple[str, EmbeddingResult]]:
        """Yield the result of every content once."""
        patience = Patience(self._cluster)
        while self._waiting or self._sent:
            self._start_processes()
            self._send()
            patience.check()
            loading = {process.loads: process for process in self._processes.values() if process.loads is not None}
            if not loading and not self._sent:
                self._cluster.pause(_PAUSE_S)
                continue
            for reference in self._cluster.first_done([*self._sent, *loading], _WAIT_S):
                patience.renew()
                if reference in loading:
                    self._loaded(loading[reference])
                else:
                    yield from self._results_of(reference)

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes.values():
            self._cluster.stop(process.actor)
        self._processes = {}

    def _start_processes(self) -> None:
        before: Counter[str] = Counter()
        fit = self._workers.fit()
        free = self._cluster.free() if any(node.id not in self._processes for node in fit) else {}
        for node in fit:
            if node.id not in self._processes and (takes := self._share(node, free.get(node.id))) is not None:
                self._starts[node.id] += 1
                if self._starts[node.id] > _MAX_STARTS:
                    self._workers.refuse(node, f"its processes ended {_MAX_STARTS} times")
                    continue
                arguments = self._work, before[node.host], takes.cpus
                actor = self._cluster.start_actor(NodeEmbedder, *arguments, node=node, takes=takes)
                self._processes[node.id] = _Process(node, actor, self._cluster.call(actor, "load"))
                self._wanted_since.pop(node.id, None)
            before[node.host] += node.cpus

    def _share(self, node: Node, free: Resources | None) -> Resources | None:
        """Return what a process takes of a node: all, or what others leave of it; None as long as that is nothing."""
        if free is None:
            return None
        since = self._wanted_since.setdefault(node.id, time.monotonic())
        whole = Resources(cpus=node.cpus, gpus=node.gpus if self._gpus is None else self._gpus)
        if free.cpus >= whole.cpus and free.gpus >= whole.gpus:
            return whole
        if time.monotonic() - since < _SETTLE_S:
            return None
        gpus = math.floor(free.gpus) if self._gpus is None else self._gpus
        is_enough = free.cpus >= 1 and free.gpus >= gpus and (gpus > 0 or self._gpus is not None)
        return Resources(cpus=min(node.cpus, free.cpus), gpus=gpus) if is_enough else None

    def _send(self) -> None:
        at_process = Counter(process.node.id for process, _ in self._sent.values())
        for process in self._processes.values():
            while process.loads is None and self._waiting and at_process[process.node.id] < _WINDOW:
                part = self._waiting.popleft()
                self._sent[self._cluster.call(process.actor, "embed", part)] = process, part
                at_process[process.node.id] += 1

    def _loaded(self, process: _Process) -> None:
        try:
            problem = self._cluster.result(process.loads)
        except LostWorkError:
            self._forget(process)
            return
        process.loads = None
        if problem:
            self._forget(process)
            self._workers.refuse(process.node, problem)

    def _results_of(self, reference: Any) -> list[tuple[str, EmbeddingResult]]:
        process, part = self._sent.pop(reference)
        try:
            results, times = self._cluster.result(reference)
        except LostWorkError:
            self._forget(process)
            first, _ = part[0]
            self._losses[first] += 1
            if self._losses[first] > _MAX_LOSSES + len(self._cluster.nodes()):
                raise
            self._waiting.appendleft(part)
            return []
        self._times.add(times)
        return results

    def _forget(self, process: _Process) -> None:
        """End a process; its node gets another one, if it is alive and may work."""
        if self._processes.get(process.node.id) is process:
            del self._processes[process.node.id]
            _log.info("The process on %s has ended. Its images are embedded elsewhere.", process.node.name)
            self._cluster.stop(process.actor)


def _is_seen(file: ImageFile) -> bool:
    """Return whether a node can be asked for a file or object: this process sees it."""
    if not isinstance(file, ObjectUrl):
        return file.is_file()
    try:
        return facts_of(file) is not None
    except OSError:
        return False
