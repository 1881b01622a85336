"""The answers of pieces, in files that count for every search that has such a piece.

Belongs here: what an answer is, writing, finding and removing its file. Not here: what its key depends on
(`domain.similarity.pieces.work`), what else makes the run after a killed one right (listed in `domain.storage`).
"""

import logging
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from imgret_assets.domain.similarity.pieces.work import Piece
from imgret_assets.domain.storage import atomic_files

_log = logging.getLogger(__name__)

# What numpy and zipfile raise for a damaged file; its values have a CRC-32, which zipfile verifies.
DAMAGED_ARRAYS = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class Answer(NamedTuple):
    """The pairs of a piece, in any order.

    Attributes:
        left: int32 (n,), position of each pair's row within the chunk on the left.
        right: int32 (n,), position within the chunk on the right.
        scores: float64 (n,), exact scores.
        left_out: number of further pairs, which a cap on neighbours left out.
    """

    left: np.ndarray
    right: np.ndarray
    scores: np.ndarray
    left_out: int = 0

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.scores)


class AnswerFiles:
    """The answers of pieces in a folder.

    Args:
        folder: the folder; None keeps nothing. The caller holds a lock on it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path | None:
        """The folder; None where nothing is kept."""
        return self._folder

    @property
    def keep(self) -> bool:
        """Whether answers are kept."""
        return self._folder is not None

    def path(self, piece: Piece) -> Path | None:
        """Return the file of a piece's answer, whether or not it exists; None where nothing is kept."""
        return None if self._folder is None else self._folder / f"{piece.key}.npz"

    def read(self, piece: Piece) -> Answer | None:
        """Return the answer of a piece; None where there is no file, or a damaged or foreign one, which is removed."""
        path = self.path(piece)
        if path is None or not path.exists():
            return None
        try:
            with np.load(path) as arrays:
                left_out = int(arrays["left_out"]) if "left_out" in arrays else 0
                key = str(arrays["key"])
                answer = Answer(arrays["left"], arrays["right"], arrays["scores"], left_out)
            if key != piece.key:
                raise ValueError(f"it is the answer of {key}")
            _check(answer, piece)
        except DAMAGED_ARRAYS as error:
            _log.warning("%s is damaged (%s). Its piece is compared again.", path, error)
            path.unlink(missing_ok=True)
            return None
        return answer

    def write(self, piece: Piece, answer: Answer) -> None:
        """Write the answer of a piece, whole or not at all.

        Raises:
            DiskFullError: there is no room.
        """
        path = self.path(piece)
        if path is None:
            return
        with atomic_files.replacing(path) as temporary, temporary.open("wb") as opened:
            np.savez(
                opened,
                key=np.array(piece.key),
                left=answer.left,
                right=answer.right,
                scores=answer.scores,
                left_out=np.array(answer.left_out),
            )

    def remove_all(self) -> None:
        """Remove all answers, after what was made of them is safe; also those of earlier versions."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _check(answer: Answer, piece: Piece) -> None:
    """Refuse arrays that are not an answer of the piece: its positions are used as they are.

    Raises:
        ValueError: the arrays do not fit each other or the piece.
    """
    kinds = tuple((column.dtype.str, column.shape) for column in answer[:3])
    shape = answer.scores.shape
    if kinds != (("<i4", shape), ("<i4", shape), ("<f8", shape)) or len(shape) != 1:
        raise ValueError(f"its arrays are {kinds}")
    for positions, chunk in ((answer.left, piece.left), (answer.right, piece.right)):
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(chunk):
            raise ValueError(f"positions {positions.min()} to {positions.max()} of {len(chunk)} rows")
