"""Pieces: the comparisons of two chunks that a search is made of.

Belongs here: which chunks are compared, in which order, and the key of a piece. Not here: the answers
(`domain.similarity.pieces.answers`), what computes them (`domain.similarity.pieces.computing`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from imgret_assets.domain.similarity.pieces.chunks import Chunk

# What decides a pair and its score: raised when either changes, so that earlier answers no longer count.
METHOD = "cosine float64 1"


@dataclass(frozen=True)
class Piece:
    """The comparison of all rows of one chunk with all rows of another, or of a chunk with itself.

    Attributes:
        left: the chunk on the left.
        right: the chunk on the right, no earlier than `left`.
        key: name of its answer (`piece_key`).
    """

    left: Chunk
    right: Chunk
    key: str

    @property
    def is_diagonal(self) -> bool:
        """Whether a chunk is compared with itself: then each pair counts once."""
        return self.left.number == self.right.number

    @property
    def size(self) -> int:
        """Number of combinations of a row on the left with one on the right."""
        return len(self.left) * len(self.right)


def piece_key(left: Chunk, right: Chunk, *parameters: object) -> str:
    """Return a hash over all that the answer of a piece depends on, 32 hex digits.

    Nothing else changes an answer: not the other chunks of the search, nor the machine, nor how a pair was found.

    Args:
        left: the chunk on the left.
        right: the chunk on the right.
        parameters: what decides which pairs are in the answer, distinguished by their `repr`.
    """
    # Two chunks of equal content are no diagonal: a chosen row is compared with one that has the same vector.
    is_diagonal = left.number == right.number
    sizes = len(left), len(right)
    return hashlib.sha256(repr((METHOD, left.key, right.key, sizes, is_diagonal, parameters)).encode()).hexdigest()[:32]


def compared_chunks(chunks: Sequence[Chunk], chosen: int) -> list[tuple[Chunk, Chunk]]:
    """Return the two sides of each piece, row by row.

    Args:
        chunks: all chunks.
        chosen: number of chunks, from the first, that are compared with all.
    """
    return [(left, right) for left in chunks[:chosen] for right in chunks[left.number :]]


def waves(chunks: Sequence[Chunk], chosen: int) -> list[list[tuple[Chunk, Chunk]]]:
    """Return the two sides of each piece in waves: a chunk is on each side at most once in a wave.

    Args:
        chunks: all chunks.
        chosen: number of chunks, from the first, that are compared with all.
    """
    found = []
    for step in range(len(chunks) if chosen else 0):
        lefts = chunks[: min(chosen, len(chunks) - step)]
        # The right side of a piece is the left side of the next: what was prepared of it can stay.
        in_chains = sorted(lefts, key=lambda left: (left.number % max(1, step), left.number))
        found.append([(left, chunks[left.number + step]) for left in in_chains])
    return found
