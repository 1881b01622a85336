"""Decoder of JPEG XL by imagecodecs: size and orientation from the header, and pixels.

Belongs here: the header of a codestream, in or without a container. Not here: whether the decoder is installed
(`domain.images.optional_decoders`). imagecodecs has no function that reads a header, and decodes every pixel; the limit
of pixels is checked on this header before.

Colour profiles other than sRGB are not applied: imagecodecs does not return them.
"""

import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgret_assets.domain.images.image_status import Status, UnusableImageError
from imgret_assets.domain.images.sample_levels import as_bytes

_CODESTREAM = b"\xff\x0a"
# The header of a codestream, which is at its start, has fewer bytes.
_HEADER_BYTES = 64
# Width divided by height, where the width is not stored.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDE_BITS = (9, 13, 18, 30)
# Orientations whose width and height are exchanged.
_SIDEWAYS = frozenset({5, 6, 7, 8})
# libjxl asks for more input than there is, or can't read the header to its end.
_MISSING_HINTS = ("need_more_input", "frame count")


@dataclass(frozen=True)
class JpegXlHeader:
    """Width and height in pixels after rotation; whether the file can have several frames."""

    width: int
    height: int
    is_animated: bool


def read_jpegxl_header(data: bytes) -> JpegXlHeader:
    """Read the header of a file's bytes.

    Raises:
        UnusableImageError: with the status `truncated`; the header is not complete.
    """
    bits = _Bits(_codestream(data))
    width, height = _read_size(bits)
    orientation, is_animated = 1, False
    # The rest is left out where all is usual.
    if not bits.take(1) and bits.take(1):
        orientation = bits.take(3) + 1
        if bits.take(1):
            _read_size(bits)
        has_preview = bits.take(1)
        # Behind a preview the flag is not looked for: whether there are several frames is then unknown.
        is_animated = bool(has_preview or bits.take(1))
    if orientation in _SIDEWAYS:
        width, height = height, width
    return JpegXlHeader(width, height, is_animated)


def decode_jpegxl(data: bytes) -> Image.Image:
    """Decode the first frame, upright, in mode L, LA, RGB or RGBA.

    Raises:
        UnusableImageError: with the status `truncated`.
        Exception: any; libjxl can't decode the bytes.
    """
    import imagecodecs

    try:
        values = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    except Exception as error:
        if any(hint in str(error).lower() for hint in _MISSING_HINTS):
            raise UnusableImageError(Status.TRUNCATED, f"it ends before its pixels do ({error})") from error
        raise
    # libjxl scales whole numbers to the full range of their type.
    levels = as_bytes(np.asarray(values), bits=8 * values.dtype.itemsize)
    return Image.fromarray(np.ascontiguousarray(levels))


class _Bits:
    """Reader of numbers whose lowest bit is stored first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise UnusableImageError(Status.TRUNCATED, "it ends before the header of the JPEG XL does")
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return taken


def _read_size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.take(1)

    def read_side() -> int:
        return 8 * (bits.take(5) + 1) if is_small else bits.take(_SIDE_BITS[bits.take(2)]) + 1

    height = read_side()
    ratio = bits.take(3)
    if ratio == 0:
        return read_side(), height
    numerator, denominator = _RATIOS[ratio]
    return height * numerator // denominator, height


def _codestream(data: bytes) -> bytes:
    """Return the start of the codestream behind its signature."""
    if data.startswith(_CODESTREAM):
        return data[2 : 2 + _HEADER_BYTES]
    at, parts = 0, b""
    while at + 8 <= len(data) and len(parts) < _HEADER_BYTES:
        length, name = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1 and start + 8 <= len(data):
            length = struct.unpack_from(">Q", data, start)[0]
            start += 8
        end = len(data) if length == 0 else at + length
        if end < start:
            break
        if name in (b"jxlc", b"jxlp"):
            # A part starts with its number.
            parts += data[start + (4 if name == b"jxlp" else 0) : min(end, start + 2 * _HEADER_BYTES)]
        at = end
    return parts.removeprefix(_CODESTREAM)[:_HEADER_BYTES]
