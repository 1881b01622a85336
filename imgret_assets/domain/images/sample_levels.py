"""Levels of decoded samples: numbers of any kind as 8 bits.

Belongs here: the range of each kind of number. Not here: decoding (`domain.images.tiff_decoding`,
`domain.images.jpegxl_decoding`).
"""

import math

import numpy as np


def as_bytes(values: np.ndarray, bits: int) -> np.ndarray:
    """Return values of any kind of number as uint8, where 255 is the brightest.

    Whole numbers of up to 16 bits have their full range. Deeper ones and floats often use a part of theirs: floats are
    scaled to their largest if it is more than 1, and whole numbers have the smallest range of 8, 16, 24… bits that
    holds them all.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and bits <= 16:
        top = 2**bits - 1
        table = np.rint(np.arange(2 ** math.ceil(math.log2(top + 1))) * (255 / top)).astype(np.uint8)
        return table[values]
    finite = np.nan_to_num(values.astype(np.float32 if bits <= 16 else np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(finite.max(initial=0.0))
    if values.dtype.kind == "f":
        scale = 255.0 if top <= 1.0 else 255.0 / top
    elif bits <= 16:
        scale = 255.0 / (2 ** (bits - 1) - 1)
    else:
        scale = 255.0 / next(2.0**depth - 1 for depth in range(8, 72, 8) if top < 2.0**depth)
    return np.clip(np.rint(finite * scale), 0, 255).astype(np.uint8)
