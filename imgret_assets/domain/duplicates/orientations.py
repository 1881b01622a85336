"""The orientations of an image other than its own: mirrored or rotated by quarter turns.

Belongs here: their names, pixels of an image so turned, hashes of a small grey image in each of them. Not here: the
search for copies (`domain.duplicates.orientation_search`).

The hash is the one of `domain.duplicates.fingerprints`, made from the stored grey image of 64 x 64 pixels, so that no
file is decoded. Mirroring an image changes the signs of its cosine coefficients, and a transposition transposes them:
so one cosine transform gives the hashes of all orientations.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from imgret_assets.domain.duplicates.fingerprints import GREY_SIDE

# Kinds of copies. A mirrored image may also be rotated.
MIRRORED, ROTATED = "mirrored", "rotated"
_HASH_SIDE = 16


@dataclass(frozen=True)
class Orientation:
    """What is done to an image.

    Attributes:
        kind: `mirrored` or `rotated`.
        name: in words, after the name of an image.
        transpose: what Pillow calls it.
        mirrors_rows, mirrors_columns: the order of rows or of columns is reversed, after a transposition.
        transposes: rows and columns are exchanged, so that width and height are exchanged as well.
    """

    kind: str
    name: str
    transpose: Image.Transpose
    mirrors_rows: bool
    mirrors_columns: bool
    transposes: bool

    def turn_grey(self, greys: np.ndarray) -> np.ndarray:
        """Return small images in this orientation: uint8 (n, rows, columns) or (rows, columns)."""
        turned = greys.swapaxes(-1, -2) if self.transposes else greys
        turned = turned[..., ::-1, :] if self.mirrors_rows else turned
        return turned[..., ::-1] if self.mirrors_columns else turned


# Rotations first: where a symmetric image makes two of them equal, the first one names the copy.
ORIENTATIONS = (
    Orientation(ROTATED, "rotated by 180 degrees", Image.Transpose.ROTATE_180, True, True, False),
    Orientation(ROTATED, "rotated by 90 degrees to the left", Image.Transpose.ROTATE_90, True, False, True),
    Orientation(ROTATED, "rotated by 90 degrees to the right", Image.Transpose.ROTATE_270, False, True, True),
    Orientation(MIRRORED, "mirrored left to right", Image.Transpose.FLIP_LEFT_RIGHT, False, True, False),
    Orientation(MIRRORED, "mirrored top to bottom", Image.Transpose.FLIP_TOP_BOTTOM, True, False, False),
    Orientation(
        MIRRORED, "mirrored and rotated by 90 degrees to the left", Image.Transpose.TRANSPOSE, False, False, True
    ),
    Orientation(
        MIRRORED, "mirrored and rotated by 90 degrees to the right", Image.Transpose.TRANSVERSE, True, True, True
    ),
)


def inverse_of(number: int) -> int:
    """Return the number in `ORIENTATIONS` of what takes an orientation back."""
    return {1: 2, 2: 1}.get(number, number)


def describe_reversed(difference: str) -> str:
    """Return what differs between two images, seen from the other one of them."""
    for orientation, back in ((ORIENTATIONS[number], ORIENTATIONS[inverse_of(number)]) for number in (1, 2)):
        if difference.endswith(f", {orientation.name}"):
            return difference.removesuffix(orientation.name) + back.name
    return difference


def hash_greys(greys: np.ndarray) -> np.ndarray:
    """Return the hashes of small grey images as they are, and in each of `ORIENTATIONS`.

    Args:
        greys: uint8 (n, 64, 64).

    Returns:
        uint64 (1 + 7, n, 4): the images as they are first.
    """
    transform = _cosines()
    low = transform @ greys.astype(np.float32) @ transform.T
    signs = np.where(np.arange(_HASH_SIDE) % 2, np.float32(-1), np.float32(1))
    hashes = [_hash(low)]
    for orientation in ORIENTATIONS:
        turned = low.swapaxes(1, 2) if orientation.transposes else low
        turned = turned * signs[:, np.newaxis] if orientation.mirrors_rows else turned
        hashes.append(_hash(turned * signs if orientation.mirrors_columns else turned))
    return np.stack(hashes)


def _hash(low: np.ndarray) -> np.ndarray:
    """Return uint64 (n, 4): which of the lowest coefficients, float32 (n, 16, 16), are above their median."""
    values = low.reshape(len(low), _HASH_SIDE * _HASH_SIDE)
    bits = values > np.median(values, axis=1, keepdims=True)
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(np.uint64)


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """Return the matrix float32 (16, 64) of the lowest coefficients of the cosine transform."""
    frequency, place = np.arange(_HASH_SIDE)[:, np.newaxis], np.arange(GREY_SIDE)
    return (2 * np.cos(np.pi * frequency * (2 * place + 1) / (2 * GREY_SIDE))).astype(np.float32)
