"""Decoder of BMP files with run lengths of 4 or 8 bits: Pillow shifts the rows after a literal run of odd length.

Belongs here: the run lengths. Not here: the header and the palette, which Pillow reads, and all other forms of BMP
(`domain.images.decode`).
"""

import numpy as np

_END_OF_ROW, _END_OF_IMAGE, _JUMP = 0, 1, 2


class MissingRunsError(ValueError):
    """The file ends before its last run."""

    def __init__(self) -> None:
        super().__init__("the file ends before its last run")


def decode_runs(data: bytes, size: tuple[int, int], bits: int) -> np.ndarray:
    """Return the palette indices that runs describe, uint8 (height, width), top row first.

    Args:
        data: the runs, from the bottom row to the top one.
        size: width and height of the image in pixels.
        bits: of an index, 4 or 8.

    Raises:
        MissingRunsError: `data` ends before the end mark, and before all rows are full.
    """
    width, height = size
    rows = np.zeros((height, width), np.uint8)
    x = y = at = 0
    while y < height:
        if at + 2 > len(data):
            if y == height - 1 and x >= width:
                break
            raise MissingRunsError
        length, value = data[at], data[at + 1]
        at += 2
        if length == 0 and value == _END_OF_IMAGE:
            break
        if length == 0 and value == _END_OF_ROW:
            x, y = 0, y + 1
        elif length == 0 and value == _JUMP:
            right, up = _take(data, at, 2)
            x, y, at = x + right, y + up, at + 2
        else:
            stored = 0 if length else (value * bits + 7) // 8
            run = _indices(bytes([value]), length, bits) if length else _indices(_take(data, at, stored), value, bits)
            rows[y, x : x + len(run)] = run[: max(0, width - x)]
            # Literal runs are filled to whole words.
            x, at = x + len(run), at + stored + stored % 2
    return rows[::-1]


def _take(data: bytes, at: int, count: int) -> bytes:
    if at + count > len(data):
        raise MissingRunsError
    return data[at : at + count]


def _indices(stored: bytes, count: int, bits: int) -> np.ndarray:
    """Return `count` indices from their stored bytes, which are repeated as often as that takes."""
    values = np.frombuffer(stored, np.uint8)
    return np.resize(np.stack([values >> 4, values & 15], axis=1).reshape(-1) if bits == 4 else values, count)
