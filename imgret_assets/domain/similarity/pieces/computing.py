"""What computes the pieces of a search.

Belongs here: the interface, the engine that computes in this process, and going on from finished pieces. Not here: how
two chunks are compared (`domain.similarity.cascade`).
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple, Protocol

from imgret_assets.domain.similarity.pieces.answers import Answer, AnswerFiles
from imgret_assets.domain.similarity.pieces.work import Piece

# Answers are written at least this often: the work that a kill may cost.
WRITE_EVERY_S = 20.0


class Solved(NamedTuple):
    """A piece with its answer.

    Attributes:
        piece: the piece.
        answer: its answer.
        was_finished: whether the answer was in a file already.
    """

    piece: Piece
    answer: Answer
    was_finished: bool


class Compute(Protocol):
    """An engine that computes pieces.

    An engine may compute them in any order, at once, or on other machines. It writes answers to their files as they are
    finished, so that a search that is killed goes on from them.
    """

    def __call__(self, pieces: Sequence[Piece], files: AnswerFiles, /) -> Iterator[tuple[Piece, Answer]]:
        """Yield every piece once, with its answer, in any order."""
        ...


class ComputeHere:
    """The engine that computes one piece after the other in this process; a piece uses all threads.

    A comparison of two chunks takes less time than a file, so answers wait, and those of a search of a few seconds are
    never written.

    Args:
        answer: computes the answer of a piece.
    """

    def __init__(self, answer: Callable[[Piece], Answer]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Piece, Answer]] = []
        self._written_at = time.monotonic()

    def __call__(self, pieces: Sequence[Piece], files: AnswerFiles) -> Iterator[tuple[Piece, Answer]]:
        """Yield every piece with its answer, in order."""
        for piece in pieces:
            answer = self._answer(piece)
            if files.keep:
                self._waiting.append((piece, answer))
            if time.monotonic() - self._written_at >= WRITE_EVERY_S:
                for finished in self._waiting:
                    files.write(*finished)
                self._waiting, self._written_at = [], time.monotonic()
            yield piece, answer


def solve(pieces: Sequence[Piece], files: AnswerFiles, compute: Compute) -> Generator[Solved]:
    """Yield every piece once with its answer: first those whose answers are in files, then those that are computed."""
    missing = []
    for piece in pieces:
        answer = files.read(piece)
        if answer is None:
            missing.append(piece)
        else:
            yield Solved(piece, answer, was_finished=True)
    for piece, answer in compute(missing, files):
        yield Solved(piece, answer, was_finished=False)
