"""The order of pieces on several nodes: in squares, so that a node compares few chunks many times.

Belongs here: which node gets which piece next. Not here: sending it (`domain.cluster.ray_cluster`), what a piece is
(`domain.similarity.pieces`): here it is anything with the numbers of its two chunks.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

P = TypeVar("P")
# Of a node's object store, the chunks of a square take this share at most: the next square's come in meanwhile.
_SHARE_OF_STORE = 3
_LONGEST_SIDE = 64
# Squares for each node, so that all of them end at about the same time.
_SQUARES_PER_NODE = 4


def square_side(pieces: int, nodes: int, chunk_bytes: int, store_bytes: int) -> int:
    """Return how many chunks the side of a square has, at least 1.

    A square of side s needs 2 s chunks for s * s pieces: the larger, the fewer bytes are moved for a piece.

    Args:
        pieces: number of pieces.
        nodes: number of nodes.
        chunk_bytes: bytes of a chunk.
        store_bytes: bytes of a node's object store.
    """
    fitting = store_bytes // _SHARE_OF_STORE // max(1, 2 * chunk_bytes)
    spread = math.isqrt(pieces // max(1, _SQUARES_PER_NODE * nodes))
    return max(1, min(_LONGEST_SIDE, fitting, spread))


class Squares(Generic[P]):
    """The pieces that wait, in squares; each node works on one square at a time.

    Args:
        pieces: the pieces.
        numbers: returns the numbers of the two chunks of a piece.
        side: number of chunks of the side of a square.
    """

    def __init__(self, pieces: Iterable[P], numbers: Callable[[P], tuple[int, int]], side: int) -> None:
        squares: dict[tuple[int, int], deque[P]] = {}
        for piece in pieces:
            left, right = numbers(piece)
            squares.setdefault((left // side, right // side), deque()).append(piece)
        self._waiting = deque(squares.values())
        self._of_node: dict[str, deque[P]] = {}

    def __len__(self) -> int:
        """Return the number of pieces that wait."""
        return sum(map(len, self._waiting)) + sum(map(len, self._of_node.values()))

    def take(self, node: str) -> P | None:
        """Return the next piece for a node: of its square, of a new one, of another's; None where all are taken."""
        square = self._of_node.get(node)
        if square:
            return square.popleft()
        if self._waiting:
            self._of_node[node] = self._waiting.popleft()
            return self._of_node[node].popleft()
        longest = max(self._of_node.values(), key=len, default=None)
        # From the end: its owner is at the beginning.
        return longest.pop() if longest else None

    def give_back(self, piece: P) -> None:
        """Let a piece wait again, before all others."""
        self._waiting.appendleft(deque([piece]))
