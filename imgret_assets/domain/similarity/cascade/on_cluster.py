"""The engine that computes the pieces of a search on the nodes of a cluster.

Belongs here: sending pieces and their chunks, what is sent again after a loss, writing answers. Not here: what runs on
a node (`domain.similarity.cascade.remote_pieces`), which node gets which piece (`domain.cluster.tiles`), which nodes
may work (`domain.cluster.workers`).

The vectors lie in a file that all nodes see. The chunks that a node has prepared are results of tasks that this process
owns: where they are lost with their node, the cluster computes them again. An answer is written to its file as soon as
it arrives, so whatever dies, the next search goes on from the files.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgret_assets.domain.cluster.patience import Patience
from imgret_assets.domain.cluster.ray_cluster import Node, RayCluster, Resources
from imgret_assets.domain.cluster.tiles import Squares, square_side
from imgret_assets.domain.cluster.workers import Workers, versions
from imgret_assets.domain.similarity.cascade.preparation import PreparedVectors
from imgret_assets.domain.similarity.cascade.remote_pieces import (
    RemoteSearch,
    Thresholds,
    check_node,
    compare_chunks,
    load_chunk,
)
from imgret_assets.domain.similarity.pieces.answers import Answer, AnswerFiles
from imgret_assets.domain.similarity.pieces.caps import Cap
from imgret_assets.domain.similarity.pieces.chunks import Chunk
from imgret_assets.domain.similarity.pieces.work import Piece
from imgret_assets.domain.storage import atomic_files
from imgret_assets.errors import LostWorkError, UnfitWorkerError

# Pieces that a node has, waiting or at work, for each of its CPUs.
_WINDOW = 2
# A piece whose worker or node has died is sent again so often, after what the cluster itself tries.
_MAX_LOSSES = 3
# For a result, and for a node that is asked or about to join.
_WAIT_S, _PAUSE_S = 0.5, 0.05
_WRITTEN_ROWS = 8192
_SMALLEST_CHUNK_ROWS, _LARGEST_CHUNK_ROWS = 2048, 32_768
# Chunks of the rows of a search, where they are no smaller than those of a search on one machine.
_PAIR_CHUNKS, _NEAREST_CHUNKS = 64, 512

# A worker with all that it imports, the answer of a piece, and what is computed of a tile: measured 0.16 GB and, where
# torch multiplies, 0.4 GB; the rest is for answers.
_WORKER_BYTES = 512 << 20
# A task that prepares a chunk holds it once as vectors, and once as it goes to the object store.
_CHUNK_COPIES = 2

_Sent = dict[Any, tuple[Piece, Node]]


def pair_chunk_rows(count: int, local_rows: int) -> int:
    """Return the rows of a chunk of a search for pairs: as large as leaves enough pieces for all nodes.

    Args:
        count: number of vectors.
        local_rows: rows of a chunk where one machine does the search.
    """
    return max(local_rows, min(_LARGEST_CHUNK_ROWS, count // _PAIR_CHUNKS))


def nearest_chunk_rows(count: int, local_rows: int) -> int:
    """Return the rows of a chunk of a search for neighbours: few, because each wave raises the thresholds."""
    return max(local_rows, _SMALLEST_CHUNK_ROWS, min(_LARGEST_CHUNK_ROWS, count // _NEAREST_CHUNKS))


class PiecesOnCluster:
    """An engine (`domain.similarity.pieces.computing.Compute`) on a cluster, for one search.

    Args:
        cluster: the cluster.
        prepared: the vectors of the search.
        thresholds: returns those of both sides of a piece.
        folder: for the file of the vectors; all nodes see it.
        max_pairs: a piece with more pairs is an error; None for no limit.
        cap: returns the cap on neighbours of a piece.
    """

    def __init__(
        self,
        cluster: RayCluster,
        prepared: PreparedVectors,
        thresholds: Callable[[Piece], tuple[Thresholds, Thresholds]],
        folder: Path,
        max_pairs: int | None,
        cap: Callable[[Piece], Cap | None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._thresholds = thresholds
        self._cap = cap
        file = write_vectors(prepared, folder)
        self._search = cluster.put(RemoteSearch(file, prepared.bounds, dict(versions()), max_pairs))
        longest = max((len(chunk) for chunk in prepared.chunks), default=0)
        self._chunk_bytes = longest * (prepared.vectors.itemsize * prepared.dim + 8 + _prepared_bytes(prepared))
        self._takes = Resources(cpus=1, memory_bytes=_WORKER_BYTES + _CHUNK_COPIES * self._chunk_bytes)
        checked = file, file.stat().st_size, prepared.bounds.engine
        self._workers = Workers(cluster, check_node, *checked, needs=self._takes)
        self._chunks: dict[int, Any] = {}
        self._losses: Counter[str] = Counter()

    def __call__(self, pieces: Sequence[Piece], files: AnswerFiles) -> Iterator[tuple[Piece, Answer]]:
        """Yield every piece with its answer, in the order in which they end.

        Raises:
            ClusterError: no node can work, or a piece was lost too often.
            TooManyPairsError: a piece has more pairs than the search may have.
        """
        if not pieces:
            return
        waiting = self._squares(pieces)
        sent: _Sent = {}
        patience = Patience(self._cluster)
        try:
            while sent or len(waiting):
                self._send(waiting, sent)
                patience.check()
                for reference in self._cluster.first_done(sent, _WAIT_S) if sent else self._wait_for_nodes():
                    patience.renew()
                    piece, _ = sent.pop(reference)
                    answer = self._answer(piece, reference)
                    if answer is None:
                        waiting.give_back(piece)
                        continue
                    files.write(piece, answer)
                    yield piece, answer
        finally:
            # After an error, or where the caller has stopped or was interrupted.
            self._cluster.cancel(sent)

    def _squares(self, pieces: Sequence[Piece]) -> Squares[Piece]:
        nodes = self._cluster.nodes()
        store = min((node.store_bytes for node in nodes), default=0)
        side = square_side(len(pieces), len(nodes), self._chunk_bytes, store)
        self._kept_chunks = max(2, sum(node.store_bytes for node in nodes) // 2 // max(1, self._chunk_bytes))
        return Squares(pieces, lambda piece: (piece.left.number, piece.right.number), side)

    def _wait_for_nodes(self) -> Sequence[Any]:
        self._cluster.pause(_PAUSE_S)
        return ()

    def _send(self, waiting: Squares[Piece], sent: _Sent) -> None:
        """Fill the window of every node."""
        at_nodes = Counter(node.id for _, node in sent.values())
        for node in self._workers.fit():
            for _ in range(_WINDOW * node.cpus - at_nodes[node.id]):
                piece = waiting.take(node.id)
                if piece is None:
                    return
                left = self._chunk(piece.left, node)
                right = None if piece.is_diagonal else self._chunk(piece.right, node)
                arguments = left, right, self._thresholds(piece), self._search, self._cap(piece)
                reference = self._cluster.submit(compare_chunks, *arguments, node=node.id, takes=self._takes)
                sent[reference] = piece, node

    def _chunk(self, chunk: Chunk, node: Node) -> Any:
        """Return the reference of a prepared chunk; the least recently used one is let go where there are too many."""
        reference = self._chunks.pop(chunk.number, None)
        if reference is None:
            reference = self._cluster.submit(load_chunk, chunk, self._search, node=node.id, takes=self._takes)
        self._chunks[chunk.number] = reference
        while len(self._chunks) > self._kept_chunks:
            # Pieces on their way hold what they need themselves.
            del self._chunks[next(iter(self._chunks))]
        return reference

    def _answer(self, piece: Piece, reference: Any) -> Answer | None:
        """Return the answer of a piece that has ended; None where it has to be computed again."""
        try:
            # What arrives is read-only, and the compiled loops of this process are for arrays that are not.
            answer = self._cluster.result(reference)
            return Answer(answer.left.copy(), answer.right.copy(), answer.scores.copy(), answer.left_out)
        except (LostWorkError, UnfitWorkerError):
            # A task of a node that died may have gone to one that may not work.
            self._losses[piece.key] += 1
            if self._losses[piece.key] > _MAX_LOSSES:
                raise
        for chunk in (piece.left, piece.right):
            self._chunks.pop(chunk.number, None)
        return None


def write_vectors(prepared: PreparedVectors, folder: Path) -> Path:
    """Write the vectors in the order of the search, unless they are there; return the file.

    Raises:
        DiskFullError: there is no room.
    """
    keys = hashlib.sha256("".join(chunk.key for chunk in prepared.chunks).encode()).hexdigest()
    path = folder / f"{keys[:32]}.vectors.npy"
    if path.is_file():
        return path
    with atomic_files.replacing(path) as temporary:
        out = np.lib.format.open_memmap(temporary, "w+", np.float32, prepared.vectors.shape)
        for start in range(0, prepared.count, _WRITTEN_ROWS):
            part = slice(start, start + _WRITTEN_ROWS)
            out[part] = prepared.vectors[prepared.order[part]]
        out.flush()
        del out
    return path


def _prepared_bytes(prepared: PreparedVectors) -> int:
    """Bytes that a row takes in addition to its vector and its norm."""
    return 8 + 2 * (prepared.coordinate_columns + len(prepared.bounds.widths))
